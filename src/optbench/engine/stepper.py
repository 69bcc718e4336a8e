"""Run training steps eagerly, or as replays of a CUDA graph on a GPU that would otherwise wait for kernel launches.

The first steps of a trial always run eagerly. They are the warm-up that a capture needs, so no step has to be undone: the capture
itself changes nothing, and training continues with the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from optbench.engine.batches import StaticBatch
from optbench.engine.capturable import (
    DeviceRates,
    capturable,
    is_launch_bound,
    is_torchs_own,
    step_obstacle,
    update_obstacle,
)
from optbench.engine.checkpoint import random_state, restore_random_state
from optbench.engine.clock import Stopwatch, synchronise
from optbench.engine.cuda_graphs import Graphs, graphs_on
from optbench.engine.optimizers import OptimizerFault
from optbench.engine.passes import StepFacts
from optbench.engine.session import Session
from optbench.engine.step import gradients, training_step, update
from optbench.errors import first_line

WARM_STEPS = 3  # on the capture stream, before anything is measured or captured: they initialise libraries and lazy state
MEASURED_STEPS = 5
_NOT_LAUNCH_BOUND = (
    "kernel launches are not the bottleneck: the GPU is still busy when all kernels of a step are launched"
)


class _NotReplayable(Exception):
    """A replay would not do what the step does."""


#: result of a captured step: its facts, and the gradient of each parameter
Captured = tuple[StepFacts, list[Tensor | None]]


class Stepper:
    """Runs the steps of one trial. `scope` is the captured part of a step, as in `Finished.captured`; `note` is why no more is."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._graphs = graphs_on(session.device)
        self.scope, self.note = "", ""
        self._warm_up_steps = 0
        self._waiting_shares: list[float] = []
        self._replays: dict[bool, Callable[[], Captured]] = {}  # by whether the gradient norm is computed
        self._last: Callable[[], Captured] | None = None
        if self._graphs is not None:
            obstacle = step_obstacle(session)
            self.scope, self.note = "none", obstacle or "the trial ended before a step was captured"
            self._may_capture = not obstacle
        else:
            self._may_capture = False
            if session.trial.cuda_graph == "on":
                self.scope, self.note = "none", f"CUDA graphs are not available on {session.device.type}"

    def step(self, step: int, schedule_step: int, want_norm: bool) -> StepFacts:
        """Take one step; same arguments and result as `training_step`."""
        if self._replays:
            return self._replay(step, schedule_step, want_norm)
        if not self._may_capture or self._graphs is None:
            return training_step(self._session, step, schedule_step, want_norm)
        self._warm_up_steps += 1
        run_on_capture_stream, session = self._graphs.run_on_capture_stream, self._session
        if self._warm_up_steps <= WARM_STEPS or self.ready or session.trial.cuda_graph == "on":
            return run_on_capture_stream(lambda: training_step(session, step, schedule_step, want_norm))
        synchronise(session.device)
        launching, total = Stopwatch(), Stopwatch()
        with total:
            with launching:
                facts = run_on_capture_stream(lambda: training_step(session, step, schedule_step, want_norm))
            synchronise(session.device)
        self._waiting_shares.append(1 - launching.seconds / total.seconds)
        return facts

    @property
    def ready(self) -> bool:
        """Whether `capture` should be called now."""
        measured = len(self._waiting_shares) >= MEASURED_STEPS or self._session.trial.cuda_graph == "on"
        return self._may_capture and not self._replays and self._warm_up_steps >= WARM_STEPS and measured

    def capture(self) -> None:
        """Capture the following steps, or note why not. Weights, state, generators and data are unchanged; call it outside the clock."""
        assert self._graphs is not None
        if self._waiting_shares and not is_launch_bound(self._waiting_shares):
            self._run_eagerly(_NOT_LAUNCH_BOUND)
            self._graphs.release()
            return
        obstacle = update_obstacle(self._session)
        for scope in ("step", "gradients") if not obstacle else ("gradients",):
            try:
                self._capture(scope, self._graphs)
            except Exception as error:
                # CUDA or a library rejects an operation: the eager step is equivalent
                self._replays = {}
                obstacle = _describe(error)
            else:
                self.scope, self.note = scope, obstacle
                return
        self._run_eagerly(obstacle)
        self._graphs.release()

    def _capture(self, scope: str, graphs: Graphs) -> None:
        session, device = self._session, self._session.device
        self._batch = session.training_batches.static()
        self._rates = DeviceRates()
        generators, evaluations = random_state(device), session.gradient_evaluations
        always_norm = "gradients" in session.trial.workload.study or _clips_norm(session)
        try:
            with (
                capturable(session.optimizers) if scope == "step" else nullcontext(self._rates) as self._rates
            ):
                for norm in (True,) if always_norm else (False, True):
                    self._replays[norm] = graphs.capture(_step_of(session, self._batch, scope, norm))
                if _drew_on_host(generators, random_state(device)):
                    raise _NotReplayable("it draws random numbers on the host at each step")
        finally:
            session.gradient_evaluations = evaluations
            restore_random_state(generators, device)
        self._parameters = session.parameters  # cached: collecting them takes as long as launching a graph
        self._checks_addresses = not all(map(is_torchs_own, session.optimizers.members))
        self._addresses = _addresses(self._parameters)

    def _replay(self, step: int, schedule_step: int, want_norm: bool) -> StepFacts:
        session = self._session
        session.rates.apply(schedule_step)
        self._rates.write()
        self._batch.move_to(step)
        replay = self._replays.get(want_norm) or self._replays[True]
        evaluations = session.gradient_evaluations
        facts, captured_gradients = replay()
        facts, session.gradient_evaluations = _clone(facts), evaluations + 1
        if self.scope == "gradients" or replay is not self._last:
            # each graph has its own gradient tensors, and the optimizer may have cleared the gradients
            for parameter, gradient in zip(self._parameters, captured_gradients, strict=True):
                parameter.grad = gradient
        self._last = replay
        if self.scope == "gradients":
            update(session)
            if self._checks_addresses and _addresses(self._parameters) != self._addresses:
                self._run_eagerly("its optimizer changes the memory addresses of parameters")
        return facts

    def _run_eagerly(self, note: str) -> None:
        """Run the following steps eagerly; `note` is the reason."""
        self._replays, self._may_capture = {}, False
        self.scope, self.note = "none", note


def _step_of(session: Session, batch: StaticBatch, scope: str, norm: bool) -> Callable[[], Captured]:
    def run() -> Captured:
        facts = gradients(session, batch.make(), norm)
        if scope == "step":
            update(session)
        return facts, [p.grad for p in session.parameters]

    return run


def _addresses(tensors: Sequence[Tensor]) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def _clips_norm(session: Session) -> bool:
    clip = session.trial.entry.clip
    return clip is not None and clip.norm is not None


def _clone(facts: StepFacts) -> StepFacts:
    """Copy the facts, since the next replay overwrites them."""
    return replace(
        facts,
        loss=facts.loss.clone(),
        norm=None if facts.norm is None else facts.norm.clone(),
        clipped=None if facts.clipped is None else facts.clipped.clone(),
    )


def _drew_on_host(before: dict[str, object], after: dict[str, object]) -> bool:
    return any(
        not torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one != other
        for one, other in ((before[name], after[name]) for name in ("torch", "python", "numpy"))
    )


def _describe(error: BaseException) -> str:
    if isinstance(error, _NotReplayable):
        return str(error)
    if isinstance(error, OptimizerFault):
        error = error.__cause__ or error
    return f"the capture failed ({type(error).__name__}: {first_line(error)[:160]})"
