"""Tables for a terminal of any width, readable without colour."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich.console import Console, RenderableType
from rich.text import Text

from optbench.console import piped_width
from optbench.report.chart import Line
from optbench.report.document import Block, Cell, Report, Section, Table
from optbench.tables import FittedTable, Paragraph

SUFFIX = ".txt"
SAVED = False  # printed at the end of a run, and written on request only
MARK = "*"


def render(report: Report, width: int | None = None) -> str:
    """Return plain text without colour, `width` columns wide; by default as wide as in a pipe."""
    width = width or piped_width()
    console = Console(file=StringIO(), width=width, color_system=None, force_terminal=False)
    show(report, console)
    output = console.file
    assert isinstance(output, StringIO)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n"


def show(report: Report, console: Console, charts: Sequence[Sequence[Line]] = ()) -> None:
    """Print the report on a console. `charts` are the lines of each section's charts, if any."""
    for number, section in enumerate(report.sections):
        for part in _section(section):
            console.print(part, crop=False)
        for line in charts[number] if number < len(charts) else ():
            console.print(Text.assemble(*line), no_wrap=False)
        for warning in section.warnings:
            console.print(_line(f"! {warning}", "yellow"), crop=False)
        for heading, command in section.commands:  # on one line, however long: it is there to be copied
            console.print(Text(f"{heading}: {command}", style="dim"), soft_wrap=True)


def _section(section: Section) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(""), _line(section.title, "bold")]
    for block in section.blocks:
        parts += _block(block)
    if not section.blocks:
        parts.append(Text("No trial has run yet."))
    return parts


def _block(block: Block) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if block.tables and all(table.detail for table in block.tables):
        return parts  # long formats only
    if block.heading:
        parts += [Text(""), _line(block.heading, "bold")]
    parts.append(_line(block.facts))
    for table in block.tables:
        if not table.detail:
            parts += [_line(table.caption), _table(table), Text("")]
    parts += [_line(f"! {warning}", "yellow") for warning in block.warnings]
    notes = (*block.notes, *(table.note for table in block.tables if table.note and not table.detail))
    parts += [_line(note.replace("{mark}", MARK), "dim") for note in notes]
    if block.measured_on:
        parts.append(_line(f"Measured on {block.measured_on}.", "dim"))
    return parts


def _line(text: str, style: str = "") -> Paragraph:
    return Paragraph(Text(text, style=style))


def _table(table: Table) -> FittedTable:
    marked = [any(row[index].marked for row in table.rows) for index in range(len(table.columns))]
    return FittedTable(
        tuple(column.title for column in table.columns),
        tuple(tuple(_cell(cell, room) for cell, room in zip(row, marked, strict=True)) for row in table.rows),
        tuple(column.text for column in table.columns),
    )


def _cell(cell: Cell, room: bool) -> Text:
    """Return the cell's text; columns with marks reserve room in each row, so that numbers are aligned."""
    mark = f" {MARK}" if cell.marked else "  " if room else ""
    return Text(cell.text + mark, style="bold" if cell.marked else "")
