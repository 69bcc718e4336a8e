"""Results -> the rows that tables show: a plan's rows in its order, each with its logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from optbench.analysis.lengths import in_steps, same_length
from optbench.errors import OptbenchError
from optbench.plurals import counted
from optbench.store import Results, SuiteResults, TrialLog
from optbench.suite.field_types import Duration
from optbench.suite.metric_facts import MetricFacts, facts_by_name
from optbench.suite.types import Trial, Workload
from optbench.suite.value_formatting import as_text

_MADE: WeakKeyDictionary[SuiteResults, tuple[TableRow, ...]] = WeakKeyDictionary()
#: columns that name a table row in frames
KEYS = ["suite", "workload", "horizon", "optimizer", "config_id"]
#: seeds listed in a message
_NAMED = 10


@dataclass(frozen=True)
class TableRow:
    """The trials that differ only in their seed. `trial` is the resolved first of them; `logs` are in order of seeds.

    The trials of an entry that several tuning studies tuned are one row: they also differ in the settings that each study selected.
    """

    suite: str
    trial: Trial
    config_id: str
    seeds: tuple[int, ...]  # planned
    logs: tuple[TrialLog, ...]  # of the planned seeds, or of all
    baseline: bool
    estimand: str  # what the final metric is of: last or best_validation
    metrics: Mapping[str, MetricFacts]  # of the suite, as far as its plan states them

    def facts(self, metric: str) -> MetricFacts:
        return _facts(self.metrics, self.trial.workload, metric)

    @property
    def names(self) -> dict[str, str]:
        """The values of `KEYS`: what names the row in frames."""
        values = (self.suite, self.trial.workload_name, self.horizon, self.trial.label, self.config_id)
        return dict(zip(KEYS, values, strict=True))

    @property
    def length(self) -> Duration:
        """Of the schedule."""
        return self.trial.entry.horizon or self.trial.workload.budget

    @property
    def horizon(self) -> str:
        """Length of the schedule as text: it belongs to the entry's name where horizons differ."""
        return str(self.length)

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps of an epoch; None as long as no trial has recorded them."""
        return next((log.started.steps_per_epoch for log in self.logs if log.started is not None), None)


def batch_size(row: TableRow) -> int | str:
    """Return the samples per step; "full" if no trial has recorded their number yet."""
    train = next((log.started.splits.get("train", 0) for log in row.logs if log.started is not None), 0)
    return row.trial.samples_per_step(train) or "full"


def axis_values(row: TableRow) -> dict[str, Any]:
    """Return the values of the axes by path; mappings and lists as text, None where the axis disables a setting."""
    return {
        path: as_text(value) if isinstance(value, (dict, list)) else value
        for path, value in row.trial.axes.items()
    }


def table_rows(results: Results) -> list[TableRow]:
    """Return all rows of all timed tables. Superseded trials are excluded, and trials of seeds that are not planned unless the
    results were read with `all_seeds`.

    Without a plan (a folder of copied files) the rows are those of the logs, by file name.
    Raises `OptbenchError` if a stored trial is not readable by this version.
    """
    return [row for row in all_rows(results) if not row.trial.point and row.trial.study is None]


def sweep_rows(results: Results) -> list[TableRow]:
    """Return the points of all sweeps, as `table_rows`, each with `trial.point`; they are in no timed table."""
    return [row for row in all_rows(results) if row.trial.point and row.trial.study is None]


def tuning_rows(results: Results) -> list[TableRow]:
    """Return the trials of all tuning studies, one row each, in the order of their points."""
    return [row for row in all_rows(results) if row.trial.study is not None]


def all_rows(results: Results) -> list[TableRow]:
    return [row for suite in results.suites for row in _known_rows(suite)]


def workload_rows(results: Results) -> Iterator[tuple[SuiteResults, str, list[TableRow]]]:
    """Yield each workload of the timed tables: its suite, its name and its rows."""
    for suite in results.suites:
        rows = table_rows(Results((suite,)))
        for workload in dict.fromkeys(row.trial.workload_name for row in rows):
            yield suite, workload, [row for row in rows if row.trial.workload_name == workload]


def comparable(rows: list[TableRow]) -> list[list[TableRow]]:
    """Group the rows of a workload by budget: final metrics and times are comparable within a group only."""
    groups: list[list[TableRow]] = []
    for row in rows:
        known = next((group for group in groups if _same_budget(group[0], row)), None)
        if known is None:
            groups.append([row])
        else:
            known.append(row)
    return groups


def lengths_in_one_unit(rows: list[TableRow]) -> list[float]:
    """Return the length of each row's budget: as written where all have one unit, else in steps (0 where they are not known)."""
    budgets = [row.trial.workload.budget for row in rows]
    if len({budget.unit for budget in budgets}) == 1:
        return [budget.value for budget in budgets]
    return [
        float(in_steps(budget, row.steps_per_epoch) or 0) for budget, row in zip(budgets, rows, strict=True)
    ]


def _same_budget(a: TableRow, b: TableRow) -> bool:
    first, second = a.trial.workload.budget, b.trial.workload.budget
    if first == second:
        return True
    known = a.steps_per_epoch if a.steps_per_epoch == b.steps_per_epoch else None
    return first.unit != second.unit and same_length(first, second, known)


