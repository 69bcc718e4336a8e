"""How long `step()` takes, for several optimizers and implementations on one model's parameters, against plain passes over memory.

All contestants are measured in turns within each round, forwards and backwards by turns, so that a machine that drifts drifts
for all. They share parameters and gradients (random ones, which stay) and hold their own state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from optbench.engine import optimizers
from optbench.engine.clock import Stopwatch, synchronise
from optbench.engine.compile_warmup import compile_members
from optbench.engine.environment import environment
from optbench.engine.memory import free_bytes, is_out_of_memory, peak_of
from optbench.engine.models import build_model
from optbench.engine.optimizers import OptimizerFault, Optimizers
from optbench.engine.sparse_gradients import sparsify_gradients
from optbench.engine.state_memory import state_memory
from optbench.errors import OptbenchError
from optbench.steptimes import StepTime, StepTimes
from optbench.suite.types import Trial

IMPLEMENTATIONS = ("forloop", "foreach", "fused", "compiled")
TURN_SECONDS = 0.04  # of stepping in one go, at least
HORIZON = 1000  # for optimizers that ask for the number of steps
Tell = Callable[[str, int, int], None]  # what is done, how much of how much


@dataclass
class _Contestant:
    row: StepTime
    step: Callable[[], Any]
    steps_a_turn: int = 1
    times: list[float] = field(default_factory=list)

    def time(self, device: torch.device) -> None:
        """One turn; steps that raise end what is measured of this one."""
        if self.row.problem:
            return
        try:
            self.times.append(1e3 * _seconds(self.step, self.steps_a_turn, device) / self.steps_a_turn)
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        if isinstance(error, OptimizerFault):
            error = error.__cause__ or error
        self.row = StepTime(self.row.label, self.row.implementation, problem=_told(error))


def step_times(
    trials: Sequence[Trial],
    implementations: Sequence[str],
    shape: tuple[int, ...],
    classes: int,
    device: torch.device,
    rounds: int,
    tell: Tell = lambda *_: None,
) -> StepTimes:
    """A row for each trial in each of the implementations, in that order; one that a class hasn't got, or whose steps raise, has a
    `problem`.

    Raises `OptbenchError` if the model can't be built or the machine has too little memory for all of them at once.
    """
    first = trials[0]
    model = build_model(first.workload.model, shape, classes, first.folder).to(device)
    held = [p for p in model.parameters() if p.requires_grad]
    if not held:
        raise OptbenchError(f"model {first.workload.model.name} has no trainable parameters")
    size = sum(p.numel() * p.element_size() for p in held)
    _refuse_unheld(size, len(trials) * len(implementations), device)
    generator = torch.Generator().manual_seed(0)
    for parameter in held:
        parameter.grad = (torch.rand(parameter.shape, generator=generator) * 2e-3 - 1e-3).to(parameter)
    sparsify_gradients(model, first.samples_a_step(size))
    entered: list[StepTime | _Contestant] = []
    for number, (trial, name) in enumerate((t, name) for t in trials for name in implementations):
        tell(f"preparing {trial.label}, {name}", number, len(trials) * len(implementations))
        entered.append(_enter(trial, name, model, held, size, device))
    running = [each for each in entered if isinstance(each, _Contestant)]
    passes = _passes({each.row.moved_bytes or 0 for each in running}, device)
    for each in (*running, *passes.values()):
        _fill_turn(each, device)
    everybody = [*passes.values(), *running]
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}", number, rounds)
        for each in everybody[:: 1 if number % 2 == 0 else -1]:
            each.time(device)
    rows = tuple(dict.fromkeys(_row(each, passes, device) for each in entered))
    facts = environment(device, first.folder)
    return StepTimes(
        first.workload.model.name,
        sum(p.numel() for p in held),
        len(held),
        size,
        facts["device_name"],
        torch.get_num_threads() if device.type == "cpu" else None,
        rounds,
        rows,
    )


def _enter(
    trial: Trial, name: str, model: nn.Module, held: list[nn.Parameter], size: int, device: torch.device
) -> StepTime | _Contestant:
    try:
        built = optimizers.build(trial.model_copy(update={"implementation": name}), model, HORIZON)
        if built.needs_closure:
            return StepTime(trial.label, "own", problem="its step evaluates the loss: no cost of its own")
        if built.protocol.create_graph:
            return StepTime(
                trial.label, "own", problem="its step differentiates the gradients, which have no graph here"
            )
        built.train()
        watch = Stopwatch()
        if name == "compiled":
            with watch:
                compile_members(built)
        runs = built.implementations()[0][0]
        if runs.name != name and not (runs.name == "own" and name == "forloop"):
            why = runs.note or ("its step is its own" if runs.name == "own" else f"runs {runs.name} instead")
            return StepTime(trial.label, name, problem=why)
        for _ in range(3):  # the state comes with the first step, for some later
            built.step()
    except OptimizerFault as fault:
        return StepTime(trial.label, name, problem=_told(fault.__cause__ or fault))
    except OptbenchError as error:
        return StepTime(trial.label, name, problem=str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return StepTime(trial.label, name, problem="out of memory")
    state = state_memory(built.members, held, model)
    row = StepTime(
        trial.label,
        runs.name,
        state_bytes=state.bytes,
        moved_bytes=size + 2 * (size + (state.bytes or 0)),
        compile_seconds=watch.seconds or None,
    )
    return _Contestant(row, _step_of(built))


def _step_of(built: Optimizers) -> Callable[[], Any]:
    """Without our own adapter: what a training loop would call."""
    return built.members[0].step if len(built.members) == 1 else built.step


def _passes(sizes: set[int], device: torch.device) -> dict[int, _Contestant]:
    """For each number of bytes moved, half as many negated in place: read and written, as an update does. A copy would be no floor:
    a processor reads also what it is about to overwrite."""
    numbers = torch.ones(max(sizes, default=0) // 8 + 1, device=device)

    def negation(size: int) -> Callable[[], Tensor]:
        some = numbers[: size // 8]
        return lambda: some.neg_()

    return {size: _Contestant(StepTime("pass", "pass"), negation(size)) for size in sizes}


def _fill_turn(each: _Contestant, device: torch.device) -> None:
    """Set how many steps a turn has."""
    try:
        _seconds(each.step, 2, device)
        once = _seconds(each.step, 3, device) / 3
    except Exception as error:
        each.fail(error)
    else:
        each.steps_a_turn = max(2, round(TURN_SECONDS / max(once, 1e-7)))


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


def _refuse_unheld(size: int, contestants: int, device: torch.device) -> None:
    """The most that torch's classes hold is three times the parameters."""
    needed, free = size * (2 + 3 * contestants), free_bytes(device)
    if needed > free:
        raise OptbenchError(
            f"{contestants} optimizers and implementations at once may need {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB "
            "are free: name fewer with --optimizer and --implementation"
        )


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
