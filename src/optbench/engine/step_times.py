"""Time `step()` of several optimizers and implementations on one model's parameters, compared with plain passes over memory.

All contestants take one turn per round, in alternating order, so that drift of the machine affects all equally. They share parameters
and gradients (random and constant); each has its own state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optbench.catalog.types import DataInfo
from optbench.engine import optimizers
from optbench.engine.allocator import keep_freed_memory
from optbench.engine.clock import Stopwatch, synchronise
from optbench.engine.compile_warmup import compile_members, keep_compiled
from optbench.engine.devices import select_device
from optbench.engine.environment import environment
from optbench.engine.memory import free_bytes, is_out_of_memory, peak_of
from optbench.engine.models import build_model
from optbench.engine.optimizers import OptimizerFault, Optimizers
from optbench.engine.sparse_gradients import sparsify_gradients
from optbench.engine.state_memory import state_memory
from optbench.errors import OptbenchError, describe_error
from optbench.step_time_results import StepTime, StepTimes
from optbench.suite.types import Trial

IMPLEMENTATIONS = ("forloop", "foreach", "fused", "compiled")
TURN_SECONDS = 0.04  # minimum duration of one turn
HORIZON = 1000  # passed to optimizers with an argument for the number of steps
OnProgress = Callable[[str, int, int], None]  # current activity, completed units, total units


@dataclass
class _Contestant:
    row: StepTime
    step: Callable[[], Any]
    steps_per_turn: int = 1
    times: list[float] = field(default_factory=list)

    def time(self, device: torch.device) -> None:
        """Measure one turn. If a step raises, this contestant is not measured further."""
        if self.row.problem:
            return
        try:
            self.times.append(1e3 * _seconds(self.step, self.steps_per_turn, device) / self.steps_per_turn)
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        if isinstance(error, OptimizerFault):
            error = error.__cause__ or error
        self.row = StepTime(self.row.label, self.row.implementation, problem=describe_error(error))


def set_up(device: str, threads: int | None, data_root: Path) -> torch.device:
    """Apply the number of threads, the memory allocator (unless OPTBENCH_ALLOCATOR is `default`) and the cache of compiled code.

    Return the device. Raises `OptbenchError` if it is not available.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    picked = select_device(device)
    if os.environ.get("OPTBENCH_ALLOCATOR") != "default":
        keep_freed_memory(picked.type)
    keep_compiled(data_root)
    return picked


