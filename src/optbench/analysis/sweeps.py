"""Records of a sweep -> scores over its grid, per entry and seed. Diverged points are included, as the worst outcome."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from optbench.analysis.frames import counts, first_holding, is_worst, worst_value
from optbench.analysis.lengths import same_length
from optbench.analysis.rows import TableRow, sweep_rows, table_rows
from optbench.store import Results, SuiteResults, TrialLog
from optbench.suite.grids import MAX_EXTENSIONS, Grid
from optbench.suite.metric_facts import MetricFacts
from optbench.suite.sweep import point_of_entry, points

#: a point of the grid, comparable: names and values
Key = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Sweep:
    """One entry on one workload. `scores`: one row per seed, one column per point (its index in `points`); higher is better; only seeds
    of which every point counts. `reached`: likewise, whether the first target held at some evaluation. `own`: the score of the entry as it
    is written, by seed, whether or not it lies on the grid.
    """

    suite: str
    workload: str
    optimizer: str
    points: tuple[dict[str, float], ...]
    axes: tuple[
        str, ...
    ]  # the hyperparameters swept, the learning rate first; `0.lr` in entries of several rules
    metric: str
    facts: MetricFacts  # of the metric
    scores: pd.DataFrame
    reached: pd.DataFrame | None  # None without a target
    own: pd.Series
    own_values: dict[str, float]
    engines: tuple[str, ...]  # that its trials ran on: more than one is a mix
    failed: tuple[int, ...]  # trials that count as the worst outcome, by point
    complete: bool  # nothing is left to run
    trained: pd.Series  # by seed: whether some point did not end in the worst outcome

    @property
    def main(self) -> str:
        """What basins are measured along."""
        return self.axes[0]

    @property
    def has_decades(self) -> bool:
        """Whether the values of the main hyperparameter have a logarithm."""
        return min(point[self.main] for point in self.points) > 0

    @property
    def failures(self) -> int:
        return sum(self.failed)


def sweeps(results: Results) -> list[Sweep]:
    """Return the sweeps in the order of suites, workloads and entries; those without a complete seed have empty `scores`."""
    return [sweep for suite in results.suites for sweep in _of_suite(suite)]


def is_point(values: dict[str, float], point: dict[str, float]) -> bool:
    """Return whether these values of hyperparameters are those of a point."""
    return _key(values) == _key(point)


def _of_suite(suite: SuiteResults) -> Iterator[Sweep]:
    swept = sweep_rows(Results((suite,))) if grids_of(suite) else []
    timed = table_rows(Results((suite,))) if swept else []
    names = dict.fromkeys((row.trial.workload_name, row.trial.label) for row in swept)
    for workload, label in names:
        rows = [row for row in swept if (row.trial.workload_name, row.trial.label) == (workload, label)]
        budget = rows[0].trial.workload.budget
        own = next(
            (
                row
                for row in timed
                if (row.trial.workload_name, row.trial.label) == (workload, label)
                and same_length(row.trial.workload.budget, budget, row.steps_per_epoch)
            ),
            None,
        )
        others = [row for row in (*swept, *timed) if row.trial.workload_name == workload]
        if rows[0].trial.engine == "stacked":  # which ran the entry itself too: a curve is of one engine
            own = _centre(suite, rows)
            others = [row for row in swept if row.trial.workload_name == workload]
        yield _sweep(suite, rows, own, others)


def _sweep(suite: SuiteResults, rows: list[TableRow], own: TableRow | None, others: list[TableRow]) -> Sweep:
    workload = rows[0].trial.workload
    metric = workload.metrics[0]
    facts = rows[0].facts(metric)
    worst, higher = worst_value(others, metric), facts.higher_is_better
    on_grid = {_key(row.trial.point): row for row in rows}
    own_values = _own_values(suite, rows[0], own)
    key = _own_key(suite, own, own_values) if own is not None else None
    if own is not None and key is not None:
        on_grid.setdefault(key, own)
    elif own is not None and own.trial.point and not _is_extension(suite, own, list(on_grid)):
        del on_grid[_key(own.trial.point)]
    keys = sorted(on_grid)
    scores = pd.DataFrame(
        {n: _scores(on_grid[key], metric, worst, higher=higher) for n, key in enumerate(keys)}
    ).dropna()
    reached = None
    if workload.target:
        reached = pd.DataFrame({n: _reached(on_grid[key]) for n, key in enumerate(keys)}).reindex(
            scores.index
        )
    axes = sorted(rows[0].trial.point, key=lambda name: name.split(".")[-1] != "lr")
    return Sweep(
        suite=suite.name,
        workload=rows[0].trial.workload_name,
        optimizer=rows[0].trial.label,
        points=tuple(map(dict, keys)),
        axes=tuple(axes),
        metric=metric,
        facts=facts,
        scores=scores,
        reached=reached,
        own=_scores(own, metric, worst, higher=higher) if own is not None else pd.Series(dtype=float),
        own_values=own_values,
        engines=_engines([*on_grid.values(), *([own] if own is not None else [])]),
        failed=tuple(sum(map(is_worst, on_grid[key].logs)) for key in keys),
        complete=all(
            set(row.seeds) <= {log.trial["seed"] for log in row.logs if log.is_complete} for row in rows
        )
        and (own is None or set(own.seeds) <= {log.trial["seed"] for log in own.logs if log.is_complete}),
        trained=pd.Series(
            {seed: any(_trained(on_grid[key], seed) for key in keys) for seed in scores.index},
            dtype=bool,
        ),
    )


def _centre(suite: SuiteResults, rows: list[TableRow]) -> TableRow | None:
    """Return the row of the point that is the entry itself."""
    own = _key(point_of_entry(grids_of(suite), rows[0].trial.entry))
    return next((row for row in rows if _key(row.trial.point) == own), None)


def _is_extension(suite: SuiteResults, own: TableRow, keys: list[Key]) -> bool:
    """Return whether the entry's own point lies in the extension of the grid."""
    grids, mine = grids_of(suite), _key(own.trial.point)
    widest = dict.fromkeys(grids, (MAX_EXTENSIONS, MAX_EXTENSIONS))
    reach = {_key(point) for point in points(grids, own.trial.entry, widest, with_point_of_entry=True)}
    others = [dict(key) for key in keys if key != mine]
    within = all(
        min(other[name] for other in others) < value < max(other[name] for other in others)
        for name, value in mine
        if others
    )
    return mine in reach and within


