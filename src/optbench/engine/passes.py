"""The parts of a training step: both passes over a batch, and clipping. Nothing here waits for the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from optbench.engine.gradient_norms import clip_norm, clip_value, total_norm
from optbench.engine.protocol import backward
from optbench.engine.session import Session

#: a norm, and whether clipping changed the gradient; scalars on the device
Clipped = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class StepFacts:
    """What a step tells, as scalars left on the device. `norm` is the gradient's before clipping."""

    loss: Tensor
    norm: Tensor | None
    skipped: Tensor | None  # above 0 if the gradient scaler skipped the update
    clipped: Tensor | None = None  # whether clipping changed the gradient


def compute_gradients(session: Session, inputs: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the batch's mean loss. Micro-batches weigh as many samples as they hold, so unequal ones are right."""
    session.gradient_evaluations += 1
    if session.trial.workload.accumulate == 1:
        loss = forward_loss(session, inputs, labels)
        backward(_scaled(session, loss), create_graph=session.optimizers.protocol.create_graph)
        return loss.detach()
    total = torch.zeros((), device=inputs.device)
    for loss in micro_losses(session, inputs, labels):
        backward(_scaled(session, loss), create_graph=session.optimizers.protocol.create_graph)
        total += loss.detach()
    return total


def micro_losses(session: Session, inputs: Tensor, labels: Tensor) -> Iterator[Tensor]:
    """The loss of each micro-batch, with its graph, in shares of the batch's mean loss."""
    parts = session.trial.workload.accumulate
    for some, their in zip(inputs.tensor_split(parts), labels.tensor_split(parts), strict=True):
        yield forward_loss(session, some, their) * (len(their) / len(labels))


def forward_loss(session: Session, inputs: Tensor, labels: Tensor) -> Tensor:
    with session.precision.autocast(session.device):
        return session.loss(session.scores(inputs), labels)


def _scaled(session: Session, loss: Tensor) -> Tensor:
    return loss if session.scaler is None else session.scaler.scale(loss)


def clip(session: Session, want_norm: bool) -> Clipped:
    """The gradient's norm before clipping, where it is wanted or known, and whether clipping changes the gradient."""
    limit = session.trial.entry.clip
    if limit is None and not want_norm:
        return None, None
    gradients = [p.grad for p in session.parameters if p.grad is not None]
    if limit is not None and limit.norm is not None:
        before = clip_norm(session.parameters, limit.norm)
        return before, before > limit.norm
    norm = total_norm(gradients) if want_norm else None
    if limit is None or limit.value is None:
        return norm, None
    largest = total_norm(gradients, norm_type=math.inf)
    clip_value(session.parameters, limit.value)
    return norm, largest > limit.value