def step_times(
    trials: Sequence[Trial],
    implementations: Sequence[str],
    info: DataInfo,
    device: torch.device,
    rounds: int,
    on_progress: OnProgress = lambda *_: None,
) -> StepTimes:
    """Return one row per trial and implementation, in that order. A row has a `problem` if the class lacks the implementation or its
    steps raise.

    Raises `OptbenchError` if the model can't be built or the machine has too little memory for all contestants at once.
    """
    first = trials[0]
    model = build_model(first.workload.model, info, first.folder).to(device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise OptbenchError(f"model {first.workload.model.name} has no trainable parameters")
    size = sum(p.numel() * p.element_size() for p in parameters)
    _check_memory(size, len(trials) * len(implementations), device)
    generator = torch.Generator().manual_seed(0)
    for parameter in parameters:
        parameter.grad = (torch.rand(parameter.shape, generator=generator) * 2e-3 - 1e-3).to(parameter)
    sparsify_gradients(model, first.samples_per_step(size))
    prepared: list[StepTime | _Contestant] = []
    for number, (trial, name) in enumerate((t, name) for t in trials for name in implementations):
        on_progress(f"preparing {trial.label}, {name}", number, len(trials) * len(implementations))
        prepared.append(_prepare(trial, name, model, parameters, size, device))
    running = [each for each in prepared if isinstance(each, _Contestant)]
    passes = _passes({each.row.moved_bytes or 0 for each in running}, device)
    for each in (*running, *passes.values()):
        _set_steps_per_turn(each, device)
    contestants = [*passes.values(), *running]
    for number in range(rounds):
        on_progress(f"round {number + 1} of {rounds}", number, rounds)
        for each in contestants[:: 1 if number % 2 == 0 else -1]:
            each.time(device)
    rows = tuple(dict.fromkeys(_row(each, passes, device) for each in prepared))
    facts = environment(device, first.folder)
    return StepTimes(
        first.workload.model.name,
        sum(p.numel() for p in parameters),
        len(parameters),
        size,
        facts["device_name"],
        torch.get_num_threads() if device.type == "cpu" else None,
        rounds,
        rows,
    )


def _prepare(
    trial: Trial, name: str, model: nn.Module, parameters: list[nn.Parameter], size: int, device: torch.device
) -> StepTime | _Contestant:
    try:
        built = optimizers.build(trial.model_copy(update={"implementation": name}), model, HORIZON)
        if built.needs_closure:
            return StepTime(
                trial.label, "own", problem="its step calls a closure, so it can't be timed without the loss"
            )
        if built.protocol.create_graph:
            return StepTime(
                trial.label,
                "own",
                problem="its step uses the graph of the gradients, which do not exist here",
            )
        built.train()
        watch = Stopwatch()
        if name == "compiled":
            with watch:
                compile_members(built)
        used = built.implementations()[0][0]
        if used.name != name and not (used.name == "own" and name == "forloop"):
            default = "it has its own step only" if used.name == "own" else f"it uses {used.name} instead"
            return StepTime(trial.label, name, problem=used.note or default)
        for _ in range(3):  # the state is created at the first step, in some optimizers later
            built.step()
    except OptimizerFault as fault:
        return StepTime(trial.label, name, problem=describe_error(fault.__cause__ or fault))
    except OptbenchError as error:
        return StepTime(trial.label, name, problem=str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return StepTime(trial.label, name, problem="out of memory")
    state = state_memory(built.members, parameters, model)
    row = StepTime(
        trial.label,
        used.name,
        state_bytes=state.bytes,
        moved_bytes=size + 2 * (size + (state.bytes or 0)),
        compile_seconds=watch.seconds or None,
    )
    return _Contestant(row, _step_of(built))


def _step_of(built: Optimizers) -> Callable[[], Any]:
    """Return the step that a training loop would call, without optbench's wrapper if there is one optimizer."""
    return built.members[0].step if len(built.members) == 1 else built.step


def _passes(sizes: set[int], device: torch.device) -> dict[int, _Contestant]:
    """Return, per number of bytes moved, an in-place negation of half as many bytes: read and written, as in an update.

    A copy would not be a lower bound, since a processor also reads the memory that it overwrites.
    """
    numbers = torch.ones(max(sizes, default=0) // 8 + 1, device=device)

    def negation(size: int) -> Callable[[], Tensor]:
        part = numbers[: size // 8]
        return lambda: part.neg_()

    return {size: _Contestant(StepTime("pass", "pass"), negation(size)) for size in sizes}


def _set_steps_per_turn(each: _Contestant, device: torch.device) -> None:
    """Set the number of steps per turn, so that a turn takes at least `TURN_SECONDS`."""
    try:
        _seconds(each.step, 2, device)
        step_seconds = _seconds(each.step, 3, device) / 3
    except Exception as error:
        each.fail(error)
    else:
        each.steps_per_turn = max(2, round(TURN_SECONDS / max(step_seconds, 1e-7)))


def _seconds(step: Callable[[], Any], times: int, device: torch.device) -> float:
    watch = Stopwatch()
    synchronise(device)
    with watch:
        for _ in range(times):
            step()
        synchronise(device)
    return watch.seconds


def _row(each: StepTime | _Contestant, passes: dict[int, _Contestant], device: torch.device) -> StepTime:
    if isinstance(each, StepTime):
        return each
    if each.row.problem:
        return each.row
    return replace(
        each.row,
        milliseconds=tuple(each.times),
        pass_milliseconds=tuple(passes[each.row.moved_bytes or 0].times),
        step_peak_bytes=peak_of(each.step, device, rehearsals=1),
    )


def _check_memory(size: int, contestants: int, device: torch.device) -> None:
    """Raise `OptbenchError` if the memory may not be enough. State of torch's classes is at most three times the parameters."""
    needed, free = size * (2 + 3 * contestants), free_bytes(device)
    if needed > free:
        raise OptbenchError(
            f"{contestants} optimizers and implementations together may need {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB "
            "are free: select fewer with --optimizer and --implementation"
        )
