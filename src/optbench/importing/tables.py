"""What every reader returns: a table of evaluations or of single log calls, a column per quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from optbench.importing.cells import Cell


@dataclass(frozen=True)
class Table:
    """All columns have the same length.

    `lines` are the rows' line numbers in `file`, empty where it has no lines. `run` is the name of the run, such as its
    folder; empty where the table has many runs. `constants` are the run's settings, by name: they are used as columns
    where a column of a needed name is missing.
    """

    file: str
    columns: Mapping[str, Sequence[Cell]]
    lines: Sequence[int] = ()
    run: str = ""
    constants: Mapping[str, Cell] = field(default_factory=dict)
    delimiter: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))
