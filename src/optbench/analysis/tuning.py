"""Tuning studies: which settings were selected, at what cost, and how much the selection flatters them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pandas as pd

from optbench.analysis.frames import counts, first_holding, is_worst, worst_value
from optbench.analysis.intervals import Difference, Estimate, paired_difference, t_interval
from optbench.analysis.order_statistics import expected_best, expected_best_interval, variance_of_best
from optbench.analysis.rows import TableRow, metric_facts, table_rows, tuning_rows
from optbench.analysis.verdicts import Measured
from optbench.store import Results, SuiteResults, TrialLog
from optbench.suite.samplers import check_grid
from optbench.suite.spaces import Point, Space, spaces_of, tuned_arguments
from optbench.suite.tuning import TIME_TO_TARGET, Tuning, is_past_rung
from optbench.suite.types import Optimizer, Target, Workload
from optbench.suite.widening import widened

COLUMNS = (
    *(
        "suite",
        "workload",
        "optimizer",
        "study",
        "metric",
        "metric_unit",
        "higher_is_better",
        "trials",
        "complete",
        "dimensions",
        "exhaustive",
    ),
    *("best", "best_trial", "tuned", "fresh", "fresh_n", "optimism", "edge", "diverged", "pruned"),
    *("tuning_steps", "tuning_epochs", "tuning_seconds", "expected_best"),
)

_STUDIES: WeakKeyDictionary[SuiteResults, tuple[Study, ...]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Study:
    """The tuning trials of one entry on one workload. `scores`: by trial, in the metric's own unit; NaN for a trial that has not ended."""

    suite: str
    seeds: tuple[int, ...]  # of the suite, with the settings that this study selects
    rows: tuple[TableRow, ...]
    tuning: Tuning
    entry: Optimizer  # with its search spaces
    metric: str
    higher: bool
    scores: npt.NDArray[np.float64]
    pruned: frozenset[int] = (
        frozenset()
    )  # positions of the trials that were not continued; their score is the worst
    ranks: npt.NDArray[np.float64] | None = None  # the lower the better, where scores leave ties

    @property
    def workload(self) -> str:
        return self.rows[0].trial.workload_name

    @property
    def label(self) -> str:
        return self.rows[0].trial.label

    @property
    def number(self) -> int:
        """Number of the study among the repeated studies of its entry, from 0."""
        return self.rows[0].trial.study or 0

    @property
    def is_complete(self) -> bool:
        """Whether every planned trial has ended and none failed through the infrastructure."""
        return len(self.scores) >= self.planned and bool(np.isfinite(self.scores).all())

    @property
    def planned(self) -> int:
        """Number of trials of the study, including those that an adaptive sampler has not proposed yet."""
        if self.tuning.is_adaptive and self.tuning.trials is not None:
            return self.tuning.trials
        return len(self.rows)

    @property
    def best(self) -> int | None:
        """Position of the selected trial, the first of equal ones; None while trials are missing or if none trained."""
        whole = [number for number in range(len(self.rows)) if number not in self.pruned]
        if not self.is_complete or all(is_worst(log) for number in whole for log in self.rows[number].logs):
            return None
        sign = -1 if self.higher else 1
        ranks = sign * self.scores if self.ranks is None else self.ranks
        return min(whole, key=lambda number: (ranks[number], number))

    @property
    def budget(self) -> int:
        """Number of trials of one study."""
        return len(self.scores) // len({row.trial.study for row in self.rows})

    @property
    def is_exhaustive(self) -> bool:
        """Whether the trials are all points of a grid."""
        return self.tuning.sampler == "grid" and self.planned == check_grid(
            [rule.arguments for rule in self.entry.rules]
        )

    @property
    def spaces(self) -> dict[str, tuple[Space, ...]]:
        return spaces_of([rule.arguments for rule in self.entry.rules])


def winners(results: Results) -> dict[tuple[str, str, int], Point]:
    """Return the selected settings of complete studies, by workload, label and number of the study."""
    return {
        (study.workload, study.label, study.number): dict(study.rows[study.best].trial.point)
        for study in studies(results)
        if study.best is not None
    }