def _engines(rows: list[TableRow]) -> tuple[str, ...]:
    starts = [log.started for row in rows for log in row.logs if log.started is not None]
    return tuple(sorted({str(start.environment.get("engine", "plain")) for start in starts}))


def _key(point: dict[str, Any]) -> Key:
    return tuple(sorted((name, float(f"{value:.9g}")) for name, value in point.items()))


def _scores(row: TableRow, metric: str, worst: float, *, higher: bool) -> pd.Series:
    """Return the last validation metric by seed (selection never uses the test split), with a sign so that greater is better."""
    sign = 1.0 if higher else -1.0
    values = {
        log.trial["seed"]: sign * validation_score(log, metric, worst) for log in row.logs if counts(log)
    }
    return pd.Series(values, dtype=float)


def validation_score(log: TrialLog, metric: str, worst: float) -> float:
    """Return the last value of a metric on the validation split; `worst` for a trial that diverged or failed."""
    if is_worst(log) or not log.evaluations:
        return worst
    value = log.evaluations.metric("validation", metric)[-1]
    return value if math.isfinite(value) else worst


def _trained(row: TableRow, seed: int) -> bool:
    return any(log.trial["seed"] == seed and counts(log) and not is_worst(log) for log in row.logs)


def _reached(row: TableRow) -> pd.Series:
    target = row.trial.workload.target[0]

    held = {log.trial["seed"]: first_holding(log, target) is not None for log in row.logs if counts(log)}
    return pd.Series(held, dtype=bool)


def _own_values(suite: SuiteResults, swept: TableRow, own: TableRow | None) -> dict[str, float]:
    """Return the entry's own values of the swept hyperparameters: as written, otherwise as its class resolved them."""
    written = point_of_entry(grids_of(suite), swept.trial.entry)
    starts = [log.started for log in own.logs if log.started is not None] if own is not None else []
    resolved = starts[0].hyperparameters[0] if starts and starts[0].hyperparameters else {}
    found = {name: written.get(name, resolved.get(name)) for name in swept.trial.point}
    return {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}


def _own_key(suite: SuiteResults, own: TableRow, values: dict[str, float]) -> Key | None:
    """Return the point of the entry's own values on the grid; None if it is not on the grid."""
    try:
        grid = points(grids_of(suite), own.trial.entry, with_point_of_entry=True)
    except ValueError:
        return None
    key = _key(values)
    return key if key in {_key(point) for point in grid} else None


def grids_of(suite: SuiteResults) -> dict[str, Grid]:
    """Return the grids of a suite by hyperparameter, as written."""
    written = suite.plan.resolved.get("sensitivity", {}) if suite.plan is not None else {}
    return {name: Grid.model_validate(grid) for name, grid in written.items()}
