"""Suites to jobs: checked, planned, and compared with the stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.errors import OptbenchError, Problem, nearest
from optbench.runner.options import RunOptions
from optbench.suite.types import Trial

if TYPE_CHECKING:
    from optbench.store import StoredSuite, SuiteFolder
    from optbench.suite.load import Loaded
    from optbench.suite.plan import Winners


@dataclass(frozen=True)
class Job:
    """One suite, ready to run: all its planned trials, and the requested ones. `stored` reads its folder."""

    loaded: Loaded
    planned: tuple[Trial, ...]
    wanted: tuple[Trial, ...]
    folder: SuiteFolder
    stored: StoredSuite


def check_suites(
    suites: Sequence[str], overrides: Sequence[str], seeds: int | None, data: str | None
) -> list[Loaded]:
    """Load and check suites, those of a folder one by one. Raises one `OptbenchError` with the problems of all of them."""
    from optbench.catalog.check import examine
    from optbench.catalog.data_root import data_root
    from optbench.suite.find import find_all

    problems: list[Problem] = []
    paths: list[Path] = []
    for suite in suites:
        try:
            paths += find_all(suite)[1]
        except OptbenchError as error:
            problems += error.problems
    loaded = []
    for path in paths:
        try:
            one, found = examine(path, overrides, seeds, data_root(data))
        except OptbenchError as error:
            one, found = None, list(error.problems)
        problems += found
        loaded += [one] if one else []
    if problems:
        raise OptbenchError(*problems)
    return loaded


def create_job(loaded: Loaded, options: RunOptions, stored: StoredSuite | None = None) -> Job:
    """Plan the suite. `stored` is the reader of an earlier job of this suite.

    Raises `OptbenchError` if `options.only` names an entry that the suite does not have.
    """
    from optbench.store import StoredSuite, SuiteFolder

    labels = list(loaded.suite.optimizers)
    unknown = [label for label in options.only if label not in labels]
    if unknown:
        raise OptbenchError(
            *(
                Problem(f"no optimizer '{label}' in {loaded.path}; {nearest(label, labels)}", where="--only")
                for label in unknown
            )
        )
    folder = SuiteFolder.of(options.results, loaded.name)
    stored = stored or StoredSuite(folder.path)
    planned = _plan(loaded, folder, stored, options.data)
    wanted = tuple(trial for trial in planned if not options.only or trial.label in options.only)
    return Job(loaded, planned, wanted, folder, stored)


def check_distinct_folders(jobs: Sequence[Job]) -> None:
    """Raise `OptbenchError` if two suites would write to the same folder."""
    seen: dict[Path, Path] = {}
    for job in jobs:
        other = seen.setdefault(job.folder.path, job.loaded.path)
        if other != job.loaded.path:
            message = (
                f"has the same name as {other}, so both would write to {job.folder.path}. "
                "Rename one, or run them separately with different --results folders"
            )
            raise OptbenchError(Problem(message, file=str(job.loaded.path)))


def pending_trials(job: Job, message: Callable[[str], None]) -> list[Trial]:
    """Return the trials that are not complete, in running order. `message` reports repaired files."""
    pending = []
    for trial in job.wanted:
        path = job.folder.trial_path(trial)
        there = path.exists()
        begun = job.folder.reopen_trial(trial)
        if begun is None and there:
            message(f"note: {path}: its first line is incomplete: moved to superseded/, the trial restarts")
        if begun is not None:
            with begun as file:
                if file.torn_bytes:
                    message(f"note: {path}: removed {file.torn_bytes} bytes of an incomplete record")
                if file.is_complete:
                    job.folder.checkpoint_path(trial).unlink(missing_ok=True)
                    continue
        pending.append(trial)
    return pending


def metric_directions(loaded: Loaded) -> dict[str, bool]:
    from optbench.catalog.directions import directions

    return directions(loaded.suite, loaded.folder)


def metric_ranges(loaded: Loaded) -> dict[str, tuple[float | None, float | None]]:
    from optbench.catalog.directions import ranges

    return ranges(loaded.suite, loaded.folder)


def _plan(loaded: Loaded, folder: SuiteFolder, stored: StoredSuite, data: str | None) -> tuple[Trial, ...]:
    """Return the suite's trials, including extended grids of stored sweeps whose best point is at an edge."""
    from optbench.catalog.data_root import data_root
    from optbench.catalog.data_sets import identified_by_data
    from optbench.catalog.stackable import why_plain
    from optbench.suite.plan import plan

    def identified(trials: Sequence[Trial]) -> tuple[Trial, ...]:
        return identified_by_data(trials, data_root(data))

    if loaded.suite.tuning is not None and any(folder.trials.glob("*.jsonl")):
        score = _scores(loaded, stored, identified)
        planned = identified(plan(loaded, None, why_plain, score=score))
        winners = _winners(loaded, stored, planned)
        planned = identified(plan(loaded, None, why_plain, winners, score))
    else:
        planned = identified(plan(loaded, None, why_plain))
        winners, score = {}, None
    if not loaded.suite.sensitivity or not any(folder.trials.glob("*.jsonl")):
        return planned
    from optbench.analysis.sensitivity import extension
    from optbench.store import Results, make_plan
    from optbench.suite.sweep import Extensions

    [suite] = stored.read().suites
    extended: Extensions | None = {}
    while extended is not None:
        planned = identified(plan(loaded, extended, why_plain, winners, score))
        known = replace(
            suite,
            plan=make_plan(
                loaded.name,
                loaded.suite,
                planned,
                higher_is_better=metric_directions(loaded),
                metric_ranges=metric_ranges(loaded),
            ),
        )
        extended = extension(Results((known,)), extended)
    return planned


def _scores(
    loaded: Loaded, stored: StoredSuite, identified: Callable[[Sequence[Trial]], tuple[Trial, ...]]
) -> Callable[[Trial], float | None]:
    """Return the function that gives the stored result of a tuning trial to a sampler."""
    from optbench.analysis.tuning import Selection
    from optbench.store import make_plan

    [suite] = stored.read().suites
    suite = replace(
        suite, plan=make_plan(loaded.name, loaded.suite, (), higher_is_better=metric_directions(loaded))
    )
    logs = {log.config_id: log for log in suite.logs if log.trial.get("study") is not None}
    data: dict[str, dict[str, str]] = {}  # what identifies the data, by workload

    def score(trial: Trial) -> float | None:
        if trial.workload_name not in data:
            [one] = identified((trial,))
            data[trial.workload_name] = {key: one.sources[key] for key in one.sources.keys() - trial.sources}
        stored_as = trial.model_copy(update={"sources": {**trial.sources, **data[trial.workload_name]}})
        assert loaded.suite.tuning is not None
        selection = Selection.of(suite, loaded.suite.tuning, trial.workload)
        return selection.score(logs.get(stored_as.config_id))

    return score


def _winners(loaded: Loaded, stored: StoredSuite, planned: Sequence[Trial]) -> Winners:
    """Return the settings selected by the studies that are complete, from the stored records."""
    from optbench.analysis.tuning import winners
    from optbench.store import Results, make_plan

    [suite] = stored.read().suites
    known = make_plan(
        loaded.name,
        loaded.suite,
        planned,
        higher_is_better=metric_directions(loaded),
        metric_ranges=metric_ranges(loaded),
    )
    return winners(Results((replace(suite, plan=known),)))
