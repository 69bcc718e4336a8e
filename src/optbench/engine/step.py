"""One optimizer step: micro-batches, backward, unscaling, clipping, update. Nothing here waits for the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, get_total_norm

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


def training_step(session: Session, step: int, schedule_step: int, want_norm: bool) -> StepFacts:
    """Step number `step` (from 0) on that step's batch; the schedule may lag behind it by skipped updates."""
    inputs, labels = session.feed.batch(step)
    if session.relabel is not None:
        session.relabel.move_to(step)
        labels = session.relabel(labels)
    session.rates.apply(schedule_step)
    if not session.optimizers.needs_closure:
        facts = gradients(session, inputs, labels, want_norm)
        update(session)
        return facts
    facts = _closure_step(session, inputs, labels)
    if session.average is not None:
        session.average.update()
    return facts


def gradients(session: Session, inputs: Tensor, labels: Tensor, want_norm: bool) -> StepFacts:
    """The first half of a step: both passes; leaves every parameter its gradient, unscaled and clipped."""
    session.optimizers.zero_grad()
    loss = _backward(session, inputs, labels)
    skipped = _unscale(session)
    norm, clipped = _clip(session, want_norm)
    return StepFacts(loss, norm, skipped, clipped)


def update(session: Session) -> None:
    """The second half: the optimizers' step, and the moving average's."""
    if session.scaler is None:
        session.optimizers.step()
    else:
        for member in session.optimizers.members:
            session.scaler.step(member)
        session.scaler.update()
    if session.average is not None:
        session.average.update()


def _backward(session: Session, inputs: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the batch's mean loss. Micro-batches weigh as many samples as they hold, so unequal ones are right."""
    session.gradient_evaluations += 1
    parts = session.trial.workload.accumulate
    if parts == 1:
        loss = _loss(session, inputs, labels)
        _scaled(session, loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()
    total = torch.zeros((), device=inputs.device)
    for some, their in zip(inputs.tensor_split(parts), labels.tensor_split(parts), strict=True):
        loss = _loss(session, some, their) * (len(their) / len(labels))
        _scaled(session, loss).backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def _loss(session: Session, inputs: Tensor, labels: Tensor) -> Tensor:
    with session.precision.autocast(session.device):
        return session.loss(session.forward(inputs), labels)


def _scaled(session: Session, loss: Tensor) -> Tensor:
    return loss if session.scaler is None else session.scaler.scale(loss)


def _unscale(session: Session) -> Tensor | None:
    scaler: Any = session.scaler
    if scaler is None:
        return None
    found = []
    for member in session.optimizers.members:
        scaler.unscale_(member)
        found += [value.to(session.device) for value in scaler._found_inf_per_device(member).values()]
    return torch.stack(found).sum() if found else None


def _clip(session: Session, want_norm: bool) -> Clipped:
    """The gradient's norm before clipping, where it is wanted or known, and whether clipping changes the gradient."""
    clip = session.trial.entry.clip
    if clip is None and not want_norm:
        return None, None
    gradients = [p.grad for p in session.parameters if p.grad is not None]
    if clip is not None and clip.norm is not None:
        before = clip_grad_norm_(session.parameters, clip.norm)
        return before, before > clip.norm
    norm = get_total_norm(gradients) if want_norm else None
    if clip is None or clip.value is None:
        return norm, None
    largest = get_total_norm(gradients, norm_type=math.inf)
    clip_grad_value_(session.parameters, clip.value)
    return norm, largest > clip.value


@dataclass
class _First:
    """What the first of a closure's evaluations saw: at the weights before the step, like every other optimizer's loss."""

    loss: Tensor | None = None
    norm: Tensor | None = None
    clipped: Tensor | None = None


def _closure_step(session: Session, inputs: Tensor, labels: Tensor) -> StepFacts:
    first = _First()

    @torch.enable_grad()
    def closure() -> Tensor:
        session.optimizers.zero_grad()
        loss = _backward(session, inputs, labels)
        norm, clipped = _clip(session, want_norm=first.loss is None)
        if first.loss is None:
            first.loss, first.norm, first.clipped = loss, norm, clipped
        return loss

    session.optimizers.step(closure)
    if first.loss is None:  # an optimizer that never asked for its closure learned nothing
        closure()
    assert first.loss is not None
    return StepFacts(first.loss, first.norm, None, first.clipped)
