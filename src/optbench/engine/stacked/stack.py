"""The trials of a stack: each has its own model, whose parameters are rows of shared tensors."""

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
from optbench.engine.stacked.updates import StackedUpdate, update_key_of
from optbench.engine.tasks import CatalogTask
from optbench.errors import OptbenchError
from optbench.suite.types import Schedule, Trial


class CannotStack(OptbenchError):
    """A trial needs a feature that stacked training does not support. The trials can be trained individually."""


class SharedClock(Clock):
    """The training time of one trial: an equal share of the training time of its stack."""

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
        """Divide the time from now on among this many trials."""
        self.load_state(self.state())
        self._trials = trials

    def state(self) -> dict[str, float | None]:
        return {"wall": self.train_seconds, "cpu": self.cpu_seconds}


@dataclass
class Member:
    """One trial of a stack. The parameters of `session.model` are views of its row."""

    trial: Trial
    session: Session
    progress: Progress
    #: optimizers with equal keys are stepped together, those without a key individually
    update_key: tuple[object, ...] | None
    #: state of torch's generators, if the optimizer is stepped individually
    random: list[Tensor] | None = None

    def step_single(self, gradients: dict[str, Tensor]) -> None:
        """Step the trial's own optimizer on its row. Raises `OptimizerFault` if the optimizer raises."""
        for name, parameter in self.session.model.named_parameters():
            parameter.grad = gradients[name]
        with self.trial_random_state():
            self.session.optimizers.step()

    @contextmanager
    def trial_random_state(self) -> Iterator[None]:
        """Set torch's generators to the state that this trial would have in a single run."""
        if self.random is None:
            yield
            return
        restore_torch_generators(self.random, self.session.device)
        yield
        self.random = torch_generators(self.session.device)


