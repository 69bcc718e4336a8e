"""Write the runs that were read into a suite's folder in the store."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from optbench.errors import OptbenchError
from optbench.events import Event
from optbench.store import SuiteFolder, make_plan
from optbench.store.archive import has_records
from optbench.store.files import sync_all
from optbench.suite.metric_facts import MetricFacts
from optbench.suite.types import Component, Duration, Optimizer, Rule, Suite, Target, Trial, Workload


@dataclass(frozen=True)
class Run:
    """One run. `arguments` distinguish runs of one label that must not share a row."""

    workload: str
    label: str
    seed: int
    events: list[Event]
    arguments: dict[str, str]


@dataclass(frozen=True)
class ForeignWorkload:
    """Settings that the runs of a workload share, as far as the log contains them."""

    budget: Duration
    targets: tuple[Target, ...]
    metrics: tuple[str, ...]  # the first is the final metric
    final: str  # estimand of the final metric


@dataclass(frozen=True)
class Source:
    """Origin of the runs. `provenance` is stored in the plan."""

    name: str  # of the suite in the store
    title: str
    command: str
    baseline: str
    provenance: dict[str, Any]
    metrics: dict[str, MetricFacts]


@dataclass(frozen=True)
class Written:
    """Numbers of trial files that were new, unchanged, replaced, or moved to `superseded/`."""

    folder: Path
    new: int
    same: int
    replaced: int
    set_aside: int


def command_text(words: Sequence[str], results: Path, name: str) -> str:
    """Return the command that repeats an import of the kind, paths and options `words`."""
    folder = [] if results == Path("results") else ["--results", str(results)]
    return shlex.join(["optbench", "import", *words, *folder, "--name", name])


def write(
    results: Path, source: Source, workloads: dict[str, ForeignWorkload], runs: Sequence[Run]
) -> Written:
    """Store the runs, in the order of `workloads` and `runs`. A second call changes nothing.

    Runs of an earlier import of the same name that are not in this one are moved to `superseded/`. Raises `OptbenchError`
    if the folder contains results that optbench measured itself, or if a name is invalid.
    """
    folder = SuiteFolder.of(results, source.name)
    folder.create()
    with folder.lock():
        _only_imported(folder)
        folder.unpack()
        suite = _suite(source, workloads, runs)
        trials = _trials(source, suite, runs)
        plan = make_plan(source.name, suite, trials, source.command, source.provenance, source.metrics)
        finals = {name: workload.final for name, workload in workloads.items()}
        plan.resolved["final"] = next(iter(finals.values()))
        if len(set(finals.values())) > 1:
            plan.resolved["finals"] = finals
        folder.write_plan(plan)
        outcomes = [folder.write_trial(trial, run.events) for trial, run in zip(trials, runs, strict=True)]
        known = {folder.trial_path(trial) for trial in trials}
        stale = [path for path in sorted(folder.trials.glob("*.jsonl")) if path not in known]
        for path in stale:
            folder.set_file_aside(path)
        sync_all()
    count = outcomes.count
    return Written(folder.path, count("new"), count("same"), count("replaced"), len(stale))


def _only_imported(folder: SuiteFolder) -> None:
    plan = folder.read_plan()
    measured = "imported" not in plan.provenance if plan is not None else has_records(folder.path)
    if measured:
        message = "contains results measured by optbench: use another --name, or another --results"
        raise OptbenchError(message, file=str(folder.path))


def _suite(source: Source, workloads: dict[str, ForeignWorkload], runs: Sequence[Run]) -> Suite:
    entries: dict[str, Optimizer] = {}
    try:
        for run in runs:
            if run.label not in entries:
                entries[run.label] = _entry(run)
        return Suite(
            title=source.title,
            workloads={name: _workload(name, workload) for name, workload in workloads.items()},
            optimizers=entries,
            seeds=tuple(sorted({run.seed for run in runs})),
            baseline=source.baseline,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise OptbenchError(first["msg"], where=".".join(map(str, first["loc"]))) from error


def _workload(name: str, workload: ForeignWorkload) -> Workload:
    """Return the workload. Logs name neither model nor data: the workload's name stands for both. A batch is one sample."""
    component = Component(name=name)
    return Workload(
        model=component,
        data=component,
        batch_size=1,
        budget=workload.budget,
        target=workload.targets,
        metrics=workload.metrics,
    )


def _entry(run: Run) -> Optimizer:
    return Optimizer(rules=(Rule(use=run.label, arguments=dict(run.arguments)),))


def _trials(source: Source, suite: Suite, runs: Sequence[Run]) -> list[Trial]:
    first: dict[tuple[str, str, tuple[tuple[str, str], ...]], Trial] = {}
    trials = []
    for run in runs:
        key = run.workload, run.label, tuple(sorted(run.arguments.items()))
        if key not in first:
            first[key] = Trial(
                suite=source.name,
                workload_name=run.workload,
                workload=suite.workloads[run.workload],
                label=run.label,
                entry=_entry(run),
                seed=run.seed,
            )
        trial = first[key].model_copy(update={"seed": run.seed})
        trial.__dict__["config_id"] = first[key].config_id  # hashed once for all seeds of the row
        trials.append(trial)
    return trials
