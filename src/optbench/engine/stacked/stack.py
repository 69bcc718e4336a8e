"""The trials of a stack: one model each, whose parameters are rows of the same tensors."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optbench.engine import optimizers, schedule
from optbench.engine.checkpoint import restore_torch_generators, torch_generators
from optbench.engine.clock import Clock
from optbench.engine.optimizers import OptimizerFault
from optbench.engine.progress import Progress
from optbench.engine.protocol import Protocol
from optbench.engine.randomness import derive
from optbench.engine.session import Session, prepare, seed_everything
from optbench.engine.stacked import forward as passes
from optbench.engine.stacked.updates import StackedUpdate, structure
from optbench.errors import OptbenchError
from optbench.suite.types import Schedule, Trial


class CannotStack(OptbenchError):
    """Some trial needs what a stack does not have; each can be trained by itself."""


class ShareOfClock(Clock):
    """A trial's part of the time in which its whole stack trains: the same for each."""

    def __init__(self, clock: Clock, trials: int) -> None:
        self._clock, self._trials = clock, trials
        self._before = (0.0, 0.0)
        self._from = (clock.train_seconds, clock.cpu_seconds)

    def start(self) -> None:
        self._clock.start()

    def pause(self) -> None:
        self._clock.pause()

    @property
    def train_seconds(self) -> float:
        return self._before[0] + (self._clock.train_seconds - self._from[0]) / self._trials

    @property
    def cpu_seconds(self) -> float:
        return self._before[1] + (self._clock.cpu_seconds - self._from[1]) / self._trials

    @property
    def queued_seconds(self) -> None:
        return None

    def load_state(self, state: dict[str, Any]) -> None:
        self._before = (state["wall"], state["cpu"])
        self._from = (self._clock.train_seconds, self._clock.cpu_seconds)

    def share_among(self, trials: int) -> None:
        """From now on."""
        self.load_state(self.state())
        self._trials = trials

    def state(self) -> dict[str, float | None]:
        return {"wall": self.train_seconds, "cpu": self.cpu_seconds}


@dataclass
class Member:
    """One trial. The parameters of `session.model` are its row of the stack."""

    trial: Trial
    session: Session
    progress: Progress
    kind: tuple[object, ...] | None  # of its optimizer, where it is stepped with others of its kind
    random: list[Tensor] | None = None  # of torch's generators, of a trial whose optimizer steps by itself

    def step_alone(self, gradients: dict[str, Tensor]) -> None:
        """The trial's own optimizer, on its row. Raises `OptimizerFault` for what it raises."""
        for name, parameter in self.session.model.named_parameters():
            parameter.grad = gradients[name]
        with self.own_randomness():
            self.session.optimizers.step()

    @contextmanager
    def own_randomness(self) -> Iterator[None]:
        """Torch's generators where this trial alone would have it."""
        if self.random is None:
            yield
            return
        restore_torch_generators(self.random, self.session.device)
        yield
        self.random = torch_generators(self.session.device)


