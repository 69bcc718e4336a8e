"""A report as titles, tables of text and notes: what every format shows. No number is computed here."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from optbench.report.cells import Cell, Column
from optbench.store import Results

__all__ = ["Block", "Cell", "Column", "Picture", "Report", "Section", "Table"]


@dataclass(frozen=True)
class Table:
    """`rows` hold a cell a column. A `detail` is for formats with room for it."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    detail: bool = False


@dataclass(frozen=True)
class Block:
    """One workload: its tables, how to read them, what to beware of, and where it was measured."""

    heading: str
    facts: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    measured_on: str
    numbers: pd.DataFrame | None = None  # behind tables whose numbers are not in the report's `table`


@dataclass(frozen=True)
class Picture:
    """A figure that lies beside the report: its path from there, as in "figures/finals.svg"."""

    path: str
    caption: str
    main: bool  # shown; the others are linked


@dataclass(frozen=True)
class Section:
    """One suite."""

    title: str
    description: str
    blocks: tuple[Block, ...]
    warnings: tuple[str, ...]
    command: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Report:
    """`table`, `warnings` and those in `more`, by name, are the tidy frames that everything here was made from.

    `results`: for formats that show more than tables, as they were read; None where a report is of something else.
    """

    sections: tuple[Section, ...]
    table: pd.DataFrame
    warnings: pd.DataFrame
    more: dict[str, pd.DataFrame] = field(default_factory=dict)
    results: Results | None = field(default=None, repr=False, compare=False)
    captions: bool = True  # of LaTeX tables and of figures, with their titles
