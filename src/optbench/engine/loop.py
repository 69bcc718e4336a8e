"""Train and measure one trial: a generator of events. It writes no files except checkpoints, and prints nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import torch
from msgspec.structs import replace

from optbench.engine import checkpoint as checkpoints
from optbench.engine import trial_records
from optbench.engine.clock import Stopwatch, now
from optbench.engine.compile_warmup import compile_outside_the_clock
from optbench.engine.data_parallel import check_equal, distribute
from optbench.engine.environment import environment
from optbench.engine.evaluate import evaluation_mode, measure, position_of
from optbench.engine.gradient_noise import GradientNoise, gradient_noise
from optbench.engine.memory import allocator_message, is_out_of_memory, peak_of
from optbench.engine.optimizers import OptimizerFault
from optbench.engine.parameter_statistics import StepMeasurement, largest_embedding_norm
from optbench.engine.progress import Progress
from optbench.engine.ranks import ALONE, Ranks, is_connection_loss
from optbench.engine.session import Session, SplitName, prepare
from optbench.engine.stepper import Stepper
from optbench.engine.trial_checkpoints import TrialCheckpoints
from optbench.engine.update_check import check_moved, snapshot
from optbench.engine.utilisation import Monitor
from optbench.errors import OptbenchError, is_user_interrupt
from optbench.events import Event, Fault, Finished, Metrics, Progressed, Resumed, Status
from optbench.suite.tuning import is_past_rung
from optbench.suite.types import Trial

CHECKPOINT_SECONDS = 30.0  # between checkpoints; resuming is exact at any step
PROGRESS_SECONDS = 0.25  # between progress events
CHECKED_STEPS = (1, 8, 64)  # resumability is checked after these, later before each checkpoint
EVALUATION_SECONDS = 3.0  # time that an evaluation may take to finish after a stop request; then it is aborted and repeated later


def train(
    trial: Trial,
    device: torch.device,
    *,
    data_root: Path,
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ranks: Ranks = ALONE,
) -> Iterator[Event]:
    """Train `trial` on `device`: `Started` or `Resumed`, then `Evaluated`..., then exactly one `Finished`.

    Store each event before requesting the next: a checkpoint is written only after the records before it are stored. A trial with a
    checkpoint resumes from it and may repeat evaluations that are already stored; these are identified by their step. When
    `should_stop()` returns True, the trial ends at the next step as `interrupted`, with a checkpoint of that step.
    With several ranks, call it on all of them with the same arguments; the events and the requests to stop of rank 0 count.
    Raises `OptbenchError`, after `Finished`, if no checkpoint can be written: no other trial could continue either.
    """
    run = _Run(trial, device, checkpoint, should_stop, checkpoint_seconds, ranks)
    try:
        yield from run.events(data_root)
    except OptimizerFault as fault:
        yield run.failed(fault)
    except checkpoints.NoSpace as error:
        yield run.finished("interrupted", str(error), "infrastructure")
        raise
    except OptbenchError as error:
        yield run.finished("failed", str(error))
    except BaseException as error:
        if isinstance(error, GeneratorExit) or is_user_interrupt(error):
            raise
        if is_out_of_memory(error):
            yield run.finished("out_of_memory", allocator_message(error))
        elif checkpoints.is_disk_full(error):
            yield run.finished("interrupted", f"the disk is full: {error}", "infrastructure")
            raise OptbenchError(
                f"the disk is full ({error}): make space and run the same command again"
            ) from error
        else:
            is_infrastructure = isinstance(error, OSError) or is_connection_loss(error)
            blame: Fault = "infrastructure" if is_infrastructure else ""
            yield run.finished("failed", trial_records.failure(error, trial), at_fault=blame)


_STOP, _SAVE = 1, 2


def is_rung(trial: Trial, step: int, steps: int | None) -> bool:
    """Return whether the trial is paused after the evaluation at this step, of `steps` in all. At step 0 nothing was evaluated."""
    if trial.rung is None or steps is None:
        return False
    return is_past_rung(step, trial.rung, steps) and step < steps


def is_evaluation_due(session: Session, evaluations: int, step: int) -> bool:
    """Return whether the metrics are measured after `step` steps, if they were measured `evaluations` times before."""
    every = session.trial.workload.evaluate.every
    interval = every.value * (session.training_batches.steps_per_epoch if every.unit == "epochs" else 1)
    return step >= max(1, round((evaluations + 1) * interval))


class _EvaluationAborted(Exception):
    """An evaluation was aborted because of a stop request."""


class _Run:
    """State of one call of `train`: the session, its progress, and when to evaluate, to save and to stop."""

    def __init__(
        self,
        trial: Trial,
        device: torch.device,
        checkpoint: Path | None,
        should_stop: Callable[[], bool],
        checkpoint_seconds: float,
        ranks: Ranks,
    ) -> None:
        self.trial, self.device, self.ranks = trial, device, ranks
        self.checkpoints = TrialCheckpoints(checkpoint, trial.id)
        self.should_stop, self.checkpoint_seconds = should_stop, checkpoint_seconds
        self.progress = Progress.of(trial, device)
        self.setup = Stopwatch()
        self.compile_seconds = 0.0
        self.exact = True  # whether training could resume exactly from a checkpoint taken now
        self.stop_requested_at: float | None = None
        self.monitor = Monitor(device)
        self.final_noise: GradientNoise | None = None
        self.embedding_norm_max: float | None = None
        self.state_note = ""

    def events(self, data_root: Path) -> Iterator[Event]:
        """Yield the events of `train`, except the last one of a trial that raises."""
        with self.setup:
            self._set_up(data_root)
            resumed = self._resume(data_root)
            session = self.session
            noise = None if resumed else self._noise()
            session.training_batches.seek(self.progress.step)
        yield self._resumed() if resumed else trial_records.started(session, self.device, noise)
        if self.checkpoints.message:
            yield self._progressed()
        session.model.train()
        session.optimizers.train()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        with self.monitor.running(), closing(session.training_batches):
            yield from self._training()

    def _set_up(self, data_root: Path) -> None:
        """Create a new session."""
        session = prepare(self.trial, self.device, data_root, self.ranks)
        self.session, self.stepper = session, Stepper(session)
        self.progress = Progress.of(self.trial, self.device)
        self.compile_seconds = compile_outside_the_clock(session, data_root)
        if self.ranks.size > 1:
            distribute(session)
        self.checkpoints.set_session(session)

    def _resume(self, data_root: Path) -> bool:
        """Restore the state of the checkpoint, if there is a usable one; otherwise the session is in its state at step 0."""
        state = self.checkpoints.read()
        all_ranks_have_state = all(self.ranks.gather(state is not None))
        if state is None or not all_ranks_have_state:
            return False
        problem = ""
        try:
            self.progress.restore(self.session, state)
            self.checkpoints.resumed(self.progress, state)
        except Exception as error:  # the content may be damaged in any way
            if is_out_of_memory(error):
                raise
            problem = f"its content does not fit ({type(error).__name__})"
        if any(problems := self.ranks.gather(problem)):
            self.checkpoints.refuse(max(problems))
            self._set_up(data_root)
            return False
        return True

    def _training(self) -> Iterator[Event]:
        try:
            yield from self._steps()
        except _EvaluationAborted:
            if self.exact:
                self._save()
            position = f"in the evaluation after step {self.progress.step}"
            yield self.finished("interrupted", f"stopped on request {position}{self.checkpoints.consequence}")

    def _steps(self) -> Iterator[Event]:
        progress, clock = self.progress, self.progress.clock
        last_progress = last_checkpoint = now()
        spent = self._spent()
        due = progress.step > progress.statistics.first_step and (
            spent or self._is_evaluation_due(progress.step)
        )
        clock.start()
        while due or not spent:
            if not due and is_rung(self.trial, progress.statistics.first_step, self.session.steps):
                clock.pause()
                self._save()
                yield self.finished(
                    "paused", f"paused after step {progress.step}: other trials may be better"
                )
                return
            if not due:
                self._step()
                if progress.step.bit_count() == 1:  # state may be freed before the first evaluation
                    with clock.paused():
                        progress.update_state_memory(self.session)
                        self._check_resumable()
                        if self.checkpoints.message:
                            yield self._progressed()
                spent = self._spent()
                due = spent or self._is_evaluation_due(progress.step)
            if due:
                clock.pause()
                ended = yield from self._evaluation()
                if ended is not None:
                    yield ended
                    return
                due = False
                last_progress = now()
                clock.start()
            action = self.ranks.decide(partial(self._next_action, last_checkpoint, spent))
            if action == _STOP:
                clock.pause()
                self._save()
                detail = f"stopped on request after step {progress.step}{self.checkpoints.consequence}"
                yield self.finished("interrupted", detail)
                return
            if action == _SAVE:
                with clock.paused():
                    self._save()
                    if self.checkpoints.message:
                        yield self._progressed()
                    last_checkpoint = now()
            if now() - last_progress > PROGRESS_SECONDS:
                with clock.paused():
                    yield self._progressed()
                    last_progress = now()
        clock.pause()
        yield self._completed()

    def _next_action(self, last_checkpoint: float, spent: bool) -> int:
        """Return what to do after a step: stop, save a checkpoint, or nothing."""
        if not spent and self.should_stop():
            return _STOP
        return _SAVE if now() - last_checkpoint > self.checkpoint_seconds else 0

    def _step(self) -> None:
        session, progress = self.session, self.progress
        if progress.moved and self.stepper.ready:
            with progress.clock.paused(), self.setup:
                self.stepper.capture()
        before, measurement = snapshot(session, progress), None
        is_last_of_interval = self._is_evaluation_due(progress.step + 1) or progress.step + 1 == session.steps
        want_norm = is_last_of_interval or "gradients" in self.trial.workload.study
        if is_last_of_interval and "parameters" in self.trial.workload.study:
            with progress.clock.paused():
                measurement = StepMeasurement(session)
        facts = self.stepper.step(progress.step, progress.step - progress.skipped, want_norm)
        progress.statistics.add(facts)
        progress.step += 1
        if measurement is not None:
            with progress.clock.paused():
                progress.parameters = measurement.read()
        if before is not None:
            with progress.clock.paused():
                ended = self._spent()
                evaluated = progress.evaluations > 0 or self._is_evaluation_due(progress.step)
                check_moved(session, progress, before, facts, evaluated=evaluated, ended=ended)

    def _spent(self) -> bool:
        if self.session.steps is not None:
            return self.progress.step >= self.session.steps
        [seconds] = self.ranks.numbers_of_first(self.progress.clock.train_seconds)
        return seconds >= self.trial.workload.budget.value

    def _is_evaluation_due(self, step: int) -> bool:
        return is_evaluation_due(self.session, self.progress.evaluations, step)

    def _evaluation(self) -> Generator[Event, None, Finished | None]:
        """Evaluate and yield the record; return the final record if the trial ends here."""
        session, progress = self.session, self.progress
        progress.statistics.combine(self.ranks)
        interval = progress.statistics.read()
        progress.update_state_memory(session)
        # the trial may end here, and measuring its step resets the peak
        progress.update_peak_memory(self.device)
        if interval.bad_step is not None:
            bound = self.trial.workload.loss_bound
            detail = f"training loss not finite or above {bound:g} at step {interval.bad_step + 1}"
            return self.finished("diverged", detail, memory=self._memory())
        check_equal(session, progress.step)
        targets = self.trial.workload.target
        metrics: Metrics = {}
        with self._evaluating(), evaluation_mode(session):
            metrics["validation"] = self._measure("validation")
            if any(target.split == "test" for target in targets):
                metrics["test"] = self._measure("test")
            metrics |= position_of(session)
            progress.update_best(session, metrics["validation"])
        session.rates.observe(metrics["validation"]["loss"])
        progress.statistics.restart(progress.step)
        progress.evaluations += 1
        progress.clipped += interval.clipped
        progress.skipped += interval.skipped
        progress.rises += interval.rises
        if "gradients" in self.trial.workload.study:
            progress.gradients.add(interval.norms, interval.mean_loss)
        if not math.isfinite(metrics["validation"]["loss"]):
            detail = f"validation loss not finite after step {progress.step}"
            return self.finished("diverged", detail, memory=self._memory())
        record = trial_records.evaluated(session, progress, interval, metrics)
        progress.parameters = {}
        yield record
        if self.trial.workload.stop_at_target and all(t.holds(metrics[t.split][t.metric]) for t in targets):
            return self.finished("stopped", "every target was reached", memory=self._memory())
        return None

    def _measure(self, split: SplitName) -> dict[str, float]:
        """Return the metrics of a split, measured by rank 0 with the weights that all ranks have, or by all ranks if they are split."""

        def measured() -> dict[str, float]:
            return measure(self.session, split, self._abort_if_stopping)

        if self.session.is_split:
            of_rank = measured()
            return self.ranks.compute_on_first(lambda: of_rank)  # type: ignore[no-any-return]
        return self.ranks.compute_on_first(measured, (_EvaluationAborted,))  # type: ignore[no-any-return]

    def _noise(self) -> GradientNoise | None:
        return gradient_noise(self.session) if "noise" in self.trial.workload.study else None

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Time an evaluation. If it is aborted, restore the random state, so that it can be repeated."""
        before = checkpoints.random_state(self.device)
        # Switching to eval mode and back rounds the weights, which must happen once: a resumed trial uses an earlier checkpoint.
        exact, self.exact = self.exact, self.exact and not self.session.optimizers.has_modes
        try:
            with self.progress.evaluating:
                yield
        except _EvaluationAborted:
            checkpoints.restore_random_state(before, self.device)
            raise
        self.exact = exact

    def _abort_if_stopping(self) -> None:
        """Called between the batches of an evaluation: abort it `EVALUATION_SECONDS` after a stop request."""
        aborts: float = False
        if self.should_stop():
            self.stop_requested_at = self.stop_requested_at or now()
            aborts = now() - self.stop_requested_at > EVALUATION_SECONDS
        if self.session.is_split:
            [aborts] = self.ranks.numbers_of_first(aborts)
        if aborts:
            raise _EvaluationAborted

    def _completed(self) -> Finished:
        """Measure test metrics for both estimands, then memory, whose extra steps must come after the last use of the weights."""
        session, progress, final = self.session, self.progress, {}
        progress.update_peak_memory(self.device)
        self.final_noise = self._noise()
        self.embedding_norm_max = largest_embedding_norm(session.model)
        with self._evaluating(), evaluation_mode(session):
            final["last"] = self._measure("test")
        memory = self._memory()
        if (
            progress.best is not None
            and progress.best.step == progress.step
            and not session.optimizers.has_modes
        ):
            final["best_validation"] = dict(final["last"])  # the same weights
        elif progress.best is not None:
            session.load_weights(progress.best.weights)
            session.model.eval()
            with self._evaluating():
                final["best_validation"] = self._measure("test")
        return self.finished("completed", final=final, memory=memory)

    def _memory(self) -> tuple[int | None, int | None]:
        """Return the maximum bytes of optimizer state, and the transient bytes of one more `step()` on the last gradients.

        None where unknown. Takes two more steps: nothing may use the weights afterwards.
        """
        session, self.exact = self.session, False
        self.progress.update_state_memory(session)
        state_bytes, self.state_note = self.progress.state_memory.bytes, self.progress.state_memory.note
        if self.ranks.size > 1:
            known = [one for one in self.ranks.gather(state_bytes) if one is not None]
            state_bytes = max(known, default=None)
        loss = torch.zeros((), device=self.device)
        closure = (lambda: loss) if session.optimizers.needs_closure else None
        try:
            return state_bytes, peak_of(lambda: session.optimizers.step(closure), self.device, rehearsals=1)
        except Exception:  # a measurement must not fail the trial
            return state_bytes, None

    def _resumed(self) -> Resumed:
        facts = environment(self.device, self.trial.folder, self.ranks.threads)
        return Resumed(self.progress.step, self.ranks.with_nodes(facts))

    def failed(self, fault: OptimizerFault) -> Finished:
        """Return the record of a fault of the optimizer, unless its step failed because a setting of the entry is missing."""
        setting = self.session.optimizers.missing_setting(fault) if hasattr(self, "session") else ""
        if setting:
            return self.finished("failed", setting)
        cause = fault.__cause__ or fault
        blame: Fault = "infrastructure" if is_connection_loss(cause) else "optimizer"
        return self.finished("failed", trial_records.failure(cause, self.trial), at_fault=blame)

    def finished(
        self,
        status: Status,
        detail: str = "",
        at_fault: Fault = "",
        final: dict[str, dict[str, float]] | None = None,
        memory: tuple[int | None, int | None] = (None, None),
    ) -> Finished:
        """Return the record of the trial's end; for arguments see `trial_records.finished`. The session may not exist yet."""
        if status in ("out_of_memory", "failed", "interrupted") and hasattr(self, "session"):
            self.progress.update_peak_memory(self.device)
        record = trial_records.finished(
            self.progress, self.setup, status, detail, at_fault=at_fault, final=final, memory=memory
        )
        if not hasattr(self, "session"):
            return record
        self.monitor.sample()
        return replace(
            record,
            gradient_evaluations=self.session.gradient_evaluations,
            gradient_noise=self.final_noise.scale if self.final_noise else None,
            gradient_variance=self.final_noise.variance if self.final_noise else None,
            embedding_norm_max=self.embedding_norm_max,
            state_note=self.state_note,
            resume_note=self.checkpoints.problem,
            compile_seconds=self.compile_seconds or None,
            data_wait_seconds=self.progress.data_wait + self.session.training_batches.data_wait_seconds,
            captured=self.stepper.scope,
            capture_note=self.stepper.note,
            resources=self.monitor.summary(),
        )

    def _save(self) -> None:
        self.progress.update_peak_memory(self.device)
        self.checkpoints.save(self.progress)
        self._reset_peak()

    def _check_resumable(self) -> None:
        if self.progress.step in CHECKED_STEPS:
            self.progress.update_peak_memory(self.device)
            self.checkpoints.check()
            self._reset_peak()

    def _reset_peak(self) -> None:
        """Reset the allocator's peak after a check, which builds a second optimizer that is not part of training."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def _progressed(self) -> Progressed:
        return Progressed(
            self.progress.step, self.progress.clock.train_seconds, self.checkpoints.take_message()
        )
