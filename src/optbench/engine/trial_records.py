"""Build the records of a trial (`Started`, `Evaluated`, `Finished`) from its session and progress."""

from __future__ import annotations

import traceback
from pathlib import Path
from statistics import median

import torch

from optbench.catalog.optimizers import _packages as facts
from optbench.engine.clock import Stopwatch
from optbench.engine.environment import environment
from optbench.engine.gradient_noise import GradientNoise
from optbench.engine.optimizers import OptimizerFault
from optbench.engine.progress import Progress
from optbench.engine.session import Session
from optbench.engine.step_statistics import IntervalSummary
from optbench.events import PARAMETERS, Evaluated, Fault, Finished, Metrics, Started, Status, reason_of
from optbench.suite.types import Trial

_MAX_TRACEBACK, _MAX_PART = 20_000, 4_000


def format_traceback(error: BaseException) -> str:
    """Return the traceback in at most about 20,000 characters: the last frames, and the beginning of a long message."""
    parts = [
        part if len(part) <= _MAX_PART else f"{part[:_MAX_PART]}...\n"
        for part in traceback.format_exception(error)
    ]
    text = "".join(parts)
    if len(text) <= _MAX_TRACEBACK:
        return text
    end = text[-_MAX_TRACEBACK:].partition("\n")[2]
    return f"Traceback (most recent call last):\n  ...\n{end}"


def failure(error: BaseException, trial: Trial) -> str:
    """Return the traceback, after a line with the exception and the line of the suite's own file that raised it, if any did."""
    if isinstance(error, OptimizerFault):  # found by optbench, not raised by the optimizer
        return str(error)
    text = format_traceback(error)
    files = {str((Path(trial.folder) / file).absolute()): file for file in trial.sources}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if not frames:
        return text
    kind, colon, message = reason_of(text).partition(": ")
    return f"{kind} in {files[frames[-1].filename]}, line {frames[-1].lineno}{colon}{message}\n{text}"


def started(session: Session, device: torch.device, noise: GradientNoise | None) -> Started:
    """Return the record of what is known before the first step. `noise` is None if it was not measured."""
    info, tensors = session.splits.info, session.parameters
    return Started(
        environment=session.ranks.with_nodes(
            environment(device, session.trial.folder, session.ranks.threads)
        ),
        parameters=sum(t.numel() for t in tensors),
        parameter_bytes=sum(t.numel() * t.element_size() for t in tensors),
        initial_weights=session.initial_weights,
        hyperparameters=session.optimizers.hyperparameters(),
        splits={"train": info.train, "validation": info.validation, "test": info.test},
        steps=session.steps,
        steps_per_epoch=session.training_batches.steps_per_epoch,
        precision=session.precision.name,
        activation_bytes=session.costs.activation_bytes,
        step_flops=session.costs.flops,
        memory_format=session.memory_format,
        gradient_noise=noise.scale if noise else None,
        gradient_variance=noise.variance if noise else None,
        data_checksum=session.splits.checksum,
        data_notes="\n".join(session.splits.notes),
        rate_note=_rate_note(session),
    )


def _rate_note(session: Session) -> str:
    """Return that the schedule of a class outside of torch and the measured packages has no effect, by steps on a toy problem."""
    schedule, [use, *others] = session.trial.entry.schedule, [r.use for r in session.trial.entry.rules]
    if schedule is None or schedule.name == "constant" or others or use.partition(".")[0] in facts.MEASURED:
        return ""
    if "." not in use or not session.optimizers.ignores_rate():
        return ""
    return f"steps do not depend on the learning rate: the schedule '{schedule.name}' has no effect"


def evaluated(session: Session, progress: Progress, interval: IntervalSummary, metrics: Metrics) -> Evaluated:
    """Return the record of one evaluation; `interval` covers the steps since the last one, which `progress` already includes."""
    monitor = progress.gradients if "gradients" in session.trial.workload.study else None
    return Evaluated(
        step=progress.step,
        epoch=progress.step / session.training_batches.steps_per_epoch,
        samples=progress.step * session.training_batches.batch_size,
        train_seconds=progress.clock.train_seconds,
        cpu_seconds=progress.clock.cpu_seconds,
        evaluation_seconds=progress.evaluating.seconds,
        train_loss=interval.mean_loss,
        learning_rate=session.optimizers.rate,
        metrics=metrics | ({PARAMETERS: progress.parameters} if progress.parameters else {}),
        gradient_norm=interval.gradient_norm,
        clipped_steps=progress.clipped,
        skipped_steps=progress.skipped,
        loss_rises=progress.rises,
        gradient_norm_median=median(interval.norms) if monitor and interval.norms else None,
        gradient_norm_max=max(interval.norms) if monitor and interval.norms else None,
        exploded_steps=monitor.exploded if monitor else None,
        vanished_steps=monitor.vanished if monitor else None,
        gradient_evaluations=session.gradient_evaluations,
    )


def finished(
    progress: Progress,
    setup: Stopwatch,
    status: Status,
    detail: str = "",
    *,
    at_fault: Fault = "",
    final: dict[str, dict[str, float]] | None = None,
    memory: tuple[int | None, int | None] = (None, None),
) -> Finished:
    """Return the record of the trial's end. `memory` is the bytes of optimizer state and the transient peak of a step in bytes.

    Stops the training clock.
    """
    progress.clock.pause()
    return Finished(
        status=status,
        detail=detail,
        step=progress.step,
        final=final or {},
        best_step=progress.best.step if progress.best else None,
        train_seconds=progress.clock.train_seconds,
        cpu_seconds=progress.clock.cpu_seconds,
        queued_seconds=progress.clock.queued_seconds,
        evaluation_seconds=progress.evaluating.seconds,
        setup_seconds=setup.seconds,
        state_bytes=memory[0],
        step_peak_bytes=memory[1],
        peak_memory_bytes=progress.peak_memory,
        at_fault=at_fault,
    )
