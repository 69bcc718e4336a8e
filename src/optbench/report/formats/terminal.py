"""Tables for a terminal, calm at 80 columns and readable without colour."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from optbench.report.chart import Line
from optbench.report.model import Block, Cell, Report, Section, Table

MARK = "*"


def render(report: Report, width: int = 80) -> str:
    """Plain text, without colour."""
    console = Console(file=StringIO(), width=width, color_system=None, force_terminal=False)
    show(report, console)
    output = console.file
    assert isinstance(output, StringIO)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n"


def show(report: Report, console: Console, charts: Sequence[Sequence[Line]] = ()) -> None:
    """On a console of the caller's, in its colours. `charts` are the lines of each section's charts, if there are any."""
    for number, section in enumerate(report.sections):
        for part in _section(section, console.width):
            console.print(part)
        for line in charts[number] if number < len(charts) else ():
            console.print(Text.assemble(*line), no_wrap=False)
        for warning in section.warnings:
            console.print(Text(f"! {warning}", style="yellow"))
        if section.command:  # on one line, however long: it is there to be copied
            console.print(Text(f"Repeat with: {section.command}", style="dim"), soft_wrap=True)


def _section(section: Section, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(""), Text(section.title, style="bold")]
    for block in section.blocks:
        parts += _block(block, width)
    if not section.blocks:
        parts.append(Text("Nothing has run yet."))
    return parts


def _block(block: Block, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if block.tables and all(table.detail for table in block.tables):
        return parts  # nothing of it is for a terminal
    if block.heading:
        parts += [Text(""), Text(block.heading, style="bold")]
    parts.append(Text(block.facts))
    for table in block.tables:
        if not table.detail:
            parts += [Text(table.caption), _table(table, width), Text("")]
    parts += [Text(f"! {warning}", style="yellow") for warning in block.warnings]
    parts += [Text(note.replace("{mark}", MARK), style="dim") for note in block.notes]
    if block.measured_on:
        parts.append(Text(f"Measured on {block.measured_on}.", style="dim"))
    return parts


def _table(table: Table, width: int) -> RichTable:
    marked = [any(row[index].marked for row in table.rows) for index in range(len(table.columns))]
    rows = [[_cell(cell, room) for cell, room in zip(row, marked, strict=True)] for row in table.rows]
    if _least_width(table, rows) > width:  # intervals go below their numbers before anything is cut off
        rows = [[_broken(cell) for cell in row] for row in rows]
    roomy = _natural_width(table, rows) + len(table.columns) <= width
    grid = RichTable(box=box.SIMPLE_HEAD, padding=(0, int(roomy), 0, 0), pad_edge=False, show_edge=False)
    for index, column in enumerate(table.columns):
        # Numbers keep their line; what people wrote may take several.
        grid.add_column(
            Text(column.title),
            justify="left" if column.text else "right",
            no_wrap=not column.text,
            overflow="fold",
            min_width=(10 if index == 0 else 9) if column.text else None,
        )
    for row in rows:
        grid.add_row(*row)
    return grid


def _widths(table: Table, rows: list[list[Text]]) -> list[int]:
    return [
        max(
            cell_len(line)
            for text in [column.title, *(row[index].plain for row in rows)]
            for line in text.split("\n")
        )
        for index, column in enumerate(table.columns)
    ]


def _natural_width(table: Table, rows: list[list[Text]]) -> int:
    """Columns, with a space between any two."""
    return sum(_widths(table, rows)) + len(table.columns) - 1


def _least_width(table: Table, rows: list[list[Text]]) -> int:
    """The same with text folded as far as it may be."""
    widths = _widths(table, rows)
    least = [
        min(width, 10) if column.text else width for column, width in zip(table.columns, widths, strict=True)
    ]
    return sum(least) + len(least) - 1


def _broken(cell: Text) -> Text:
    return Text(cell.plain.replace(" (", "\n(", 1), style=cell.style)


def _cell(cell: Cell, room: bool) -> Text:
    """Marked columns keep room for the mark, so that numbers stay below each other."""
    mark = f" {MARK}" if cell.marked else "  " if room else ""
    return Text(cell.text + mark, style="bold" if cell.marked else "")
