"""Check a schedule: its name, its kind, its arguments, and the learning rates of a run without training."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from optbench.catalog import lookup, schedulers, sources
from optbench.catalog.arguments import Finding, TypedPath
from optbench.catalog.check_component import component_findings, message_of
from optbench.errors import OptbenchError
from optbench.suite.types import Schedule

_MOST_STEPS, _MOST_SECONDS = 50_000, 3.0  # that a schedule is run for; longer ones are run up to there
_LISTS = ("base_lr", "max_lr", "min_lr", "eta_min", "base_momentum", "max_momentum")  # one value per group


@dataclass(frozen=True)
class Conditions:
    """Length and optimizer of a schedule in one entry and workload. `steps` is None if it is not known before the run."""

    steps: int | None
    steps_per_epoch: int
    defaults: tuple[str, ...]
    """Names of the optimizer's arguments: some schedulers need `momentum` or `betas`."""


def schedule_findings(schedule: Schedule, folder: Path, path: TypedPath) -> Iterator[Finding]:
    """Yield an unknown name, an object that is not a schedule, or invalid arguments."""
    try:
        target = lookup.resolve("schedules", schedule.name, folder)
        if target.kind != "catalog":
            schedulers.kind_of(lookup.load(target), schedule.name)
    except OptbenchError as error:
        yield from (((*path, "name"), message_of(problem)) for problem in error.problems)
        return
    yield from component_findings("schedules", schedule, folder, path)


def run_findings(
    schedule: Schedule, folder: Path, path: TypedPath, conditions: Conditions
) -> Iterator[Finding]:
    """Run a schedule that is not from the catalog over the horizon and yield its errors.

    Requires a schedule without other findings.
    """
    target = lookup.resolve("schedules", schedule.name, folder)
    if target.kind == "catalog":
        return
    changed = sources.changed(target.file)
    if message := _run_error(target, schedule.model_dump_json(), conditions, changed):
        yield path, message


@lru_cache(maxsize=256)
def _run_error(target: lookup.Target, schedule: str, conditions: Conditions, changed: int) -> str:
    """Return the error of a run, "" if none. Cached: many entries and combinations of axes may share a schedule."""
    try:
        _run(lookup.load(target), Schedule.model_validate_json(schedule), conditions)
    except OptbenchError as error:
        return "; ".join(message_of(problem) for problem in error.problems)
    return ""


def _run(item: Any, schedule: Schedule, conditions: Conditions) -> None:
    steps, epoch = conditions.steps, conditions.steps_per_epoch
    if schedulers.kind_of(item, schedule.name) == "multiplier":
        function = getattr(item, "multiplier", item)
        stride = epoch if schedule.per == "epoch" else 1
        for step in _within_time_limit(range(0, steps or 1, stride)):
            _check_multiplier(function, schedule, step, steps or 1)
        return
    turns = None if steps is None else steps if schedule.per == "step" else -(-steps // epoch)
    optimizer = _dummy_optimizer(schedule.arguments, conditions.defaults)
    made: Any = schedulers.build(item, schedule.name, schedule.arguments, optimizer, turns, schedule.per)
    if schedulers.watches_loss(made):
        return
    for turn in _within_time_limit(range(turns or 1)):
        _check_rates(schedule.name, [group["lr"] for group in optimizer.param_groups], turn)
        optimizer.step()
        if turn + 1 < (turns or 1):
            try:
                made.step()
            except Exception as error:  # user code of a scheduler may raise any exception
                raise OptbenchError(
                    f"schedule {schedule.name}, step {turn + 1}: {_error_text(error)}"
                ) from error


def _within_time_limit(steps: range) -> Iterator[int]:
    end = time.monotonic() + _MOST_SECONDS
    yield from (step for step in steps[:_MOST_STEPS] if time.monotonic() < end)


def _check_multiplier(function: Any, schedule: Schedule, step: int, steps: int) -> None:
    try:
        observed: dict[str, Any] = {"observed": []} if "observed" in schedulers.parameters(function) else {}
        value = function(step, steps, **{**schedule.arguments, **observed})
    except Exception as error:  # user code of a schedule may raise any exception
        raise OptbenchError(
            f"schedule {schedule.name}, step {step} of {steps}: {_error_text(error)}"
        ) from error
    _check_rates(schedule.name, [value], step)


def _check_rates(name: str, rates: list[Any], step: int) -> None:
    for rate in rates:
        try:
            number = float(rate)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or number < -1e-12:  # rounding may leave a rate just below 0
            raise OptbenchError(
                f"schedule {name}, step {step}: expected a finite number of at least 0; found {rate!r}"
            )


def _dummy_optimizer(arguments: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return an optimizer without effect, with as many parameter groups as the lists in the arguments have items."""
    import torch

    class StandIn(torch.optim.Optimizer):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            """Do nothing; schedulers warn unless it is called before them."""

    lists = [len(value) for key, value in arguments.items() if key in _LISTS and isinstance(value, list)]
    groups = [{"params": [torch.zeros(1, requires_grad=True)]} for _ in range(max(lists, default=1))]
    values = {"momentum": 0.9, "betas": (0.9, 0.999)}
    return StandIn(groups, {"lr": 1.0} | {name: values[name] for name in values if name in names})


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
