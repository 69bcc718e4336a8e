"""Differences between the setting of a source and a workload: a workload that differs is a proxy and cannot test the numbers."""

from __future__ import annotations

from typing import Any

from optbench.analysis.lengths import same_length
from optbench.analysis.rows import TableRow, batch_size
from optbench.analysis.verdicts import Verdict
from optbench.suite.published import Scope


def elsewhere(scope: Scope, row: TableRow, column: str) -> str:
    """Return in which settings the source differs from this workload; empty if in none. State bytes depend on the model only."""
    workload = row.trial.workload
    here: list[tuple[Any, Any]] = [(scope.model, workload.model.name)]
    if column != "memory_overhead":
        here.append((scope.data, workload.data.name))
        if scope.budget is not None and not same_length(scope.budget, workload.budget, row.steps_per_epoch):
            here.append((str(scope.budget), str(workload.budget)))
        size = None if scope.batch_size is None else f"batch size {scope.batch_size}"
        here.append((size, f"batch size {batch_size(row)}"))
    if column == "seconds_to_target":
        devices = {log.started.environment.get("device_name") for log in row.logs if log.started is not None}
        hardware = scope.hardware or "unspecified hardware"
        here.append((hardware, ", ".join(sorted(filter(None, devices))) or "other hardware"))
    unlike = [(there, found) for there, found in here if there is not None and there != found]
    if not unlike:
        return ""
    theirs, ours = (", ".join(str(pair[index]) for pair in unlike) for index in (0, 1))
    return f"{theirs}; this workload uses {ours}"


def scope_text(scope: Scope) -> str:
    parts = [scope.model, scope.data, f"batch size {scope.batch_size}" if scope.batch_size else None]
    parts += [str(scope.budget) if scope.budget else None, scope.hardware]
    return ", ".join(part for part in parts if part)


def on_proxy(verdict: Verdict, there: str) -> Verdict:
    """Return a verdict with the setting of the source, as returned by `elsewhere`, in its reason."""
    if not there or verdict.word in ("not tested here", "not testable as stated"):
        return verdict
    here = f"valid for this workload only: the source measured {there}"
    return Verdict(verdict.word, f"{verdict.reason}; {here}" if verdict.reason else here)
