"""Check a suite before anything runs, without importing torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from optbench.catalog.arguments import Finding, TypedPath
from optbench.catalog.check_component import component_findings
from optbench.catalog.check_entries import entry_findings
from optbench.catalog.check_questions import question_findings, statement_findings, tuning_findings
from optbench.catalog.check_schedule import schedule_findings
from optbench.catalog.check_workload import (
    data_findings,
    device_findings,
    metric_findings,
    model_findings,
    size_findings,
    task_findings,
)
from optbench.catalog.model_builds import ModelBuilds
from optbench.catalog.task_defaults import complete
from optbench.catalog.types import DataInfo
from optbench.errors import Problem, nearest
from optbench.suite import load
from optbench.suite.load import Loaded
from optbench.suite.plan import representatives
from optbench.suite.yaml_source import Source


def examine(
    path: Path,
    overrides: Sequence[str],
    seeds: int | None,
    data_root: Path,
    source: Source | None = None,
    builds: ModelBuilds | None = None,
) -> tuple[Loaded | None, list[Problem]]:
    """Load a suite and check it. Return it with all problems of syntax and content, by line.

    A suite with problems must not be run. `source` replaces the content of the file; `builds` is shared by several suites. Raises
    `OptbenchError` only if nothing can be read.
    """
    examined = load.examine(path, overrides, seeds, source, complete)
    found = list(examined.problems)
    if examined.loaded is not None:
        for problem in problems(examined.loaded, data_root, builds):
            of_stand_in = examined.has_substitute_workload and problem.where.startswith("workload")
            if not of_stand_in and not any(problem.where == known.where for known in found):
                found.append(problem)
    return examined.loaded, load.sorted_by_line(found)


def problems(
    loaded: Loaded, data_root: Path, builds: ModelBuilds | None = None, *, build_models: bool = False
) -> list[Problem]:
    """Return all problems in the order of the file; empty if the suite can run.

    Data sets are described, not read. Models are built (without memory, in a process with torch) only if their source is not
    sufficient, or all of them with `build_models`.
    """
    with ModelBuilds() if builds is None else nullcontext(builds) as opened:
        found = [
            problem
            for cell in loaded.cells
            for problem in _problems(cell.loaded, data_root, opened, build_models=build_models)
        ]
    found += [loaded.problem_at(path, message) for path, message in statement_findings(loaded)]
    return load.sorted_by_line(list(dict.fromkeys(found)))


def _problems(loaded: Loaded, data_root: Path, builds: ModelBuilds, *, build_models: bool) -> list[Problem]:
    """Return the problems of one combination of the suite's axes."""
    written, variants = loaded.suite, representatives(loaded)
    found: list[Finding] = []
    if written.tuning is not None or loaded.source.data.get("tuning") is None:  # else its problems are known
        found += tuning_findings(written)
    ends = representatives(loaded, (0.0, 1.0)) if written.tuning is not None else ()
    loaded = variants[0]
    suite, folder = loaded.suite, loaded.folder
    infos: dict[str, DataInfo | None] = {}
    for name, workload in suite.workloads.items():
        path: TypedPath = ("workloads", name)
        wrong, infos[name] = data_findings(workload.data, folder, data_root, (*path, "data"))
        found += wrong
        found += model_findings(
            workload.model, folder, (*path, "model"), infos[name], builds, build=build_models
        )
        found += component_findings("losses", workload.loss, folder, (*path, "loss"))
        if workload.init is not None:
            found += component_findings("initialisations", workload.init, folder, (*path, "init"))
        found += metric_findings(workload, folder, path, infos[name])
        found += size_findings(workload, path, infos[name])
        found += task_findings(workload, folder, path, infos[name])
        found += device_findings(suite, workload, folder, path, infos[name])
    found += schedule_findings(suite.schedule, folder, ("schedule",))
    found += component_findings("initialisations", suite.init, folder, ("init",))
    if suite.baseline is not None and suite.baseline not in suite.optimizers:
        found.append(
            (("baseline",), f"no entry '{suite.baseline}'; {nearest(suite.baseline, suite.optimizers)}")
        )
    for label, entry in suite.optimizers.items():
        if entry.family is not None and entry.family not in suite.families:
            message = f"no family '{entry.family}'; {nearest(entry.family, suite.families)}"
            found.append((("optimizers", label, "family"), message))
    of_entries: dict[TypedPath, str] = {}  # one problem per place
    for variant in (*ends, *variants):
        for label in suite.optimizers:
            for path, message in entry_findings(variant.suite, label, folder, infos):
                of_entries.setdefault(path, message)
    found += of_entries.items()
    found += question_findings(suite, folder)
    return [loaded.problem_at(path, message) for path, message in dict.fromkeys(found)]
