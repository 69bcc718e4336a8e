"""Suites that a command line names -> jobs: checked, planned, and compared with what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.cli.options import MOST_RERUNS
from optbench.cli.signals import say
from optbench.errors import OptbenchError, Problem, nearest
from optbench.suite.types import Trial

if TYPE_CHECKING:
    from optbench.store import SuiteFolder
    from optbench.suite.load import Loaded


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    seeds: int | None = None
    results: Path = Path("results")
    device: str = "auto"
    threads: int | None = None
    data: str | None = None
    fresh: bool = False
    allow_mixed: bool = False
    json: bool = False
    stall_seconds: float = 1800.0
    jobs: int | None = None  # trials of a sweep at once
    reruns: int = MOST_RERUNS  # of a timed trial that other work disturbed, at most


@dataclass(frozen=True)
class Job:
    """One suite, ready to run: all its trials, and those asked for."""

    loaded: Loaded
    planned: tuple[Trial, ...]
    wanted: tuple[Trial, ...]
    folder: SuiteFolder


def checked(
    suites: Sequence[str], overrides: Sequence[str], seeds: int | None, data: str | None
) -> list[Loaded]:
    """Load and check suites, all problems of all of them at once."""
    from optbench.catalog.check import examine
    from optbench.catalog.data_root import data_root
    from optbench.suite.find import find

    found: list[Problem] = []
    loaded = []
    for suite in suites:
        try:
            one, problems = examine(find(suite), overrides, seeds, data_root(data))
        except OptbenchError as error:
            one, problems = None, list(error.problems)
        found += problems
        loaded += [one] if one else []
    if found:
        raise OptbenchError(*found)
    return loaded


def job_of(loaded: Loaded, options: Options) -> Job:
    from optbench.store import SuiteFolder

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
    planned = _planned(loaded, folder, options.data)
    wanted = tuple(trial for trial in planned if not options.only or trial.label in options.only)
    return Job(loaded, planned, wanted, folder)


def no_two_in_one_folder(jobs: Sequence[Job]) -> None:
    seen: dict[Path, Path] = {}
    for job in jobs:
        other = seen.setdefault(job.folder.path, job.loaded.path)
        if other != job.loaded.path:
            message = f"has the same name as {other}, so both would write to {job.folder.path}; rename one or run them apart"
            raise OptbenchError(Problem(message, file=str(job.loaded.path)))


def pending_of(job: Job) -> list[Trial]:
    """The trials that are not complete, in running order."""
    pending = []
    for trial in job.wanted:
        path = job.folder.trial_path(trial)
        there = path.exists()
        begun = job.folder.reopen_trial(trial)
        if begun is None and there:
            say(f"note: {path}: cut off in its first line, so set aside; its trial starts anew")
        if begun is not None:
            with begun as file:
                if file.torn_bytes:
                    say(f"note: {path}: cut off {file.torn_bytes} bytes of a record that was never finished")
                if file.is_complete:
                    job.folder.checkpoint_path(trial).unlink(missing_ok=True)
                    continue
        pending.append(trial)
    return pending


def directions_of(loaded: Loaded) -> dict[str, bool]:
    from optbench.catalog.directions import directions

    return directions(loaded.suite, loaded.folder)


def _planned(loaded: Loaded, folder: SuiteFolder, data: str | None) -> tuple[Trial, ...]:
    """The suite's trials; with the wider grids that stored sweeps ask for, whose optimum lies at the edge."""
    from optbench.catalog.data_root import data_root
    from optbench.catalog.data_sets import identified_by_data
    from optbench.catalog.stackable import why_plain
    from optbench.suite.plan import plan

    def identified(trials: Sequence[Trial]) -> tuple[Trial, ...]:
        return identified_by_data(trials, data_root(data))

    planned = identified(plan(loaded, None, why_plain))
    if not loaded.suite.sensitivity or not any(folder.trials.glob("*.jsonl")):
        return planned
    from optbench.analysis.sensitivity import extension
    from optbench.store import Results, make_plan, read
    from optbench.suite.sweep import Extensions

    [stored] = read([folder.path]).suites
    extended: Extensions | None = {}
    while extended is not None:
        planned = identified(plan(loaded, extended, why_plain))
        known = replace(
            stored, plan=make_plan(loaded.name, loaded.suite, planned, higher_is_better=directions_of(loaded))
        )
        extended = extension(Results((known,)), extended)
    return planned
