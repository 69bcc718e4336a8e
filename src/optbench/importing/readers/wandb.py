"""Read exports of Weights & Biases: charts as CSV, histories as CSV or JSON lines.

In the file of a chart each column is a run and a metric, as `adam-1 - val/accuracy`; files of several charts of the same
runs are joined. Files of single runs that name no optimizer need --runs. Without a column of the step, the step is `_step`,
which counts log calls from 0 unless the script sets it: map the column of the optimizer's step with --map step=COLUMN. Logs of
Lightning (`trainer/global_step`) are converted to the numbers of epochs and steps trained.

Examples:
  optbench import wandb chart.csv loss.csv --runs '{optimizer}-{seed}' --target 'accuracy>=0.9'
  optbench import wandb adam_0.csv sgd_0.csv --runs '{optimizer}_{seed}'
  optbench import wandb history.csv --map optimizer=name --target 'accuracy>=0.9'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from optbench.importing.cells import Cell
from optbench.importing.delimited import read_delimited
from optbench.importing.findings import Findings
from optbench.importing.readers.jsonl import read_file
from optbench.importing.readers.lightning import GLOBAL_STEP, counted_from_one
from optbench.importing.tables import Table

_SEPARATOR = " - "
_RANGES = ("__MIN", "__MAX")


def read(paths: Sequence[Path], findings: Findings) -> list[Table]:
    """Return one table per history, and one per run of the charts."""
    tables = []
    charts: dict[str, list[tuple[Table, str, str]]] = {}  # by run: the table, its column, the metric
    for path in paths:
        is_json = path.name.removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson"))
        table = read_file(path, findings) if is_json else read_delimited(path, findings)
        named = [name for name in table.columns if _SEPARATOR in name and not name.endswith(_RANGES)]
        for name in named:
            run, _, metric = name.rpartition(_SEPARATOR)
            if metric != "_step":
                charts.setdefault(run, []).append((table, name, metric))
        if not named:
            tables.append(table)
    tables += [_of_run(run, series) for run, series in charts.items()]
    return [_of_lightning(table) if GLOBAL_STEP in table.columns else table for table in tables]


def _of_lightning(table: Table) -> Table:
    """Return the table with Lightning's step instead of the number of log calls."""
    columns = {name: cells for name, cells in table.columns.items() if name not in ("_step", "Step")}
    return counted_from_one(replace(table, columns={**columns, "step": table.columns[GLOBAL_STEP]}))


def _of_run(run: str, series: list[tuple[Table, str, str]]) -> Table:
    """Return the run's rows of all charts, one below the other: rows of one step are merged later."""
    names = dict.fromkeys(
        name
        for table, _, _ in series
        for name in ([name for name in table.columns if _SEPARATOR not in name])
    )
    columns: dict[str, list[Cell]] = {name: [] for name in (*names, *(metric for _, _, metric in series))}
    lines: list[int] = []
    for table, column, metric in series:
        for name, cells in columns.items():
            source = column if name == metric else name if name in names else ""
            cells += table.columns.get(source, [None] * len(table))
        lines += table.lines
    return Table(series[0][0].file, columns, lines, run=run, delimiter=",")
