"""Tables that readers return: one row per evaluation or log call, one column per quantity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def columns_of(values: Iterable[tuple[float, int, str, float]]) -> dict[str, list[Cell]]:
    """Return columns of single values: seconds, step, name and value, in the order of the log.

    A value is in the latest row of its step, or in a new row if that has the name already: after a restart.
    """
    rows: list[dict[str, float]] = []
    latest: dict[int, dict[str, float]] = {}
    for seconds, step, name, value in values:
        if name in ("step", "seconds"):
            continue
        row = latest.get(step)
        if row is None or name in row:
            row = latest[step] = {"step": step, "seconds": seconds}
            rows.append(row)
        row[name] = value
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