def tuned_labels(suite: SuiteResults) -> frozenset[str]:
    """Return the labels of the entries with search spaces."""
    entries = suite.plan.resolved["optimizers"] if suite.plan is not None else {}
    return frozenset(label for label, entry in entries.items() if Optimizer.model_validate(entry).is_tuned)


def studies(results: Results) -> list[Study]:
    """Return all studies, in the order of suites, workloads and entries."""
    return [study for suite in results.suites for study in _known_studies(suite)]


def _known_studies(suite: SuiteResults) -> tuple[Study, ...]:
    """Return the studies of a suite, cached while the suite is referenced because every frame needs them."""
    if suite not in _STUDIES:
        _STUDIES[suite] = tuple(_studies(suite))
    return _STUDIES[suite]


def _studies(suite: SuiteResults) -> Iterator[Study]:
    if suite.plan is None or not suite.plan.resolved.get("tuning"):
        return
    resolved = suite.plan.resolved
    tuning = Tuning.model_validate(resolved["tuning"])
    by_study: dict[tuple[str, str, int], list[TableRow]] = {}
    for row in tuning_rows(Results((suite,))):
        key = (row.trial.workload_name, row.trial.label, row.trial.study or 0)
        by_study.setdefault(key, []).append(row)
    of_workload: dict[tuple[str, int], list[TableRow]] = {}
    for (workload_name, _, number), rows in by_study.items():
        of_workload.setdefault((workload_name, number), []).extend(rows)
    worst_values: dict[tuple[str, int], float] = {}
    for (workload_name, label, number), rows in by_study.items():
        workload = rows[0].trial.workload
        metric = tuning.metric or workload.metrics[0]
        selection = Selection.of(suite, tuning, workload)
        higher = selection.higher and selection.target is None
        if (workload_name, number) not in worst_values:
            others = of_workload[workload_name, number]
            worst_values[workload_name, number] = (
                math.nan if selection.target is not None else worst_value(others, metric)
            )
        worst = worst_values[workload_name, number]
        entry = Optimizer.model_validate(resolved["optimizers"][label])
        pruned = _pruned(rows)
        scores = np.array(
            [
                worst
                if row.trial.rung is not None and selection.target is None
                else _score(row, metric, worst)
                for row in rows
            ]
        )
        ranks = None
        if selection.target is not None:
            found = [selection.score(next(iter(row.logs), None)) for row in rows]
            ranks = np.array([math.inf if rank is None else rank for rank in found])
        if pruned is None:
            scores, pruned = np.full(len(rows), math.nan), frozenset()
        seeds = suite.plan.seeds[number :: tuning.studies]
        yield Study(suite.name, seeds, tuple(rows), tuning, entry, metric, higher, scores, pruned, ranks)


def _pruned(rows: Sequence[TableRow]) -> frozenset[int] | None:
    """Return the positions of the trials of a study that are not continued; None as long as they are not known."""
    paused = frozenset(number for number, row in enumerate(rows) if row.trial.rung is not None)
    all_ended = all(any(is_worst(log) for log in row.logs) for row in rows)
    return None if paused and len(paused) == len(rows) and not all_ended else paused


def _score(row: TableRow, metric: str, worst: float) -> float:
    """Return the last validation metric of a row's only trial, or its steps to the target; never the test split."""
    log = next((log for log in row.logs if counts(log) and log.has_ended(row.trial.rung)), None)
    return math.nan if log is None else _outcome(log, metric, worst, row.trial.workload)


def _outcome(log: TrialLog, metric: str, worst: float, workload: Workload) -> float:
    """Return the last validation metric of a trial that has ended, `worst` for the worst outcome; or its steps to the target."""
    if metric == TIME_TO_TARGET:
        return _steps(log, workload.target[0])
    return worst if is_worst(log) else _last(log, metric, worst)


def _last(log: TrialLog, metric: str, worst: float = math.nan, place: int = -1) -> float:
    value = float(log.evaluations.metric("validation", metric)[place]) if log.evaluations else math.nan
    return value if math.isfinite(value) else worst


def _steps(log: TrialLog, target: Target) -> float:
    """Return the steps to the target; the number of steps of the budget where it was not reached."""
    first = first_holding(log, target)
    if first is not None:
        return float(log.evaluations.column("step")[first])
    return _budget_steps(log)


