"""Data structures of a report: titles, tables of text, notes and warnings, which every format renders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optbench.report.cells import Cell, Column
from optbench.store import Results

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Block", "Cell", "Column", "Picture", "Report", "Section", "Table"]


@dataclass(frozen=True)
class Table:
    """Table with one cell per column in each row. A `detail` table and its note are shown in long formats only."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    detail: bool = False
    note: str = ""

    @classmethod
    def of(
        cls,
        caption: str,
        columns: Iterable[Column],
        records: Iterable[Any],
        detail: bool = False,
        note: str = "",
    ) -> Table:
        """Return the table with a row per record; `records` may be a frame."""
        columns = tuple(columns)
        records = records.to_dict("records") if hasattr(records, "to_dict") else records
        rows = tuple(tuple(column.of(record) for column in columns) for record in records)
        return cls(caption, columns, rows, detail, note)


@dataclass(frozen=True)
class Block:
    """One workload: its tables, notes, warnings, and the machine that it was measured on."""

    heading: str
    facts: str
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    measured_on: str = ""
    numbers: pd.DataFrame | None = None  # behind tables whose numbers are not in the report's `table`

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Notes of the block, then those of its tables."""
        return (*self.notes, *(table.note for table in self.tables if table.note))


@dataclass(frozen=True)
class Picture:
    """A figure file; `path` is relative to the report, as in "figures/finals.svg"."""

    path: str
    caption: str
    main: bool  # shown; the others are linked


@dataclass(frozen=True)
class Section:
    """One suite."""

    title: str
    description: str
    blocks: tuple[Block, ...]
    warnings: tuple[str, ...] = ()
    command: str = ""
    pictures: tuple[Picture, ...] = ()
    widen: str = ""  # the command with wider search spaces, if a setting at an end of its space was selected

    @property
    def commands(self) -> tuple[tuple[str, str], ...]:
        """Return the commands of the section, each after its heading."""
        headed = (("Repeat with", self.command), ("Repeat with wider search spaces", self.widen))
        return tuple((heading, command) for heading, command in headed if command)


@dataclass(frozen=True)
class Report:
    """Sections to render, with the tidy frames that they were built from: `table`, `warnings`, and others by name in `more`.

    `results`: the results as read, for formats that show more than tables; None for reports of other data.
    """

    sections: tuple[Section, ...]
    table: pd.DataFrame
    warnings: pd.DataFrame
    more: dict[str, pd.DataFrame] = field(default_factory=dict)
    results: Results | None = field(default=None, repr=False, compare=False)
    captions: bool = True  # of LaTeX tables and of figures, with their titles
