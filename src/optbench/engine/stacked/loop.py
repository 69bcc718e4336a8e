"""Several trials trained as one program: a generator of what each of them tells. Like `engine.loop`, it writes no file but checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from optbench.engine import trial_records
from optbench.engine.clock import Stopwatch, now
from optbench.engine.environment import environment
from optbench.engine.loop import CHECKED_STEPS
from optbench.engine.optimizers import OptimizerFault
from optbench.engine.resources import Monitor
from optbench.engine.stacked import saved
from optbench.engine.stacked.evaluate import measure
from optbench.engine.stacked.facts import diverged, moved, norms, note_state
from optbench.engine.stacked.stack import CannotStack, Member, Stack
from optbench.engine.state_memory import NOTHING
from optbench.engine.step_statistics import IntervalSummary
from optbench.events import Event, Fault, Finished, Metrics, Progressed, Resumed, Status
from optbench.suite.types import Trial

CHECKPOINT_SECONDS = 30.0
PROGRESS_SECONDS = 0.25

#: what some of the trials tell, each with the trial's id
Told = list[tuple[str, Event]]


def train_stack(
    trials: Sequence[Trial],
    device: torch.device,
    *,
    data_root: Path,
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Iterator[Told]:
    """Train trials of one workload, batch size and precision as one; what each tells is what `engine.loop.train` tells of it.

    Store all of what was told before asking for more. With a checkpoint (of a stack that held all of them) they go on from it. A trial
    that diverges, or whose optimizer raises, ends by itself; the others go on. Raises `CannotStack` before anything is told if
    these trials can't be trained so, and what ends all of them: out of memory, a full disk, a mistake in the suite.
    """
    run = _Run(trials, device, checkpoint, should_stop, checkpoint_seconds)
    yield from run.told(data_root)


class _Run:
    def __init__(
        self,
        trials: Sequence[Trial],
        device: torch.device,
        checkpoint: Path | None,
        should_stop: Callable[[], bool],
        checkpoint_seconds: float,
    ) -> None:
        self.trials, self.device, self.checkpoint = trials, device, checkpoint
        self.should_stop, self.checkpoint_seconds = should_stop, checkpoint_seconds
        self.setting_up = Stopwatch()
        self.monitor = Monitor(device)
        self.losses: list[Tensor] = []  # of the steps since the last evaluation, (trials,) each
        self.norms: Tensor | None = None  # of the last step, (trials,)
        self.step = 0
        self.ended: Told = []  # between evaluations, through a fault

    def told(self, data_root: Path) -> Iterator[Told]:
        with self.setting_up:
            self._set_up(data_root)
            state = saved.load(self.checkpoint, self.stack)
            resumed = state is not None and self._restore(state)
            if state is not None and not resumed:
                self._set_up(data_root)
        here = environment(self.device, self.trials[0].folder)
        here |= {"engine": "stacked", "stack": len(self.trials)}
        if resumed:
            yield [(m.trial.id, Resumed(self.step, here)) for m in self.stack.members]
        else:
            yield self._started(here)
        for member in self.stack.members:
            member.session.model.train()
        with self.monitor.running():
            yield from self._training()

    def _set_up(self, data_root: Path) -> None:
        self.stack = Stack(self.trials, self.device, data_root)
        self.check = saved.StackCheck(self.stack)

    def _started(self, here: dict[str, Any]) -> Told:
        first = trial_records.started(self.stack.session, self.device, None)
        return [
            (
                member.trial.id,
                replace(
                    first,
                    environment=here,
                    initial_weights=member.session.initial_weights,
                    hyperparameters=member.session.optimizers.hyperparameters(),
                ),
            )
            for member in self.stack.members
        ]

    def _training(self) -> Iterator[Told]:
        stack, clock = self.stack, self.stack.clock
        steps = stack.session.steps
        assert steps is not None  # a stack is planned for budgets that count steps
        last_sign = last_checkpoint = now()
        due = self.step == steps  # a checkpoint just before the last evaluation
        clock.start()
        while due or self.step < steps:
            if not due:
                self._step(want_norm=self._due(self.step + 1) or self.step + 1 == steps)
                if self.step.bit_count() == 1:  # state may be freed before the first evaluation
                    clock.pause()
                    self._note_state()
                    if self.step <= CHECKED_STEPS and not self.check.passes() and self.check.news:
                        yield self._signs()
                    clock.start()
                due = self._due(self.step) or self.step == steps
            if due or self.ended:
                clock.pause()
                if due:
                    yield self._evaluation()
                else:
                    yield self._taken_out()
                if not stack.members:
                    return
                due, last_sign = False, now()
                clock.start()
            if self.step < steps and self.should_stop():
                clock.pause()
                self._save()
                end = f"; it is not checkpointed ({self.check.problem})" if self.check.blocked else ""
                yield self._all_finished("interrupted", f"stopped on request after step {self.step}{end}")
                return
            if now() - last_checkpoint > self.checkpoint_seconds:
                clock.pause()
                self._save()
                last_checkpoint = now()
                clock.start()
            if now() - last_sign > PROGRESS_SECONDS:
                clock.pause()
                yield self._signs()
                last_sign = now()
                clock.start()
        clock.pause()
        yield self._completed()

    def _step(self, want_norm: bool) -> None:
        stack = self.stack
        settled = all(member.progress.moved for member in stack.members)
        before = None if settled else {n: p.detach().clone() for n, p in stack.parameters.items()}
        inputs, labels = stack.batch(self.step)
        for member in stack.members:
            member.session.rates.apply(self.step)
        with stack.session.precision.autocast(self.device):
            losses = stack.losses(stack.forward(stack.parameters, inputs), labels)
        found = torch.autograd.grad(losses.sum(), list(stack.parameters.values()))
        gradients = dict(zip(stack.parameters, found, strict=True))
        self.losses.append(losses.detach())
        self.norms = norms(gradients) if want_norm else None
        faults = stack.step(gradients)
        self.step += 1
        for row, member in enumerate(stack.members):
            member.progress.step = self.step
            member.session.gradient_evaluations += 1
            if before is not None and not member.progress.moved and row not in faults:
                evaluated = member.progress.evaluations > 0 or self._due(self.step)
                unstacked = {n: t[row] for n, t in before.items()}
                fault = moved(member, unstacked, gradients, row, evaluated=evaluated)
                faults |= {row: fault} if fault else {}
        for row, fault in faults.items():
            self._faulty(row, fault)

    def _faulty(self, row: int, fault: OptimizerFault) -> None:
        told = trial_records.format_traceback(fault.__cause__ or fault)
        member = self.stack.members[row]
        self.ended.append((member.trial.id, self._finished(member, "failed", told, at_fault="optimizer")))

    def _taken_out(self) -> Told:
        """Those that ended between evaluations; the others go on without them."""
        told, self.ended = self.ended, []
        self._keep_all_but({trial for trial, _ in told})
        return told

    def _keep_all_but(self, ended: set[str]) -> None:
        rows = [row for row, m in enumerate(self.stack.members) if m.trial.id not in ended]
        if len(rows) == len(self.stack.members):
            return
        if not rows:
            self.stack.members = []
            return
        index = torch.tensor(rows, device=self.device)
        self.losses = [losses.index_select(0, index.to(losses.device)) for losses in self.losses]
        self.norms = None if self.norms is None else self.norms.index_select(0, index)
        self.stack.keep(rows)

    def _due(self, step: int) -> bool:
        session, progress = self.stack.session, self.stack.members[0].progress
        every = session.trial.workload.evaluate.every
        interval = every.value * (session.training_batches.steps_per_epoch if every.unit == "epochs" else 1)
        return step >= max(1, round((progress.evaluations + 1) * interval))

    def _evaluation(self) -> Told:
        """The record of every trial; those that diverged end here."""
        told = self._taken_out()
        self._note_state()
        lost = [
            (member.trial.id, self._finished(member, "diverged", detail, state=True))
            for member, interval in self._intervals()
            if (detail := diverged(member, interval))
        ]
        self._keep_all_but({trial for trial, _ in lost})
        told += lost
        if not self.stack.members:
            return told
        intervals = self._intervals()
        needs_test = any(t.split == "test" for t in self.stack.session.trial.workload.target)
        watch = Stopwatch()
        with watch:
            validation = measure(self.stack, "validation")
            test = measure(self.stack, "test") if needs_test else None
        ended = set()
        for row, (member, interval) in enumerate(intervals):
            progress, metrics = member.progress, {"validation": validation[row]}
            if test is not None:
                metrics["test"] = test[row]
            progress.evaluating.seconds += watch.seconds / len(intervals)
            event = self._evaluated(member, interval, metrics)
            ended |= {member.trial.id} if isinstance(event, Finished) else set()
            told.append((member.trial.id, event))
        self.losses, self.norms = [], None
        self._keep_all_but(ended)
        return told

    def _evaluated(self, member: Member, interval: IntervalSummary, metrics: Metrics) -> Event:
        session, progress = member.session, member.progress
        progress.note_best(session, metrics["validation"])
        session.rates.observe(metrics["validation"]["loss"])
        progress.statistics.restart(self.step)
        progress.evaluations += 1
        progress.rises += interval.rises
        if not math.isfinite(metrics["validation"]["loss"]):
            detail = f"validation loss not finite after step {self.step}"
            return self._finished(member, "diverged", detail, state=True)
        return trial_records.evaluated(session, progress, interval, metrics)

    def _note_state(self) -> None:
        self.stack.publish()
        for member in self.stack.members:
            note_state(member)

    def _intervals(self) -> list[tuple[Member, IntervalSummary]]:
        """What the steps since the last evaluation came to, for each trial."""
        self._hand_out()
        return [(member, member.progress.statistics.read()) for member in self.stack.members]

    def _hand_out(self) -> None:
        """Give each trial's tally its column of what the steps left."""
        members = self.stack.members
        columns = torch.stack([losses.double() for losses in self.losses]).cpu() if self.losses else None
        norms = self.norms.double().cpu() if self.norms is not None else None
        for row, member in enumerate(members):
            member.progress.statistics.losses = list(columns[:, row].unbind()) if columns is not None else []
            member.progress.statistics.norms = [norms[row]] if norms is not None else []

    def _completed(self) -> Told:
        """Test metrics of all at their last and at their best weights."""
        stack, watch = self.stack, Stopwatch()
        with watch:
            last = measure(stack, "test")
        self._note_state()
        best = last
        if any(m.progress.best is not None and m.progress.best.step != self.step for m in stack.members):
            with watch:
                for member in stack.members:
                    if member.progress.best is not None:
                        member.session.model.load_state_dict(member.progress.best.weights)
                best = measure(stack, "test")
        told: Told = []
        for row, member in enumerate(stack.members):
            member.progress.evaluating.seconds += watch.seconds / len(stack.members)
            final = {"last": last[row]}
            if member.progress.best is not None:
                final["best_validation"] = best[row]
            told.append((member.trial.id, self._finished(member, "completed", final=final, state=True)))
        return told

    def _all_finished(self, status: Status, detail: str) -> Told:
        return [(member.trial.id, self._finished(member, status, detail)) for member in self.stack.members]

    def _finished(
        self,
        member: Member,
        status: Status,
        detail: str = "",
        *,
        at_fault: Fault = "",
        final: dict[str, dict[str, float]] | None = None,
        state: bool = False,
    ) -> Finished:
        """`state`: with the size of the optimizer's state, as last measured."""
        held = member.progress.state_memory if state else NOTHING
        share = Stopwatch(self.setting_up.seconds / len(self.trials))
        told = trial_records.finished(
            member.progress, share, status, detail, at_fault=at_fault, final=final, memory=(held.bytes, None)
        )
        self.monitor.sample()
        return replace(
            told,
            state_note=held.note,
            resume_note=self.check.problem,
            gradient_evaluations=member.session.gradient_evaluations,
            data_wait_seconds=member.progress.data_wait + member.session.training_batches.data_wait_seconds,
            resources=self.monitor.summary(),
        )

    def _signs(self) -> Told:
        """One for each entry: enough for a display."""
        one = {member.trial.label: member for member in self.stack.members}
        note = self.check.take_news()
        return [
            (m.trial.id, Progressed(self.step, m.progress.clock.train_seconds, note)) for m in one.values()
        ]

    def _save(self) -> None:
        if self.checkpoint is not None and self.check.passes():
            self._hand_out()
            saved.save(self.checkpoint, self.stack, self.step, self.check)

    def _restore(self, state: dict[str, Any]) -> bool:
        losses = saved.restore(self.stack, state)
        if losses is None:
            return False
        self.step, self.losses = int(state["step"]), losses
        return True


__all__ = ["CannotStack", "Told", "train_stack"]
