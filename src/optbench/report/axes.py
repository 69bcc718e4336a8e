"""Table of a suite with axes: one row per combination and entry."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from optbench.analysis.frames import plain_rows
from optbench.analysis.rows import TableRow
from optbench.report.cells import Column, comparison_columns
from optbench.report.document import Block, Table
from optbench.report.outcomes import WORST, worst_value_text
from optbench.report.text import clean
from optbench.suite.value_formatting import as_text


def axes_block(rows: Sequence[TableRow], table: pd.DataFrame, warnings: Sequence[str]) -> Block | None:
    """Return the block with the table of all combinations, for the first target; None if the suite has no axes.

    `rows` and `table` (from `analysis.table.comparison`) are those of one suite.
    """
    paths = list(dict.fromkeys(path for row in rows for path in row.trial.axes))
    if not paths:
        return None
    first = table[table["target"] == table["target"].iloc[0]]
    entry, *rest, status = comparison_columns(first)
    if not (first["completed"] == first["planned"]).all():
        rest.append(status)
    columns = [*map(_axis, paths), *([entry] if first["optimizer"].nunique() > 1 else []), *rest]
    target = str(first["target"].iloc[0])
    shown = Table.of(f"Target: {clean(target)}" if target else "No target", columns, plain_rows(first))
    notes = [
        "Each combination is a separate workload: seeds are paired within it, and combinations are not tested against each other."
    ]
    if alone(rows):
        notes += ["Final metric: mean over seeds ± half the 95 % t interval, where there is one."]
    if first["imputed"].any():
        notes += [f"†: trials that {WORST} count as {worst_value_text(first)}."]
    return Block("By axes", _facts(rows, paths), (shown,), tuple(notes), tuple(warnings))


def alone(rows: Sequence[TableRow]) -> bool:
    """Return whether each combination has a single row; tables per combination then add nothing."""
    counts = pd.Series([row.trial.workload_name for row in rows]).value_counts()
    return bool((counts == 1).all())


def _facts(rows: Sequence[TableRow], paths: Sequence[str]) -> str:
    workload = rows[0].trial.workload
    facts = [f"{workload.model.name} on {workload.data.name}"]
    fixed = {
        "workload.batch_size": f"batch size {workload.batch_size}",
        "workload.budget": f"budget {workload.budget}",
    }
    return clean(", ".join([*facts, *(text for path, text in fixed.items() if path not in paths)]))


def _axis(path: str) -> Column:
    def cell(record: dict[object, object]) -> str:
        value = record[path]
        missing = value is None or (isinstance(value, float) and value != value)
        return clean(as_text(None if missing else value))

    return Column(clean(path.rpartition(".")[2]), cell, text=True)