@dataclass(frozen=True)
class Selection:
    """How trials of a study are compared: by a validation metric, or by the steps to a target, then by the metric of the target."""

    metric: str
    higher: bool  # of the metric, or of that of the target
    target: Target | None = None

    @classmethod
    def of(cls, suite: SuiteResults, tuning: Tuning, workload: Workload) -> Selection:
        metric = tuning.metric or workload.metrics[0]
        if metric == TIME_TO_TARGET:
            [target, *_] = workload.target
            return cls(target.metric, target.at_least is not None, target)
        return cls(metric, metric_facts(suite, workload, metric).higher_is_better)

    def score(self, log: TrialLog | None, rung: float | None = None) -> float | None:
        """Return a number for a sampler, the lower the better: infinite for the worst outcome, None if the trial has not ended.

        For the time to a target: the steps, plus at most half a step by the metric of the target, so that trials that reached it at the
        same evaluation differ; trials that did not reach it come after all others. `rung`: a part of the budget; the score is that at
        the first evaluation from there on, whether the trial was paused or not.
        """
        if log is None:
            return None
        last_place = len(log.evaluations) - 1 if rung is None else _rung_place(log, rung)
        if last_place is None:
            return math.inf if counts(log) and is_worst(log) else None
        if rung is None and not (counts(log) and log.has_ended(None)):
            return None
        last = math.nan if rung is None and is_worst(log) else _last(log, self.metric, place=last_place)
        first = None if self.target is None else first_holding(log, self.target)
        reached = first is not None and first <= last_place
        if math.isnan(last) and not reached:
            return math.inf
        value = -last if self.higher else last
        if self.target is None:
            return value
        share = 0.5 if math.isnan(value) else 0.25 * (1 + value / (1 + abs(value)))
        steps = _steps(log, self.target) if reached else _budget_steps(log)
        return steps + share + (0 if reached else 1)


def _rung_place(log: TrialLog, rung: float) -> int | None:
    """Return the position of the first evaluation at or after a part of the budget; None if the trial did not get there."""
    if log.started is None or not log.evaluations:
        return None
    steps = _budget_steps(log)
    evaluated = enumerate(log.evaluations.column("step"))
    return next((place for place, step in evaluated if is_past_rung(step, rung, steps)), None)


def _budget_steps(log: TrialLog) -> float:
    assert log.started is not None
    return float(log.started.steps or 0)


def tuning_frame(results: Results) -> pd.DataFrame:
    """Return one row per study, in the order of the suite.

    Columns: suite, workload, optimizer, study (its number among the repeated ones, from 1); metric (of selection), metric_unit,
    higher_is_better; trials (planned), complete (ended), dimensions (search spaces), exhaustive (the trials are all points of a
    grid); best (selected settings), best_trial (its number, from 1); tuned (its validation metric while tuning), fresh (mean validation
    metric of the same settings on the seeds of the suite, where trials with the worst outcome count as in the table), fresh_n (seeds),
    optimism (by how much tuned is better than fresh); edge (ends of spaces at which selected values are: within 5 %, without natural limits
    such as 0); diverged (trials with the worst outcome); pruned (trials that were not continued); tuning_steps, tuning_epochs and
    tuning_seconds (spent by all tuning trials); expected_best (a list: the expected best after 1, 2, ... trials in random order, by the
    estimator of Tang et al. 2020).
    """
    timed: dict[tuple[str, str], list[TableRow]] = {}
    for row in table_rows(results):
        timed.setdefault((row.suite, row.trial.workload_name), []).append(row)
    records = [_record(study, timed.get((study.suite, study.workload), [])) for study in studies(results)]
    return pd.DataFrame(records, columns=list(COLUMNS))


