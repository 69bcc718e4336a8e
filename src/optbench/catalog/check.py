"""Everything that can be known to be wrong with a suite before anything runs; torch is not imported for it."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog.arguments import Finding, TypedPath
from optbench.catalog.check_component import component_findings
from optbench.catalog.check_entries import entry_findings
from optbench.catalog.check_workload import data_findings, metric_findings, model_findings, size_findings
from optbench.catalog.types import DataInfo
from optbench.errors import Problem, nearest
from optbench.suite.load import Loaded, sorted_by_line


def problems(loaded: Loaded, data_root: Path, *, build_models: bool = False) -> list[Problem]:
    """All problems in the file's order; empty if the suite can run.

    Data sets are described, not read. Models are built (without memory, on torch's meta device) only where their
    source doesn't say enough, or all of them with `build_models`, which imports torch.
    """
    suite, folder = loaded.suite, loaded.folder
    found: list[Finding] = []
    infos: dict[str, DataInfo | None] = {}
    for name, workload in suite.workloads.items():
        path: TypedPath = ("workloads", name)
        wrong, infos[name] = data_findings(workload.data, folder, data_root, (*path, "data"))
        found += wrong
        found += model_findings(workload.model, folder, (*path, "model"), infos[name], build=build_models)
        found += component_findings("losses", workload.loss, folder, (*path, "loss"))
        found += metric_findings(workload, folder, path)
        found += size_findings(workload, path, infos[name])
    found += component_findings("schedules", suite.schedule, folder, ("schedule",))
    if suite.baseline is not None and suite.baseline not in suite.optimizers:
        found.append(
            (("baseline",), f"no entry '{suite.baseline}'; {nearest(suite.baseline, suite.optimizers)}")
        )
    for label in suite.optimizers:
        found += entry_findings(suite, label, folder, infos)
    return sorted_by_line([loaded.problem_at(path, message) for path, message in dict.fromkeys(found)])
