"""Training steps one after the other: as they are written, or, on a GPU that would wait for their launches, as replays of a graph.

The first steps of a trial are always run as they are written. They are the warm-up that a capture needs, so none has to be undone: a
capture itself changes nothing, and training goes on with the next step, whichever way it is run.
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
    left_outside,
    refusal,
)
from optbench.engine.checkpoint import random_state, restore_random_state
from optbench.engine.clock import Stopwatch, synchronise
from optbench.engine.cuda_graphs import Graphs, graphs_on
from optbench.engine.optimizers import OptimizerFault
from optbench.engine.passes import StepFacts
from optbench.engine.session import Session
from optbench.engine.step import gradients, training_step, update

WARM_STEPS = 3  # run aside before anything is measured or captured: libraries and lazy state start in them
MEASURED_STEPS = 5
_PACE = "launching does not set the pace: the GPU is still busy when all of a step is launched"


class _NotTheSame(Exception):
    """A replay would not do what the step does."""


#: what a captured step gives: its facts, and the gradients that it leaves, a parameter each
Left = tuple[StepFacts, list[Tensor | None]]


class Stepper:
    """`scope` is what of a step is captured, in the words of `Finished.captured`; `note` says why no more is."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._graphs = graphs_on(session.device)
        self.scope, self.note = "", ""
        self._seen = 0
        self._waiting: list[float] = []
        self._replays: dict[bool, Callable[[], Left]] = {}  # with and without the gradient's norm
        self._last: Callable[[], Left] | None = None
        if self._graphs is not None:
            self.scope, self.note = "none", refusal(session) or "it ended before anything was captured"
            self._open = not refusal(session)
        else:
            self._open = False
            if session.trial.cuda_graph == "on":
                self.scope, self.note = "none", f"there are no CUDA graphs on {session.device.type}"

    def step(self, step: int, schedule_step: int, want_norm: bool) -> StepFacts:
        """As `training_step`."""
        if self._replays:
            return self._replayed(step, schedule_step, want_norm)
        if not self._open or self._graphs is None:
            return training_step(self._session, step, schedule_step, want_norm)
        self._seen += 1
        aside, session = self._graphs.aside, self._session
        if self._seen <= WARM_STEPS or self.ready or session.trial.cuda_graph == "on":
            return aside(lambda: training_step(session, step, schedule_step, want_norm))
        synchronise(session.device)
        asked, done = Stopwatch(), Stopwatch()
        with done:
            with asked:
                facts = aside(lambda: training_step(session, step, schedule_step, want_norm))
            synchronise(session.device)
        self._waiting.append(1 - asked.seconds / done.seconds)
        return facts

    @property
    def ready(self) -> bool:
        """Whether it is time to capture."""
        measured = len(self._waiting) >= MEASURED_STEPS or self._session.trial.cuda_graph == "on"
        return self._open and not self._replays and self._seen >= WARM_STEPS and measured

    def capture(self) -> None:
        """Capture the next steps, or note why not. Weights, state, generators and data stay as they are; call it outside the clock."""
        assert self._graphs is not None
        if self._waiting and not is_launch_bound(self._waiting):
            self._give_up(_PACE)
            self._graphs.leave()
            return
        outside = left_outside(self._session)
        for scope in ("step", "gradients") if not outside else ("gradients",):
            try:
                self._capture(scope, self._graphs)
            except Exception as error:  # whatever CUDA or a library refuses: the step as written is as right
                self._replays = {}
                outside = _told(error)
            else:
                self.scope, self.note = scope, outside
                return
        self._give_up(outside)
        self._graphs.leave()

    def _capture(self, scope: str, graphs: Graphs) -> None:
        session, device = self._session, self._session.device
        self._batch = session.training_batches.static()
        self._rates = DeviceRates()
        generators, evaluations = random_state(device), session.gradient_evaluations
        always = "gradients" in session.trial.workload.study or _clips_norm(session)
        try:
            with (
                capturable(session.optimizers) if scope == "step" else nullcontext(self._rates) as self._rates
            ):
                for norm in (True,) if always else (False, True):
                    self._replays[norm] = graphs.capture(_step_of(session, self._batch, scope, norm))
                if _drew_on_host(generators, random_state(device)):
                    raise _NotTheSame("it draws random numbers on the host, anew at each step")
        finally:
            session.gradient_evaluations = evaluations
            restore_random_state(generators, device)
        self._parameters = session.parameters  # gathering them takes as long as launching a graph
        self._watched = not all(map(is_torchs_own, session.optimizers.members))
        self._at = _places(self._parameters)

    def _replayed(self, step: int, schedule_step: int, want_norm: bool) -> StepFacts:
        session = self._session
        session.rates.apply(schedule_step)
        self._rates.write()
        self._batch.move_to(step)
        replay = self._replays.get(want_norm) or self._replays[True]
        evaluations = session.gradient_evaluations
        facts, left = replay()
        facts, session.gradient_evaluations = _copied(facts), evaluations + 1
        if self.scope == "gradients" or replay is not self._last:
            # of this graph: the other one's are elsewhere, and an optimizer may have dropped them
            for parameter, gradient in zip(self._parameters, left, strict=True):
                parameter.grad = gradient
        self._last = replay
        if self.scope == "gradients":
            update(session)
            if self._watched and _places(self._parameters) != self._at:
                self._give_up("its optimizer moves parameters to other places in memory")
        return facts

    def _give_up(self, note: str) -> None:
        """From the next step on, as written."""
        self._replays, self._open = {}, False
        self.scope, self.note = "none", note


def _step_of(session: Session, batch: StaticBatch, scope: str, norm: bool) -> Callable[[], Left]:
    def run() -> Left:
        facts = gradients(session, *batch.make(), norm)
        if scope == "step":
            update(session)
        return facts, [p.grad for p in session.parameters]

    return run


def _places(tensors: Sequence[Tensor]) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def _clips_norm(session: Session) -> bool:
    clip = session.trial.entry.clip
    return clip is not None and clip.norm is not None


def _copied(facts: StepFacts) -> StepFacts:
    """The next replay writes to the same places."""
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


def _told(error: BaseException) -> str:
    if isinstance(error, _NotTheSame):
        return str(error)
    if isinstance(error, OptimizerFault):
        error = error.__cause__ or error
    return f"it can't be captured ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]})"
