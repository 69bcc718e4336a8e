"""Tables that `optbench records` wrote: one run per trial, also of several suites, horizons or sweeps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from optbench.csv_escaping import escape, unescape
from optbench.importing.cells import Cell
from optbench.importing.findings import Findings
from optbench.importing.tables import Table

_COLUMNS = ("suite", "workload", "horizon", "optimizer", "config_id", "seed", "trial_id")
_POINT = "point_"


def one_run_per_trial(table: Table, findings: Findings) -> Table:
    """Return the table with workload names that distinguish its trials; other tables are returned unchanged.

    A workload of several suites, or with several horizons, gets the suite or the horizon in its name. Trials of sweeps
    are left out: they belong to no table of timed entries.
    """
    if not all(name in table.columns for name in _COLUMNS):
        return table
    timed = _without_sweeps(table, findings)
    suites, workloads, horizons, labels, _, seeds, trials = (
        [_text(cell) for cell in timed.columns[name]] for name in _COLUMNS
    )
    of_workload: dict[str, set[str]] = {}
    for suite, workload in zip(suites, workloads, strict=True):
        of_workload.setdefault(workload, set()).add(suite)
    runs = dict.fromkeys(zip(suites, workloads, labels, seeds, trials, strict=True))
    several = Counter(run[:4] for run in runs)
    split = {run[:2] for run, count in several.items() if count > 1}
    names = []
    for suite, workload, horizon in zip(suites, workloads, horizons, strict=True):
        name = f"{suite}: {workload}" if len(of_workload[workload]) > 1 else workload
        names.append(escape(f"{name} ({horizon})" if (suite, workload) in split else name))
    return replace(timed, columns={**timed.columns, "workload": names})


def _without_sweeps(table: Table, findings: Findings) -> Table:
    points = [column for name, column in table.columns.items() if name.startswith(_POINT)]
    kept = [index for index in range(len(table)) if not any(_text(column[index]) for column in points)]
    findings.note("rows of sweeps: skipped", table.file, len(table) - len(kept))
    columns = {name: [cells[index] for index in kept] for name, cells in table.columns.items()}
    return replace(
        table, columns=columns, lines=[table.lines[index] for index in kept] if table.lines else ()
    )


def _text(cell: Cell) -> str:
    return "" if cell is None else unescape(str(cell).strip())