class Stack:
    """Parameters (trials, *shape) by name, and what makes a step of all of them. Rows are in the order of `members`."""

    def __init__(self, trials: Sequence[Trial], device: torch.device, data_root: Path) -> None:
        """Raises `CannotStack`, and `OptbenchError` for what the suite's author can mend."""
        self.device, self.clock = device, Clock(device)
        bases: dict[int, Session] = {}
        for trial in trials:
            if trial.seed not in bases:
                bases[trial.seed] = prepare(trial, device, data_root)
        first = next(iter(bases.values()))
        _check(first)
        for base in bases.values():
            base._batches = first._batches  # evaluated on the same samples
        self.parameters = {
            name: torch.stack([dict(bases[t.seed].model.named_parameters())[name].detach() for t in trials])
            for name, _ in first.model.named_parameters()
        }
        members = [self._member(row, trial, bases[trial.seed]) for row, trial in enumerate(trials)]
        order = sorted(range(len(members)), key=lambda row: repr(members[row].kind))
        self.members = members
        self.keep(order)

    @property
    def session(self) -> Session:
        """One of the trials', for what all of them share."""
        return self.members[0].session

    def keep(self, rows: Sequence[int]) -> None:
        """Only these members, in this order; the state of their optimizers stays with them."""
        self.publish()
        self.members = [self.members[row] for row in rows]
        index = torch.tensor(list(rows), device=self.device)
        self.parameters = {
            name: tensor.detach().index_select(0, index) for name, tensor in self.parameters.items()
        }
        for row, member in enumerate(self.members):
            for name, parameter in member.session.model.named_parameters():
                parameter.data = self.parameters[name][row]
            assert isinstance(member.progress.clock, ShareOfClock)
            member.progress.clock.share_among(len(self.members))
        for tensor in self.parameters.values():
            tensor.requires_grad_()
        self._arrange()

    def publish(self) -> None:
        """Let every trial's own optimizer hold its state."""
        for update, _ in getattr(self, "updates", ()):
            update.publish()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Of all trials, if they share their seed, else one for each row."""
        if self.shared:
            return self.session.training_batches.batch(step)
        each = [feed.batch(step) for feed in self._feeds]
        inputs, labels = torch.stack([x for x, _ in each]), torch.stack([y for _, y in each])
        return inputs.index_select(0, self._feed_of), labels.index_select(0, self._feed_of)

    def step(self, gradients: dict[str, Tensor]) -> dict[int, OptimizerFault]:
        """One update of every row; what optimizers raised, by row."""
        faults: dict[int, OptimizerFault] = {}
        for update, rows in self.updates:
            update.step({name: gradient[rows] for name, gradient in gradients.items()})
        for row in self.alone:
            try:
                self.members[row].step_alone({name: g[row] for name, g in gradients.items()})
            except OptimizerFault as fault:
                faults[row] = fault
        return faults

    def _member(self, row: int, trial: Trial, base: Session) -> Member:
        seed_everything(derive(trial.seed, "training"))
        model = copy.deepcopy(base.model)
        for name, parameter in model.named_parameters():
            parameter.data = self.parameters[name][row]
        per_epoch, horizon = base.training_batches.steps_per_epoch, trial.entry.horizon
        held = optimizers.build(trial, model, base.steps, base.training_batches.batch_size)
        if held.protocol != Protocol() or held.has_modes:
            raise CannotStack(
                f"the optimizer of '{trial.label}' needs more than gradients or has modes of its own"
            )
        rates = schedule.rates(
            trial.entry.schedule or Schedule(name="constant"),
            base.steps if horizon is None else horizon.steps(per_epoch),
            per_epoch,
            trial.folder,
            held,
        )
        session = replace(base, trial=trial, model=model, forward=model, optimizers=held, rates=rates)
        progress = Progress.of(trial, self.device)
        progress.clock = ShareOfClock(self.clock, 1)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        kind = structure(held.members[0], names) if len(held.members) == 1 else None
        return Member(trial, session, progress, kind, None if kind else torch_generators(self.device))

    def _arrange(self) -> None:
        """Passes and updates for the rows as they are now."""
        self._feeds = list(
            {id(m.session.training_batches): m.session.training_batches for m in self.members}.values()
        )
        self.shared = len(self._feeds) <= 1
        position = {id(feed): at for at, feed in enumerate(self._feeds)}
        self._feed_of = torch.tensor(
            [position[id(m.session.training_batches)] for m in self.members], device=self.device
        )
        self.updates: list[tuple[StackedUpdate, slice]] = []
        self.alone: list[int] = []
        if not self.members:
            return
        session = self.session
        self.forward = passes.forward(session.model, shared=self.shared)
        self.losses = passes.losses(session.loss, shared=self.shared)
        self.evaluating: tuple[passes.Forward, passes.Losses] = (
            passes.forward(session.model, shared=True),
            passes.losses(session.loss, shared=True),
        )
        for kind, rows in groupby(range(len(self.members)), key=lambda row: self.members[row].kind):
            alike = list(rows)
            if kind is None:
                self.alone += alike
            else:
                self.updates.append((self._update(alike), slice(alike[0], alike[-1] + 1)))

    def _update(self, rows: list[int]) -> StackedUpdate:
        own = [self.members[row].session for row in rows]
        names = {id(p): name for session in own for name, p in session.model.named_parameters()}
        mine = {name: t.detach()[rows[0] : rows[-1] + 1] for name, t in self.parameters.items()}
        return StackedUpdate([session.optimizers.members[0] for session in own], mine, names)

    def adopt(self) -> None:
        """After the trials' optimizers were given another state: take it over."""
        self._arrange()


def _check(session: Session) -> None:
    model: nn.Module = session.model
    if any(True for _ in model.buffers()) or not all(p.requires_grad for p in model.parameters()):
        raise CannotStack("the model has buffers, or parameters that are not trained")
    if session.scaler is not None:
        raise CannotStack("fp16 needs a gradient scaler, of which each trial would need its own")
