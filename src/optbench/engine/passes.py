"""Parts of a training step: forward and backward passes over a batch, and clipping. Nothing here waits for the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from optbench.engine.batch import Batch
from optbench.engine.checkpoint import random_state, restore_random_state
from optbench.engine.gradient_norms import clip_norm, clip_value, total_norm
from optbench.engine.protocol import backward, clear_gradients
from optbench.engine.session import Session

#: the gradient norm, and whether clipping changed the gradient; scalars on the device
Clipped = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class StepFacts:
    """Results of one step, as scalars on the device. `norm` is the gradient norm before clipping."""

    loss: Tensor
    norm: Tensor | None
    skipped: Tensor | None  # above 0 if the gradient scaler skipped the update
    clipped: Tensor | None = None  # whether clipping changed the gradient


def compute_gradients(session: Session, batch: Batch) -> Tensor:
    """Compute the gradient of the batch's mean loss and return the loss. Micro-batches are weighted by their number of units.

    With several ranks, the loss is the share of this rank, whose sum over the ranks is the mean loss; the gradient is that of the whole
    batch on each rank.
    """
    session.gradient_evaluations += 1
    ranks = session.ranks.size
    if session.trial.workload.accumulate == 1 and ranks == 1:
        loss = forward_loss(session, batch)
        backward(_scaled(session, loss), create_graph=session.optimizers.protocol.create_graph)
        return loss.detach()
    total = torch.zeros((), device=session.device)
    for loss in micro_losses(session, batch):
        backward(
            _scaled(session, loss if ranks == 1 else loss * ranks),  # gradients are averaged over the ranks
            create_graph=session.optimizers.protocol.create_graph,
        )
        total += loss.detach()
    return total


def micro_losses(session: Session, batch: Batch) -> Iterator[Tensor]:
    """Yield the loss of each micro-batch, with its graph, weighted so that they sum to the batch's mean loss.

    Run the backward pass of each before requesting the next.
    """
    whole, micro_batches = session.units(batch), session.trial.workload.accumulate
    for position, part in enumerate(batch.split(micro_batches)):
        with session.averaging(position == micro_batches - 1):
            yield forward_loss(session, part) * (session.task.units(part) / whole)


def forward_loss(session: Session, batch: Batch) -> Tensor:
    """Return the mean loss of a batch, with its graph."""
    with session.precision.autocast(session.device):
        return session.mean_loss(batch)


@contextmanager
def passes_without_effect(session: Session) -> Iterator[None]:
    """Restore buffers, gradients and random generators after passes within the block.

    At its start, the model is in training mode and has no gradients.
    """
    buffers_before = [buffer.detach().clone() for buffer in session.model.buffers()]
    gradients_before = [parameter.grad for parameter in session.parameters]
    generators = random_state(session.device)
    session.model.train()
    clear_gradients(session.parameters)
    try:
        yield
    finally:
        for parameter, gradient in zip(session.parameters, gradients_before, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, before in zip(session.model.buffers(), buffers_before, strict=True):
                buffer.copy_(before)
        restore_random_state(generators, session.device)


def _scaled(session: Session, loss: Tensor) -> Tensor:
    return loss if session.scaler is None else session.scaler.scale(loss)


def clip(session: Session, want_norm: bool) -> Clipped:
    """Clip the gradient; return its norm before clipping, if requested or computed anyway, and whether clipping changed it."""
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
