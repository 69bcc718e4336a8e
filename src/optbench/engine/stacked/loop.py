"""Training loop of stacked trials: a generator of their events. Like `engine.loop`, it writes no files except checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor

from optbench.engine import trial_records
from optbench.engine.clock import Stopwatch, now
from optbench.engine.environment import environment
from optbench.engine.loop import (
    CHECKED_STEPS,
    CHECKPOINT_SECONDS,
    PROGRESS_SECONDS,
    is_evaluation_due,
    is_rung,
)
from optbench.engine.optimizers import OptimizerFault
from optbench.engine.stacked import checkpoint as checkpoints
from optbench.engine.stacked.evaluate import measure
from optbench.engine.stacked.member_checks import (
    describe_divergence,
    find_update_fault,
    gradient_norms,
    update_state_memory,
)
from optbench.engine.stacked.stack import CannotStack, Member, Stack
from optbench.engine.state_memory import NOT_MEASURED
from optbench.engine.step_statistics import IntervalSummary
from optbench.engine.utilisation import Monitor
from optbench.events import Event, Fault, Finished, Metrics, Progressed, Resumed, Status
from optbench.suite.types import Trial

#: events of some of the trials, each with the trial's id
TrialEvents = list[tuple[str, Event]]


def train_stack(
    trials: Sequence[Trial],
    device: torch.device,
    *,
    data_root: Path,
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Iterator[TrialEvents]:
    """Train trials of one workload, batch size and precision together, and yield lists of the events that `engine.loop.train` yields.

    The caller stores each list before it requests the next. Training resumes from `checkpoint` if that exists and contains all of the
    trials. A trial that diverges, or whose optimizer raises, ends; the others continue. Raises `CannotStack` before the first event if
    the trials cannot be stacked, and errors that end all of them: out of memory, a full disk, a wrong suite.
    """
    run = _Run(trials, device, checkpoint, should_stop, checkpoint_seconds)
    yield from run.events(data_root)


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
        self.setup_time = Stopwatch()
        self.monitor = Monitor(device)
        self.losses: list[Tensor] = []  # per step since the last evaluation, (trials,)
        self.norms: Tensor | None = None  # gradient norms of the last step, (trials,)
        self.step = 0
        self.ended: TrialEvents = []  # trials that ended between evaluations because of a fault

    def events(self, data_root: Path) -> Iterator[TrialEvents]:
        """Yield the events of `train_stack`."""
        with self.setup_time:
            self._set_up(data_root)
            state = checkpoints.load(self.checkpoint, self.stack)
            resumed = state is not None and self._restore(state)
            if state is not None and not resumed:
                self._set_up(data_root)
        run_environment = environment(self.device, self.trials[0].folder)
        run_environment |= {"engine": "stacked", "stack": len(self.trials)}
        if resumed:
            yield [(m.trial.id, Resumed(self.step, run_environment)) for m in self.stack.members]
        else:
            yield self._started(run_environment)
        for member in self.stack.members:
            member.session.model.train()
        with self.monitor.running():
            yield from self._training()

    def _set_up(self, data_root: Path) -> None:
        self.stack = Stack(self.trials, self.device, data_root)
        self.check = checkpoints.StackCheck(self.stack)

    def _started(self, run_environment: dict[str, Any]) -> TrialEvents:
        first = trial_records.started(self.stack.session, self.device, None)
        return [
            (
                member.trial.id,
                replace(
                    first,
                    environment=run_environment,
                    initial_weights=member.session.initial_weights,
                    hyperparameters=member.session.optimizers.hyperparameters(),
                ),
            )
            for member in self.stack.members
        ]

    def _training(self) -> Iterator[TrialEvents]:
        stack, clock = self.stack, self.stack.clock
        steps = stack.session.steps
        assert steps is not None  # stacks are planned only for budgets that fix the number of steps
        last_progress = last_checkpoint = now()
        due = self.step == steps  # the checkpoint may be from just before the last evaluation
        clock.start()
        while due or self.step < steps:
            last_evaluation = stack.members[0].progress.statistics.first_step
            if not due and is_rung(stack.session.trial, last_evaluation, steps):
                clock.pause()
                self._save()
                yield self._all_finished(
                    "paused", f"paused after step {self.step}: other trials may be better"
                )
                return
            if not due:
                self._step(want_norm=self._is_evaluation_due(self.step + 1) or self.step + 1 == steps)
                if self.step.bit_count() == 1:  # state may be freed before the first evaluation
                    with clock.paused():
                        self._update_state_memory()
                        if self.step in CHECKED_STEPS and not self.check.passes() and self.check.message:
                            yield self._progress()
                due = self._is_evaluation_due(self.step) or self.step == steps
            if due or self.ended:
                clock.pause()
                if due:
                    yield self._evaluation()
                else:
                    yield self._remove_ended()
                if not stack.members:
                    return
                due, last_progress = False, now()
                clock.start()
            if self.step < steps and self.should_stop():
                clock.pause()
                self._save()
                note = f"; it is not checkpointed ({self.check.problem})" if self.check.blocked else ""
                yield self._all_finished("interrupted", f"stopped on request after step {self.step}{note}")
                return
            if now() - last_checkpoint > self.checkpoint_seconds:
                with clock.paused():
                    self._save()
                    last_checkpoint = now()
            if now() - last_progress > PROGRESS_SECONDS:
                with clock.paused():
                    yield self._progress()
                    last_progress = now()
        clock.pause()
        yield self._completed()

    def _step(self, want_norm: bool) -> None:
        stack = self.stack
        all_moved = all(member.progress.moved for member in stack.members)
        before = None if all_moved else {n: p.detach().clone() for n, p in stack.parameters.items()}
        inputs, labels = stack.batch(self.step)
        for member in stack.members:
            member.session.rates.apply(self.step)
        with stack.session.precision.autocast(self.device):
            losses = stack.losses(stack.forward(stack.parameters, inputs), labels)
        by_parameter = torch.autograd.grad(losses.sum(), list(stack.parameters.values()))
        gradients = dict(zip(stack.parameters, by_parameter, strict=True))
        self.losses.append(losses.detach())
        self.norms = gradient_norms(gradients) if want_norm else None
        faults = stack.step(gradients)
        self.step += 1
        for row, member in enumerate(stack.members):
            member.progress.step = self.step
            member.session.gradient_evaluations += 1
            if before is not None and not member.progress.moved and row not in faults:
                evaluated = member.progress.evaluations > 0 or self._is_evaluation_due(self.step)
                weights_before = {n: t[row] for n, t in before.items()}
                fault = find_update_fault(member, weights_before, gradients, row, evaluated=evaluated)
                faults |= {row: fault} if fault else {}
        for row, fault in faults.items():
            self._fail(row, fault)

    def _fail(self, row: int, fault: OptimizerFault) -> None:
        member = self.stack.members[row]
        detail = trial_records.failure(fault.__cause__ or fault, member.trial)
        self.ended.append((member.trial.id, self._finished(member, "failed", detail, at_fault="optimizer")))

    def _remove_ended(self) -> TrialEvents:
        """Remove the trials that ended between evaluations from the stack, and return their last events."""
        events, self.ended = self.ended, []
        self._remove({trial for trial, _ in events})
        return events

    def _remove(self, ended: set[str]) -> None:
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

    def _is_evaluation_due(self, step: int) -> bool:
        return is_evaluation_due(self.stack.session, self.stack.members[0].progress.evaluations, step)

    def _evaluation(self) -> TrialEvents:
        """Evaluate all trials and return their events; diverged trials end."""
        events = self._remove_ended()
        self._update_state_memory()
        ends = [
            (member.trial.id, self._finished(member, "diverged", detail, state=True))
            for member, interval in self._intervals()
            if (detail := describe_divergence(member, interval))
        ]
        self._remove({trial for trial, _ in ends})
        events += ends
        if not self.stack.members:
            return events
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
            events.append((member.trial.id, event))
        self.losses, self.norms = [], None
        self._remove(ended)
        return events

    def _evaluated(self, member: Member, interval: IntervalSummary, metrics: Metrics) -> Event:
        session, progress = member.session, member.progress
        progress.update_best(session, metrics["validation"])
        session.rates.observe(metrics["validation"]["loss"])
        progress.statistics.restart(self.step)
        progress.evaluations += 1
        progress.rises += interval.rises
        if not math.isfinite(metrics["validation"]["loss"]):
            detail = f"validation loss not finite after step {self.step}"
            return self._finished(member, "diverged", detail, state=True)
        return trial_records.evaluated(session, progress, interval, metrics)

    def _update_state_memory(self) -> None:
        self.stack.write_back_state()
        for alike in self.stack.stepped_together():
            update_state_memory(alike)

    def _intervals(self) -> list[tuple[Member, IntervalSummary]]:
        """Return the summary of the steps since the last evaluation, per trial."""
        self._distribute_losses()
        return [(member, member.progress.statistics.read()) for member in self.stack.members]

    def _distribute_losses(self) -> None:
        """Set each trial's losses and gradient norm in its statistics."""
        members = self.stack.members
        columns = torch.stack([losses.double() for losses in self.losses]).cpu() if self.losses else None
        norms = self.norms.double().cpu() if self.norms is not None else None
        for row, member in enumerate(members):
            member.progress.statistics.losses = list(columns[:, row].unbind()) if columns is not None else []
            member.progress.statistics.norms = [norms[row]] if norms is not None else []

    def _completed(self) -> TrialEvents:
        """Return the final events, with test metrics at the last and at the best weights."""
        stack, watch = self.stack, Stopwatch()
        with watch:
            last = measure(stack, "test")
        self._update_state_memory()
        best = last
        if any(m.progress.best is not None and m.progress.best.step != self.step for m in stack.members):
            with watch:
                for member in stack.members:
                    if member.progress.best is not None:
                        member.session.model.load_state_dict(member.progress.best.weights)
                best = measure(stack, "test")
        events: TrialEvents = []
        for row, member in enumerate(stack.members):
            member.progress.evaluating.seconds += watch.seconds / len(stack.members)
            final = {"last": last[row]}
            if member.progress.best is not None:
                final["best_validation"] = best[row]
            events.append((member.trial.id, self._finished(member, "completed", final=final, state=True)))
        return events

    def _all_finished(self, status: Status, detail: str) -> TrialEvents:
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
        """Return the last event of a trial. `state`: include the last measured size of the optimizer's state."""
        memory = member.progress.state_memory if state else NOT_MEASURED
        share = Stopwatch(self.setup_time.seconds / len(self.trials))
        finished = trial_records.finished(
            member.progress,
            share,
            status,
            detail,
            at_fault=at_fault,
            final=final,
            memory=(memory.bytes, None),
        )
        self.monitor.sample()
        return replace(
            finished,
            state_note=memory.note,
            resume_note=self.check.problem,
            gradient_evaluations=member.session.gradient_evaluations,
            data_wait_seconds=member.progress.data_wait + member.session.training_batches.data_wait_seconds,
            resources=self.monitor.summary(),
        )

    def _progress(self) -> TrialEvents:
        """Return a progress event for one trial per entry, which is enough for a display."""
        member_by_label = {member.trial.label: member for member in self.stack.members}
        note = self.check.take_message()
        return [
            (m.trial.id, Progressed(self.step, m.progress.clock.train_seconds, note))
            for m in member_by_label.values()
        ]

    def _save(self) -> None:
        if self.checkpoint is not None and self.check.passes():
            self._distribute_losses()
            checkpoints.save(self.checkpoint, self.stack, self.step, self.check)

    def _restore(self, state: dict[str, Any]) -> bool:
        losses = checkpoints.restore(self.stack, state)
        if losses is None:
            return False
        self.step, self.losses = int(state["step"]), losses
        return True


__all__ = ["CannotStack", "TrialEvents", "train_stack"]