class Stack:
    """Parameters (trials, *shape) by name, and their forward pass, losses and updates. Rows are in the order of `members`."""

    def __init__(self, trials: Sequence[Trial], device: torch.device, data_root: Path) -> None:
        """Create models and optimizers. Raises `CannotStack`, and `OptbenchError` for mistakes in the suite."""
        self.device, self.clock = device, Clock(device)
        bases: dict[int, Session] = {}
        for trial in trials:
            if trial.seed not in bases:
                bases[trial.seed] = prepare(trial, device, data_root)
        first = next(iter(bases.values()))
        _check(first)
        for base in bases.values():
            base._batches = first._batches  # all trials are evaluated on the same samples
        self.parameters = {
            name: torch.stack([dict(bases[t.seed].model.named_parameters())[name].detach() for t in trials])
            for name, _ in first.model.named_parameters()
        }
        members = [self._member(row, trial, bases[trial.seed]) for row, trial in enumerate(trials)]
        order = sorted(range(len(members)), key=lambda row: repr(members[row].update_key))
        self.members = members
        self.keep(order)

    @property
    def session(self) -> Session:
        """The session of the first trial, for everything that the trials share."""
        return self.members[0].session

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these members, in this order, with the state of their optimizers."""
        self.write_back_state()
        self.members = [self.members[row] for row in rows]
        index = torch.tensor(list(rows), device=self.device)
        self.parameters = {
            name: tensor.detach().index_select(0, index) for name, tensor in self.parameters.items()
        }
        for row, member in enumerate(self.members):
            for name, parameter in member.session.model.named_parameters():
                parameter.data = self.parameters[name][row]
            assert isinstance(member.progress.clock, SharedClock)
            member.progress.clock.share_among(len(self.members))
        for tensor in self.parameters.values():
            tensor.requires_grad_()
        self.arrange()

    def write_back_state(self) -> None:
        """Write the stacked state to each trial's own optimizer."""
        for update, _ in getattr(self, "updates", ()):
            update.write_back_state()

    def stepped_together(self) -> Iterator[list[Member]]:
        """Yield the trials that are stepped together, whose states have equal sizes; the others one by one."""
        for key, group in groupby(self.members, key=lambda member: member.update_key):
            members = list(group)
            yield from [[member] for member in members] if key is None else [members]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of a step: one batch if all trials share a seed, else stacked with one batch per row."""
        batches = [source.batch(step) for source in self._batch_sources]
        all_inputs = [batch.inputs for batch in batches if isinstance(batch.inputs, Tensor)]
        all_labels = [batch.targets for batch in batches if isinstance(batch.targets, Tensor)]
        if self.shared:
            return all_inputs[0], all_labels[0]
        inputs, labels = torch.stack(all_inputs), torch.stack(all_labels)
        return inputs.index_select(0, self._source_of_row), labels.index_select(0, self._source_of_row)

    def step(self, gradients: dict[str, Tensor]) -> dict[int, OptimizerFault]:
        """Update all rows. Return the faults of optimizers that raised, by row."""
        faults: dict[int, OptimizerFault] = {}
        for update, rows in self.updates:
            update.step({name: gradient[rows] for name, gradient in gradients.items()})
        for row in self.single_rows:
            try:
                self.members[row].step_single({name: g[row] for name, g in gradients.items()})
            except OptimizerFault as fault:
                faults[row] = fault
        return faults

    def _member(self, row: int, trial: Trial, base: Session) -> Member:
        seed_everything(derive(trial.seed, "training"))
        model = copy.deepcopy(base.model)
        for name, parameter in model.named_parameters():
            parameter.data = self.parameters[name][row]
        per_epoch, horizon = base.training_batches.steps_per_epoch, trial.entry.horizon
        trial_optimizers = optimizers.build(
            trial, model, base.steps, base.training_batches.batch_size, samples=base.splits.info.train
        )
        if trial_optimizers.protocol != Protocol() or trial_optimizers.has_modes:
            raise CannotStack(
                f"the optimizer of '{trial.label}' needs a closure, a graph or two passes, or has train and eval modes"
            )
        rates = schedule.rates(
            trial.entry.schedule or Schedule(name="constant"),
            base.steps if horizon is None else horizon.steps(per_epoch),
            per_epoch,
            trial.folder,
            trial_optimizers,
        )
        session = replace(
            base, trial=trial, model=model, forward=model, optimizers=trial_optimizers, rates=rates
        )
        progress = Progress.of(trial, self.device)
        progress.clock = SharedClock(self.clock, 1)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        key = (
            update_key_of(trial_optimizers.members[0], names) if len(trial_optimizers.members) == 1 else None
        )
        return Member(trial, session, progress, key, None if key else torch_generators(self.device))

    def arrange(self) -> None:
        """Create passes and updates for the present rows, with the state of the trials' optimizers."""
        self._batch_sources = list(
            {id(m.session.training_batches): m.session.training_batches for m in self.members}.values()
        )
        self.shared = len(self._batch_sources) <= 1
        position = {id(source): index for index, source in enumerate(self._batch_sources)}
        self._source_of_row = torch.tensor(
            [position[id(m.session.training_batches)] for m in self.members], device=self.device
        )
        self.updates: list[tuple[StackedUpdate, slice]] = []
        self.single_rows: list[int] = []
        if not self.members:
            return
        session = self.session
        self.forward = passes.forward(session.model, shared=self.shared)
        assert isinstance(session.task, CatalogTask)
        criterion = session.task.criterion
        self.losses = passes.losses(criterion, shared=self.shared)
        self.evaluating: tuple[passes.Forward, passes.Losses] = (
            passes.forward(session.model, shared=True),
            passes.losses(criterion, shared=True),
        )
        for key, group in groupby(range(len(self.members)), key=lambda row: self.members[row].update_key):
            rows = list(group)
            if key is None:
                self.single_rows += rows
            else:
                self.updates.append((self._update(rows), slice(rows[0], rows[-1] + 1)))

    def _update(self, rows: list[int]) -> StackedUpdate:
        sessions = [self.members[row].session for row in rows]
        names = {id(p): name for session in sessions for name, p in session.model.named_parameters()}
        parameters = {name: t.detach()[rows[0] : rows[-1] + 1] for name, t in self.parameters.items()}
        return StackedUpdate([session.optimizers.members[0] for session in sessions], parameters, names)


def _check(session: Session) -> None:
    model: nn.Module = session.model
    if any(True for _ in model.buffers()) or not all(p.requires_grad for p in model.parameters()):
        raise CannotStack("the model has buffers, or parameters with requires_grad=False")
    if session.scaler is not None:
        raise CannotStack("fp16 needs one gradient scaler per trial, which stacked training does not support")
