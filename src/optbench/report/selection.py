"""Selection of tables and columns of a report (`--table`, `--columns`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from optbench.errors import OptbenchError, nearest
from optbench.report.document import Block, Column, Report, Section, Table

#: formats that show the tables of a report; the others write its numbers or a page
SHOWING_TABLES = ("terminal", "markdown", "latex")


def selected(report: Report, tables: Sequence[str] = (), columns: Sequence[str] = ()) -> Report:
    """Return the report with some tables, by caption, and with some columns, by title, in the order of `columns`.

    A name without an exact match selects everything that contains it; upper and lower case are the same. With `columns`, tables
    that lack one of them are left out. Raises `OptbenchError` for a name that matches nothing.
    """
    captions = [_caption(block, table) for block, table in _tables(report)]
    for name in tables:
        if not _matches(name, captions):
            known = "; ".join(f"'{caption}'" for caption in dict.fromkeys(captions))
            raise OptbenchError(f"no table '{name}'; the tables are: {known}", where="--table")
    wanted = {caption for name in tables for caption in _matches(name, captions)} if tables else set(captions)
    sections = tuple(_section(section, wanted, columns) for section in report.sections)
    result = replace(report, sections=tuple(section for section in sections if section.blocks))
    if columns and not result.sections:
        _refuse_columns(
            columns, [table for block, table in _tables(report) if _caption(block, table) in wanted]
        )
    return result


def _tables(report: Report) -> Iterable[tuple[Block, Table]]:
    return (
        (block, table) for section in report.sections for block in section.blocks for table in block.tables
    )


def _caption(block: Block, table: Table) -> str:
    return ": ".join(part for part in (block.heading, table.caption) if part)


def _title(column: Column) -> str:
    return " ".join(column.title.split())


def _matches(name: str, texts: Sequence[str]) -> list[str]:
    """Return the texts that are the name, or else those that contain it."""
    wanted = " ".join(name.split()).casefold()
    equal = [text for text in texts if text.casefold() == wanted]
    return equal or [text for text in texts if wanted and wanted in text.casefold()]


def _section(section: Section, wanted: set[str], columns: Sequence[str]) -> Section:
    blocks = []
    for block in section.blocks:
        kept = [table for table in block.tables if _caption(block, table) in wanted]
        shown = [table for table in (_with_columns(table, columns) for table in kept) if table is not None]
        if shown:
            blocks.append(replace(block, tables=tuple(replace(table, detail=False) for table in shown)))
    return replace(section, blocks=tuple(blocks))


def _with_columns(table: Table, columns: Sequence[str]) -> Table | None:
    """Return the table with these columns; None where it lacks one."""
    if not columns:
        return table
    titles = [_title(column) for column in table.columns]
    found = [_matches(name, titles) for name in columns]
    if not all(found):
        return None
    places = list(
        dict.fromkeys(place for names in found for place, title in enumerate(titles) if title in names)
    )
    return replace(
        table,
        columns=tuple(table.columns[place] for place in places),
        rows=tuple(tuple(row[place] for place in places) for row in table.rows),
    )


def _refuse_columns(columns: Sequence[str], tables: Sequence[Table]) -> None:
    titles = list(dict.fromkeys(_title(column) for table in tables for column in table.columns))
    for name in columns:
        if not _matches(name, titles):
            raise OptbenchError(f"no column '{name}'; {nearest(name, titles)}", where="--columns")
    raise OptbenchError("no single table contains all of these columns", where="--columns")
