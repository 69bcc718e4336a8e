"""Plan trials that follow from stored results: selected settings of tuning studies, and wider grids of sweeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from optbench.analysis.sensitivity import extension
from optbench.analysis.tuning import Selection, winners
from optbench.catalog.metric_facts import metric_facts
from optbench.catalog.stackable import why_plain
from optbench.store import Results, StoredSuite, SuiteResults, make_plan
from optbench.suite.load import Loaded
from optbench.suite.plan import Winners, plan
from optbench.suite.sweep import Extensions
from optbench.suite.types import Trial

Identify = Callable[[Sequence[Trial]], tuple[Trial, ...]]


def adaptive_plan(loaded: Loaded, stored: StoredSuite, identified: Identify) -> tuple[Trial, ...]:
    """Return the suite's trials, including extended grids of stored sweeps whose best point is at an edge.

    `identified` adds what identifies the data to trials.
    """
    selected: Winners = {}
    score = None
    [suite] = stored.read().suites
    if loaded.suite.tuning is not None:
        score = _scores(loaded, with_plan(suite, loaded, ()), identified)
        tuning = identified(plan(loaded, None, why_plain, score=score))
        selected = winners(Results((with_plan(suite, loaded, tuning),)))
    if not loaded.suite.sensitivity:
        return identified(plan(loaded, None, why_plain, selected, score))
    extended: Extensions | None = {}
    while extended is not None:
        planned = identified(plan(loaded, extended, why_plain, selected, score))
        extended = extension(Results((with_plan(suite, loaded, planned),)), extended)
    return planned


def _scores(loaded: Loaded, suite: SuiteResults, identified: Identify) -> Callable[[Trial], float | None]:
    """Return the function that gives the stored result of a tuning trial to a sampler."""
    logs = {log.config_id: log for log in suite.logs if log.trial.get("study") is not None}
    data: dict[str, dict[str, str]] = {}  # what identifies the data, by workload

    def score(trial: Trial) -> float | None:
        if trial.workload_name not in data:
            [one] = identified((trial,))
            data[trial.workload_name] = {key: one.sources[key] for key in one.sources.keys() - trial.sources}
        stored_as = trial.model_copy(update={"sources": {**trial.sources, **data[trial.workload_name]}})
        assert loaded.suite.tuning is not None
        selection = Selection.of(suite, loaded.suite.tuning, trial.workload)
        return selection.score(logs.get(stored_as.config_id), trial.rung)

    return score


def with_plan(suite: SuiteResults, loaded: Loaded, planned: Sequence[Trial]) -> SuiteResults:
    """Return the results with the plan of the suite as it is written now."""
    metrics = metric_facts(loaded.suite, loaded.folder)
    return replace(suite, plan=make_plan(loaded.name, loaded.suite, planned, metrics=metrics))
