"""Targets as flags: `accuracy>=0.97`, `test.loss<=0.2`, `cifar10:accuracy>=0.9`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from optbench.errors import OptbenchError, Problem, nearest
from optbench.suite.types import Target

_FORM = re.compile(
    r"(?:(?P<workload>[^<>=]+):)?(?:(?P<split>validation|test)[./])?(?P<metric>[^<>=:]+)(?P<sign>>=|<=)(?P<value>[^<>=]+)"
)


@dataclass(frozen=True)
class RequestedTarget:
    """A target of one workload, or of all if `workload` is empty."""

    workload: str
    target: Target


def parse_target(text: str) -> RequestedTarget:
    """Parse a target. Raises `OptbenchError` for invalid text."""
    match = _FORM.fullmatch(text.replace(" ", ""))
    try:
        value = float(match["value"]) if match else math.nan
    except ValueError:
        value = math.nan
    if match is None or not math.isfinite(value):
        message = f"expected METRIC>=VALUE or METRIC<=VALUE, as in 'accuracy>=0.97'; found '{text}'"
        raise OptbenchError(message, where="--target")
    content = {"metric": match["metric"], "split": match["split"] or "validation"}
    bound = {"at_least" if match["sign"] == ">=" else "at_most": value}
    return RequestedTarget(match["workload"] or "", Target.model_validate(content | bound))


def of_workload(requested: Sequence[RequestedTarget], name: str) -> tuple[Target, ...]:
    return tuple(each.target for each in requested if each.workload in ("", name))


def check_targets(
    requested: Sequence[RequestedTarget], workloads: Sequence[str], metrics: Sequence[tuple[str, str]]
) -> None:
    """Raise `OptbenchError` for workloads or metrics that the log does not contain."""
    problems = []
    for each in requested:
        if each.workload and each.workload not in workloads:
            message = f"no workload '{each.workload}': {nearest(each.workload, workloads)}"
            problems.append(Problem(message, where="--target"))
        wanted = (each.target.split, each.target.metric)
        if wanted not in metrics:
            known = [f"{split}.{metric}" for split, metric in metrics]
            message = f"the log does not contain {'.'.join(wanted)}: {nearest('.'.join(wanted), known)}"
            problems.append(Problem(message, where="--target"))
    if problems:
        raise OptbenchError(*problems)
