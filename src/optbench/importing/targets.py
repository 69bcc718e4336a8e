"""The targets file of an AlgoPerf benchmark version: targets by workload, and which workloads are scored."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, Problem, nearest
from optbench.suite.metric_facts import direction_by_name
from optbench.suite.types import Duration, Target


@dataclass(frozen=True)
class Targets:
    """`targets` has every workload of the file; only `base` and `held_out` (variant -> its base) are scored."""

    version: str
    base: tuple[str, ...]
    held_out: dict[str, str]
    targets: dict[str, Target]
    budgets: dict[
        str, Duration
    ]  # of a run: its longest training time, else the step hint, where the file states them
    content: dict[str, Any]  # the file

    @property
    def scored(self) -> tuple[str, ...]:
        return *self.base, *self.held_out


def read_targets(path: Path) -> Targets:
    """Read `workload_targets.json`. Raises `OptbenchError` with all its errors."""
    content = _json(path)
    problems: list[Problem] = []

    def add_problem(where: str, message: str) -> None:
        problems.append(Problem(message, where=where, file=str(path)))

    workloads = content.get("workloads")
    if not isinstance(workloads, dict) or not workloads:
        raise OptbenchError(
            "expected a mapping of workloads to their targets", where="workloads", file=str(path)
        )
    targets: dict[str, Target] = {}
    for name, spec in workloads.items():
        try:
            targets[name] = _target(spec)
        except ValueError as error:
            add_problem(f"workloads.{name}", str(error))
    base = _names(content, "base_workloads", workloads, add_problem)
    held_out = {}
    for variant in _names(content, "held_out_workloads", workloads, add_problem):
        of = base_of(variant, base)
        if of is None:
            add_problem("held_out_workloads", f"'{variant}' is not a variant of any base workload")
        else:
            held_out[variant] = of
    if not base and not problems:
        add_problem("base_workloads", "expected at least one workload")
    if problems:
        raise OptbenchError(*problems)
    budgets = {name: budget for name, spec in workloads.items() if (budget := _budget(spec)) is not None}
    version = str(content.get("benchmark_version", ""))
    return Targets(version, base, held_out, targets, budgets, content)


def base_of(variant: str, base: tuple[str, ...]) -> str | None:
    """Return the base workload with the longest name that the variant's name starts with; None if there is none."""
    fitting = [name for name in base if variant.startswith(f"{name}_")]
    return max(fitting, key=len, default=None)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise OptbenchError(f"cannot read: {error.strerror}", file=str(path)) from error
    except json.JSONDecodeError as error:
        raise OptbenchError(
            f"no JSON: {error.msg}", file=str(path), line=error.lineno, column=error.colno
        ) from error
    except ValueError as error:
        raise OptbenchError(f"no JSON: {error}", file=str(path)) from error
    if not isinstance(content, dict):
        raise OptbenchError(
            "expected a mapping with 'base_workloads' and 'workloads'", file=str(path), line=1
        )
    return content


def _target(spec: Any) -> Target:
    if not isinstance(spec, dict):
        raise ValueError("expected a mapping with 'target_metric_name' and 'validation_target_value'")
    metric, value = spec.get("target_metric_name"), spec.get("validation_target_value")
    if not isinstance(metric, str) or not metric:
        raise ValueError("expected a 'target_metric_name'")
    metric = metric.removeprefix("validation/")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"expected a number as 'validation_target_value'; found {value!r}")
    if _is_minimized(metric, spec.get("target_metric_goal")):
        return Target(metric=metric, at_most=value)
    return Target(metric=metric, at_least=value)


def _budget(spec: dict[str, Any]) -> Duration | None:
    for key, unit in (("max_allowed_runtime_sec", "seconds"), ("step_hint", "steps")):
        value = spec.get(key)
        if (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
            and 0 < value == int(value)
        ):
            return Duration.model_validate({"value": value, "unit": unit})
    return None


def _is_minimized(metric: str, goal: Any) -> bool:
    if goal is not None:
        if goal not in ("minimize", "maximize"):
            raise ValueError(f"expected 'minimize' or 'maximize' as 'target_metric_goal'; found {goal!r}")
        return bool(goal == "minimize")
    higher = direction_by_name(metric)  # files of version 0.6, as first published, state no goal
    if higher is not None:
        return not higher
    raise ValueError(
        f"unknown whether lower or higher '{metric}' is better: add 'target_metric_goal' ('minimize' or 'maximize')"
    )


def _names(content: dict[str, Any], key: str, workloads: dict[str, Any], add_problem: Any) -> tuple[str, ...]:
    names = content.get(key, [] if key == "held_out_workloads" else None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        add_problem(key, "expected a list of workload names")
        return ()
    for name in names:
        if name not in workloads:
            add_problem(key, f"'{name}' has no target in 'workloads': {nearest(name, workloads)}")
    return tuple(dict.fromkeys(name for name in names if name in workloads))
