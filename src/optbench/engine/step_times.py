"""Time `step()` of several optimizers and implementations on one model's parameters, compared with plain passes over memory.

Each step is measured for one turn per round, in alternating order, so that drift of the machine affects all equally. The optimizers share
parameters and gradients (random and constant); each has its own state.
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
from optbench.engine.optimizers import OptimizerFault
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
class _TimedStep:
    """A step with its measurements, in milliseconds per step and turn; `row` is its row without them."""

    row: StepTime
    step: Callable[[], Any]
    steps_per_turn: int = 1
    times: list[float] = field(default_factory=list)

    def time(self, device: torch.device) -> None:
        """Measure one turn. If a step raises, it is not measured further."""
        if self.row.problem:
            return
        try:
            self.times.append(1e3 * _seconds(self.step, self.steps_per_turn, device) / self.steps_per_turn)
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Record the exception of a step as the problem of its row."""
        if isinstance(error, OptimizerFault):
            error = error.__cause__ or error
        self.row = StepTime(self.row.label, self.row.implementation, problem=describe_error(error))


def set_up(device: str, threads: int | None, data_root: Path) -> torch.device:
    """Apply the number of threads, the memory allocator (unless OPTBENCH_ALLOCATOR is `default`) and the cache of compiled code.

    Return the device. Raises `OptbenchError` if it is not available.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    selected = select_device(device)
    if os.environ.get("OPTBENCH_ALLOCATOR") != "default":
        keep_freed_memory(selected.type)
    keep_compiled(data_root)
    return selected


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

    Raises `OptbenchError` if the model can't be built or the machine has too little memory for all optimizers at once.
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
    prepared: list[StepTime | _TimedStep] = []
    for number, (trial, name) in enumerate((t, name) for t in trials for name in implementations):
        on_progress(f"preparing {trial.label}, {name}", number, len(trials) * len(implementations))
        prepared.append(_prepare(trial, name, model, parameters, size, device))
    running = [timed for timed in prepared if isinstance(timed, _TimedStep)]
    passes = _passes({timed.row.moved_bytes or 0 for timed in running}, device)
    for timed in (*running, *passes.values()):
        _set_steps_per_turn(timed, device)
    timed_steps = [*passes.values(), *running]
    for number in range(rounds):
        on_progress(f"round {number + 1} of {rounds}", number, rounds)
        for timed in timed_steps[:: 1 if number % 2 == 0 else -1]:
            timed.time(device)
    rows = tuple(dict.fromkeys(_row(timed, passes, device) for timed in prepared))
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
) -> StepTime | _TimedStep:
    """Return the step of a trial's optimizer after its warm-up, or its row if it cannot be measured."""

    def failed(problem: str, implementation: str = name) -> StepTime:
        return StepTime(trial.label, implementation, problem=problem)

    try:
        built = optimizers.build(trial.model_copy(update={"implementation": name}), model, HORIZON)
        if built.needs_closure:
            return failed("its step calls a closure, so it can't be timed without the loss", "own")
        if built.protocol.create_graph:
            return failed("its step uses the graph of the gradients, which do not exist here", "own")
        built.train()
        watch = Stopwatch()
        if name == "compiled":
            with watch:
                compile_members(built)
        used = built.implementations()[0][0]
        if used.name != name and not (used.name == "own" and name == "forloop"):
            default = "it has its own step only" if used.name == "own" else f"it uses {used.name} instead"
            return failed(used.note or default)
        for _ in range(3):  # the state is created at the first step, in some optimizers later
            built.step()
    except OptimizerFault as fault:
        return failed(describe_error(fault.__cause__ or fault))
    except OptbenchError as error:
        return failed(str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return failed("out of memory")
    state = state_memory(built.members, parameters, model)
    row = StepTime(
        trial.label,
        used.name,
        state_bytes=state.bytes,
        moved_bytes=size + 2 * (size + (state.bytes or 0)),
        compile_seconds=watch.seconds or None,
    )
    # without optbench's wrapper if there is one optimizer
    return _TimedStep(row, built.members[0].step if len(built.members) == 1 else built.step)


def _passes(sizes: set[int], device: torch.device) -> dict[int, _TimedStep]:
    """Return, per number of bytes moved, an in-place negation of half as many bytes: read and written, as in an update.

    A copy would not be a lower bound, since a processor also reads the memory that it overwrites.
    """
    numbers = torch.ones(max(sizes, default=0) // 8 + 1, device=device)

    def negation(size: int) -> Callable[[], Tensor]:
        part = numbers[: size // 8]
        return lambda: part.neg_()

    return {size: _TimedStep(StepTime("pass", "pass"), negation(size)) for size in sizes}


def _set_steps_per_turn(timed: _TimedStep, device: torch.device) -> None:
    """Set the number of steps per turn, so that a turn takes at least `TURN_SECONDS`."""
    try:
        _seconds(timed.step, 2, device)
        step_seconds = _seconds(timed.step, 3, device) / 3
    except Exception as error:
        timed.fail(error)
    else:
        timed.steps_per_turn = max(2, round(TURN_SECONDS / max(step_seconds, 1e-7)))


def _seconds(step: Callable[[], Any], times: int, device: torch.device) -> float:
    watch = Stopwatch()
    synchronise(device)
    with watch:
        for _ in range(times):
            step()
        synchronise(device)
    return watch.seconds


def _row(timed: StepTime | _TimedStep, passes: dict[int, _TimedStep], device: torch.device) -> StepTime:
    if isinstance(timed, StepTime):
        return timed
    if timed.row.problem:
        return timed.row
    return replace(
        timed.row,
        milliseconds=tuple(timed.times),
        pass_milliseconds=tuple(passes[timed.row.moved_bytes or 0].times),
        step_peak_bytes=peak_of(timed.step, device, rehearsals=1),
    )


def _check_memory(size: int, count: int, device: torch.device) -> None:
    """Raise `OptbenchError` if the memory may not be enough. State of torch's classes is at most three times the parameters."""
    needed, free = size * (2 + 3 * count), free_bytes(device)
    if needed > free:
        raise OptbenchError(
            f"{count} optimizers and implementations together may need {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB "
            "are free: select fewer with --optimizer and --implementation"
        )