def _record(study: Study, timed: Sequence[TableRow]) -> dict[str, Any]:
    """Return the row of a study. `timed`: the rows of its workload in the timed table."""
    points = [log for row in study.rows for log in row.logs if counts(log)]
    record: dict[str, Any] = {
        "suite": study.suite,
        "workload": study.workload,
        "optimizer": study.label,
        "study": study.number + 1,
        "metric": study.metric,
        "metric_unit": study.rows[0].facts(study.metric).unit,
        "higher_is_better": study.higher,
        "trials": study.planned,
        "complete": int(np.isfinite(study.scores).sum()),
        "dimensions": sum(map(len, study.spaces.values())),
        "exhaustive": study.is_exhaustive,
        "best": {},
        "best_trial": math.nan,
        "tuned": math.nan,
        "fresh": math.nan,
        "fresh_n": 0,
        "optimism": math.nan,
        "edge": "",
        "diverged": sum(is_worst(log) for log in points),
        "pruned": len(study.pruned),
        "tuning_steps": sum(log.finished.step for log in points if log.finished),
        "tuning_epochs": sum(
            log.finished.step / log.started.steps_per_epoch for log in points if log.finished and log.started
        ),
        "tuning_seconds": sum(log.finished.train_seconds for log in points if log.finished),
        "expected_best": expected_curve(study).tolist() if study.is_complete else [],
    }
    if study.best is None:
        return record
    best = study.rows[study.best].trial.point
    record |= {"best": dict(best), "best_trial": study.best + 1, "tuned": float(study.scores[study.best])}
    record["edge"] = ", ".join(_edges(study))
    fresh = _fresh(study, timed)
    if fresh and not any(map(math.isnan, fresh)):
        record |= {"fresh": float(np.mean(fresh)), "fresh_n": len(fresh)}
        record["optimism"] = (record["tuned"] - record["fresh"]) * (1 if study.higher else -1)
    return record


def _fresh(study: Study, timed: Sequence[TableRow]) -> list[float]:
    """Return the outcomes of the selected settings on the seeds of the suite; empty if tuning trials have another budget.

    Trials with the worst outcome count as in the table: as the worst value that is possible, or of all `timed` rows of this budget.
    """
    alike = [row for row in timed if row.trial.workload.budget == study.rows[0].trial.workload.budget]
    own = next((row for row in alike if row.trial.label == study.label), None)
    if own is None:
        return []
    worst = math.nan if study.metric == TIME_TO_TARGET else worst_value(alike, study.metric)
    return [
        _outcome(log, study.metric, worst, own.trial.workload)
        for log in own.logs
        if counts(log) and log.trial["seed"] in study.seeds
    ]


def pooled(repeated: Sequence[Study]) -> Study:
    """Return the trials of the repeated studies of one entry as one study, for the expected best of its budget."""
    rows = tuple(row for study in repeated for row in study.rows)
    return replace(repeated[0], rows=rows, scores=np.concatenate([study.scores for study in repeated]))


def expected_curve(study: Study) -> npt.NDArray[np.float64]:
    """Return the expected best score after 1, 2, ... trials in random order; empty with pruning, where trials depend on each other."""
    if study.tuning.prune is not None:
        return np.array([])
    sign = 1.0 if study.higher else -1.0
    return np.array([sign * expected_best(sign * study.scores, k) for k in range(1, study.budget + 1)])


