"""Compile before the clock starts: the model by one forward and backward pass whose every trace is wiped out again, the optimizers'
steps on copies of what they hold."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from optbench.engine.checkpoint import random_state, restore_random_state
from optbench.engine.clock import Stopwatch
from optbench.engine.compiled_step import CompiledStep, NotCompilable
from optbench.engine.implementation import COMPILES
from optbench.engine.memory import is_out_of_memory
from optbench.engine.optimizers import Optimizers
from optbench.engine.session import Session, SplitName

_CACHE = "TORCHINDUCTOR_CACHE_DIR"  # torch reads it whenever it compiles


def compile_outside_the_clock(session: Session, data_root: Path) -> float:
    """Compile what the trial asks for: its model, its optimizers' steps. Returns seconds, 0 if there is nothing to compile.

    Weights, buffers, gradients, optimizer state and generators are as before. What one trial compiled, a later one of this data
    root finds on disk.
    """
    watch = Stopwatch()
    asks = session.trial.implementation in COMPILES
    if session.trial.workload.compile or asks:
        with watch:
            keep_compiled(data_root)
            if session.trial.workload.compile:
                _compile_model(session)
            if asks:
                compile_steps(session)
    return watch.seconds


def keep_compiled(data_root: Path) -> None:
    """Have torch keep what it compiles below the data root, for all trials; its own place is one that a restart may empty."""
    if _CACHE in os.environ:
        return
    folder = data_root / "compiled"
    with contextlib.suppress(OSError):  # a data root that can't be written: torch's own place
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            os.environ[_CACHE] = str(folder)


def compile_steps(session: Session, backend: Any = "inductor") -> None:
    """Of a trial's optimizers, unless its schedule changes more than their rates."""
    changed = scheduled_beside_rate(session)
    compile_members(session.optimizers, f"the schedule changes its {changed} too" if changed else "", backend)


def compile_members(held: Optimizers, refusal: str = "", backend: Any = "inductor") -> None:
    """Every optimizer whose step is not fused gets a compiled one; where that can't be, the plain one stays, with the reason.

    `refusal`: a reason why none of them can be.
    """
    for position, (member, groups) in enumerate(zip(held.members, held.implementations(), strict=True)):
        if all(runs.name == "fused" for runs in groups):
            continue
        try:
            if held.needs_closure:
                raise NotCompilable("it evaluates the loss in its step")
            if held.protocol.create_graph:
                raise NotCompilable("it differentiates the gradients")
            if refusal:
                raise NotCompilable(refusal)
            compiled = CompiledStep(member, backend)
            compiled.warm_up(member)
        except NotCompilable as why:
            held.note_implementation(position, compiled=False, note=f"not compiled: {why}")
        except (
            Exception
        ) as error:  # no compiler here, or one that fails at this step: the plain step is as right
            if is_out_of_memory(error):
                raise
            held.note_implementation(position, compiled=False, note=f"not compiled: {_told(error)}")
        else:
            compiled.install(member)
            held.note_implementation(position, compiled=True)


def _told(error: BaseException) -> str:
    """One line, of the error that the compiler wrapped in its own."""
    while isinstance(inner := getattr(error, "inner_exception", None), BaseException):
        error = inner
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:200]


def scheduled_beside_rate(session: Session) -> str:
    """Return what the schedule may change beside the learning rate, empty if nothing."""
    return "momentum" if session.rates.may_change_momentum else ""


def _compile_model(session: Session) -> None:
    """Run the compiled model once in training mode, and in evaluation mode once for every size of batch there."""
    buffers = [buffer.detach().clone() for buffer in session.model.buffers()]
    generators = random_state(session.device)
    inputs, labels = session.training_batches.batch(0)
    session.model.train()
    with session.precision.autocast(session.device):
        loss = session.loss(session.scores(inputs), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    session.model.eval()
    with torch.inference_mode(), session.precision.autocast(session.device):
        for some in _shapes_of_evaluation(session):
            session.forward(some)
    session.model.train()
    for parameter in session.parameters:
        parameter.grad = None
    with torch.no_grad():
        for buffer, before in zip(session.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    restore_random_state(generators, session.device)


def _shapes_of_evaluation(session: Session) -> list[Tensor]:
    """An input of every shape that evaluations meet: full batches, and each split's last."""
    found: dict[torch.Size, Tensor] = {}
    splits: tuple[SplitName, ...] = ("validation", "test")
    for split in splits:
        first = next(iter(session.batches(split)))[0]
        left = len(getattr(session.splits, split).labels) % len(first)
        for inputs in (first, first[:left] if left else first):
            found.setdefault(inputs.shape, inputs)
    return list(found.values())
