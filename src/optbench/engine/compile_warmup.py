"""Compile before the clock starts: the model in one forward and backward pass, whose effects are undone, and the optimizers' steps on
copies of their parameters and state."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch

from optbench.engine.batch import Batch
from optbench.engine.clock import Stopwatch
from optbench.engine.compiled_step import CompiledStep, NotCompilable
from optbench.engine.implementation import COMPILES
from optbench.engine.memory import is_out_of_memory
from optbench.engine.optimizers import Optimizers
from optbench.engine.passes import forward_loss, passes_without_effect
from optbench.engine.protocol import backward
from optbench.engine.session import Session, SplitName
from optbench.errors import describe_error

_CACHE = "TORCHINDUCTOR_CACHE_DIR"  # read by torch whenever it compiles


def compile_outside_the_clock(session: Session, data_root: Path) -> float:
    """Compile the trial's model and optimizer steps where the suite requests it. Return the seconds, 0 if nothing is compiled.

    Weights, buffers, gradients, optimizer state and generators are unchanged. Compiled code is cached on disk for later trials
    with the same data root.
    """
    watch = Stopwatch()
    compiles_steps = session.trial.implementation in COMPILES
    if session.trial.workload.compile or compiles_steps:
        with watch:
            keep_compiled(data_root)
            if session.trial.workload.compile:
                _compile_model(session)
            if compiles_steps:
                compile_steps(session)
    return watch.seconds


def keep_compiled(data_root: Path) -> None:
    """Set torch's compile cache to a folder below the data root, for all trials; torch's default is a temporary folder."""
    if _CACHE in os.environ:
        return
    folder = data_root / "compiled"
    with contextlib.suppress(OSError):  # a data root that can't be written: torch's default stays
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            os.environ[_CACHE] = str(folder)


def compile_steps(session: Session, backend: Any = "inductor") -> None:
    """Compile the steps of a trial's optimizers, unless its schedule changes more than their learning rates."""
    changed = scheduled_beside_rate(session)
    compile_members(
        session.optimizers, f"the schedule also changes its {changed}" if changed else "", backend
    )


def compile_members(optimizers: Optimizers, obstacle: str = "", backend: Any = "inductor") -> None:
    """Compile the step of every optimizer whose step is not fused. Where that is not possible, note the reason and leave the step.

    `obstacle`: a reason why none of them can be compiled.
    """
    members = zip(optimizers.members, optimizers.implementations(), strict=True)
    for position, (member, groups) in enumerate(members):
        if all(implementation.name == "fused" for implementation in groups):
            continue
        try:
            if optimizers.needs_closure:
                raise NotCompilable("its step calls a closure")
            if optimizers.protocol.create_graph:
                raise NotCompilable("it uses the graph of the gradients")
            if obstacle:
                raise NotCompilable(obstacle)
            compiled = CompiledStep(member, backend)
            compiled.warm_up(member)
        except NotCompilable as reason:
            optimizers.note_implementation(position, compiled=False, note=f"not compiled: {reason}")
        except Exception as error:
            # no compiler, or one that fails at this step: the plain step is equivalent
            if is_out_of_memory(error):
                raise
            note = f"not compiled: {_innermost_message(error)}"
            optimizers.note_implementation(position, compiled=False, note=note)
        else:
            compiled.install(member)
            optimizers.note_implementation(position, compiled=True)


def _innermost_message(error: BaseException) -> str:
    """Return type and first line of the error that the compiler wrapped in its own, in at most 200 characters."""
    while isinstance(inner := getattr(error, "inner_exception", None), BaseException):
        error = inner
    return describe_error(error)[:200]


def scheduled_beside_rate(session: Session) -> str:
    """Return what the schedule may change besides the learning rate; empty if nothing."""
    return "momentum" if session.rates.may_change_momentum else ""


def _compile_model(session: Session) -> None:
    """Run the compiled model once in training mode, and once in evaluation mode for each batch shape of the evaluations."""
    with passes_without_effect(session):
        backward(forward_loss(session, session.training_batches.batch(0)), create_graph=False)
        session.model.eval()
        with torch.no_grad(), session.precision.autocast(session.device):
            for batch in _evaluation_shapes(session):
                session.task.loss(session.forward, batch)
        session.model.train()


def _evaluation_shapes(session: Session) -> list[Batch]:
    """Return one batch of each size that evaluations use: full batches, and the last batch of each split."""
    by_size: dict[int, Batch] = {}
    splits: tuple[SplitName, ...] = ("validation", "test")
    for split in splits:
        first = next(iter(session.batches(split)))
        remainder = getattr(session.splits, split).samples % first.samples
        for batch in (first, first.part(0, remainder) if remainder else first):
            by_size.setdefault(batch.samples, batch)
    return list(by_size.values())