def expected_band(study: Study) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return a pointwise 95 % interval of `expected_curve` (`expected_best_interval`), within the range of the metric.

    It is the uncertainty of the tuning: other points of the same space would give another curve. Empty with an adaptive sampler, whose
    trials depend on each other, and for fewer than two trials, whose variance is unknown.
    """
    if study.tuning.is_adaptive or len(study.scores) < 2:
        return np.array([]), np.array([])
    sign = 1.0 if study.higher else -1.0
    ends = [expected_best_interval(sign * study.scores, k) for k in range(1, study.budget + 1)]
    within = study.rows[0].facts(study.metric).range
    low, high = np.clip(np.sort(sign * np.array(ends), axis=1), *within).T
    return low, high


#: why there is no interval of a quantity of tuned entries
UNKNOWN_VARIATION = (
    "no interval: how this quantity varies between tuning studies is not known (with as many studies as seeds, each seed has its own "
    "settings)"
)


@dataclass(frozen=True)
class TuningVariation:
    """How tuning limits what the seeds of a workload show: seeds that share the settings of a study are not independent of each other."""

    labels: frozenset[str] = frozenset()
    """Labels of the tuned entries; empty if each seed has its own study."""
    study_of_seed: dict[int, int] = field(default_factory=dict)
    """Number of the study whose settings a seed of these entries uses."""
    shared_variances: dict[str, float] = field(default_factory=dict)
    """By label, with a single study: variance of the metric between studies, estimated from the trials of this one. NaN: unknown."""

    def shared(self, rows: Sequence[TableRow]) -> dict[str, float]:
        """Return the variances by config_id; 0 for entries that are not tuned."""
        return {row.config_id: self.shared_variances.get(row.trial.label, 0.0) for row in rows}

    @property
    def has_several_studies(self) -> bool:
        return len(set(self.study_of_seed.values())) > 1

    def measured(
        self, label: str, values: pd.Series, within: tuple[float, float] = (-math.inf, math.inf)
    ) -> Measured:
        """Return the mean of a row with its interval, for a verdict. `values`: by seed."""
        if label not in self.labels:
            return _measured(t_interval(values.dropna().tolist(), within=within))
        found = self.independent(values.to_frame()).iloc[:, 0].dropna().tolist()
        return replace(_measured(t_interval(found, within=within)), unit="study")

    def difference(self, labels: Sequence[str], values: pd.DataFrame, level: float = 0.95) -> Measured:
        """Return the mean paired difference of two rows with its interval, for a verdict. `values`: by seed, one column per label."""
        pairs = values.dropna()
        is_tuned = any(label in self.labels for label in labels)
        pairs = self.independent(pairs) if is_tuned else pairs
        found = _measured(paired_difference(pairs.iloc[:, 0].tolist(), pairs.iloc[:, 1].tolist(), level))
        return replace(found, unit="study") if is_tuned else found

    def independent(self, values: pd.DataFrame) -> pd.DataFrame:
        """Return means over the seeds of each study, if seeds share several studies. `values`: one row per seed."""
        if not self.has_several_studies:
            return values
        planned = values[values.index.isin(self.study_of_seed)]
        return planned.groupby(planned.index.map(self.study_of_seed)).mean()


#: seeds are independent of each other
SEPARATE = TuningVariation()


def variation_between_studies(suite: SuiteResults, workload: str) -> TuningVariation:
    """Return the variation that verdicts include. With a single study they are about the settings that it selected, over seeds alone."""
    found = tuning_variation(suite, workload, None)
    return found if found.has_several_studies else SEPARATE


def _measured(found: Estimate | Difference) -> Measured:
    return Measured(found.n, found.mean, found.low, found.high)


def tuning_variation(suite: SuiteResults, workload: str, metric: str | None) -> TuningVariation:
    """Return how the outcome of a workload varies between tuning studies.

    A single study: half the mean squared difference between the trials selected from two random halves of it (`variance_of_best`),
    by `metric` on the validation split at the end of tuning trials. Without a metric (times to target) it is unknown.
    """
    own = [study for study in studies(Results((suite,))) if study.workload == workload]
    if not own or suite.plan is None or own[0].tuning.studies >= len(suite.plan.seeds):
        return TuningVariation()
    count = own[0].tuning.studies
    of_seed = {seed: position % count for position, seed in enumerate(suite.plan.seeds)}
    variances: dict[str, float] = {}
    if count == 1:
        worst = math.nan if metric is None else worst_value([row for one in own for row in one.rows], metric)
        variances = {study.label: _variance(study, metric, worst) for study in own}
    return TuningVariation(frozenset(study.label for study in own), of_seed, variances)


def _variance(study: Study, metric: str | None, worst: float) -> float:
    """Return the variance of `metric` of the trial that half of the trials would select; NaN where trials depend on each other.

    `worst`: what a trial with the worst outcome counts as.
    """
    if study.best is None or metric is None or study.tuning.is_adaptive or len(study.rows) < 2:
        return math.nan
    values = np.array([_score(row, metric, worst) for row in study.rows])
    sign = 1.0 if study.higher else -1.0
    goodness = sign * study.scores if study.ranks is None else -study.ranks
    order = np.argsort(goodness, kind="stable")
    return variance_of_best(values[order], len(values) // 2)


def _edges(study: Study) -> Iterator[str]:
    """Yield the hyperparameters whose selected value is at an end of its space (`suite.widening`), with the end."""
    assert study.best is not None
    point = study.rows[study.best].trial.point
    for name, written in tuned_arguments([rule.arguments for rule in study.entry.rules]).items():
        for edge in widened(name, point[name], written)[1]:
            yield f"{'upper' if edge.is_upper else 'lower'} end of {name} ({edge.value:g})"