def superseded(suite: SuiteResults) -> tuple[TrialLog, ...]:
    """Return the logs of configurations that are no longer planned."""
    if suite.plan is None:
        return ()
    planned = {row.config_id for row in suite.plan.rows}
    return tuple(log for log in suite.logs if log.config_id not in planned)


def seeds_not_shown(suite: SuiteResults) -> list[int]:
    """Return the seeds of planned rows that have results, are not planned and are left out."""
    if suite.plan is None or suite.all_seeds:
        return []
    rows = {row.config_id for row in suite.plan.rows if row.trial.get("study") is None}
    return sorted({log.trial["seed"] for log in suite.logs if log.config_id in rows} - set(suite.plan.seeds))


def seeds_not_shown_text(suite: SuiteResults) -> str:
    """Return a sentence about these seeds; "" if there are none."""
    seeds = seeds_not_shown(suite)
    if not seeds:
        return ""
    named = ", ".join(map(str, seeds[:_NAMED])) + (", ..." if len(seeds) > _NAMED else "")
    verb = "is" if len(seeds) == 1 else "are"
    return f"{counted(len(seeds), 'further seed')} ({named}) {verb} stored but not planned: use --all-seeds to include them"


def metric_facts(suite: SuiteResults, workload: Workload, metric: str) -> MetricFacts:
    """Return the facts that the plan states; else the direction is that of a target on the metric, and the rest follows from its name."""
    return _facts(suite.plan.metrics if suite.plan is not None else {}, workload, metric)


def _facts(stated: Mapping[str, MetricFacts], workload: Workload, metric: str) -> MetricFacts:
    if metric in stated:
        return stated[metric]
    directions = [target.at_least is not None for target in workload.target if target.metric == metric]
    return facts_by_name(metric, directions[0] if directions else None)


def _known_rows(suite: SuiteResults) -> tuple[TableRow, ...]:
    """Return the rows of a suite, cached while the suite is referenced because every frame needs them."""
    if suite not in _MADE:
        _MADE[suite] = tuple(_suite_rows(suite))
    return _MADE[suite]


def _suite_rows(suite: SuiteResults) -> list[TableRow]:
    plan = suite.plan
    logs: dict[str, list[TrialLog]] = {}
    for log in suite.logs:
        logs.setdefault(log.config_id, []).append(log)
    divided: dict[str, tuple[int, ...]] = {}  # seeds of rows that tuning studies divide
    if plan is not None:
        firsts = {row.config_id: row.trial for row in plan.rows}
        divided = {row.config_id: row.seeds for row in plan.rows if row.seeds is not None}
    else:
        firsts = {config_id: of_row[0].trial for config_id, of_row in logs.items()}
    rows: list[TableRow] = []
    baselines: dict[str, str] = {}
    parts: dict[tuple[str, str], Any] = {}
    places: dict[tuple[str, str, str], int] = {}  # of rows that several tuning studies share
    for config_id, content in firsts.items():
        trial = _validated(content, suite, parts)
        wanted = plan.resolved.get("baseline") if plan is not None else None
        first = baselines.setdefault(trial.workload_name, wanted or trial.label)
        of_row = sorted(logs.get(config_id, []), key=lambda log: log.trial["seed"])
        if trial.study is not None:
            seeds: tuple[int, ...] = (trial.seed,)
        elif plan is None:
            seeds = tuple(log.trial["seed"] for log in of_row)
        else:
            seeds = divided.get(config_id, plan.seeds)
            if config_id in divided or not suite.all_seeds:
                of_row = [log for log in of_row if log.trial["seed"] in seeds]
        metrics = plan.metrics if plan is not None else {}
        resolved = plan.resolved if plan is not None else {}
        estimand = resolved.get("finals", {}).get(trial.workload_name) or resolved.get("final", "last")
        row = TableRow(
            suite.name, trial, config_id, seeds, tuple(of_row), trial.label == first, estimand, metrics
        )
        if config_id in divided:
            key = (trial.workload_name, trial.label, row.horizon)
            position = places.setdefault(key, len(rows))
            if position < len(rows):
                rows[position] = _joined(rows[position], row)
                continue
        rows.append(row)
    return rows


def _joined(first: TableRow, other: TableRow) -> TableRow:
    """Return one row with the trials of two rows of different tuning studies."""
    logs = sorted((*first.logs, *other.logs), key=lambda log: log.trial["seed"])
    return replace(first, seeds=tuple(sorted({*first.seeds, *other.seeds})), logs=tuple(logs))


def _validated(content: dict[str, object], suite: SuiteResults, parts: dict[tuple[str, str], Any]) -> Trial:
    """Return a trial. `parts`: workloads and entries by name of the field and content, since many trials have the same ones."""
    keys = {name: (name, repr(content.get(name))) for name in ("workload", "entry")}
    known = {name: parts[key] for name, key in keys.items() if key in parts}
    try:
        trial = Trial.model_validate({**content, **known})
        parts.update({key: getattr(trial, name) for name, key in keys.items()})
        return trial
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = (
            f"cannot read a stored trial with this version of optbench ({first['msg']}): run the suite again"
        )
        raise OptbenchError(message, where=place, file=str(suite.path)) from error
