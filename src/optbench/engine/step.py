"""One optimizer step: micro-batches, backward, unscaling, clipping, update. Nothing here waits for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from optbench.engine.batch import Batch
from optbench.engine.closure_step import closure_step
from optbench.engine.passes import StepFacts, clip, compute_gradients
from optbench.engine.protocol import parameters_of, release_graph
from optbench.engine.session import Session
from optbench.engine.sharding import send_parameters


def training_step(session: Session, step: int, schedule_step: int, want_norm: bool) -> StepFacts:
    """Take step number `step` (from 0) on that step's batch; `schedule_step` is smaller by the number of skipped updates."""
    batch = session.training_batches.batch(step)
    if session.relabel is not None:
        session.relabel.move_to(step)
        batch = session.current(batch)
    session.rates.apply(schedule_step)
    if session.optimizers.needs_closure:
        return closure_step(session, batch)
    facts = gradients(session, batch, want_norm)
    update(session)
    return facts


def gradients(session: Session, batch: Batch, want_norm: bool) -> StepFacts:
    """Run both passes of a step; leave in every parameter its gradient, unscaled and clipped."""
    session.optimizers.zero_grad()
    loss = compute_gradients(session, batch)
    skipped = _unscale(session)
    norm, clipped = clip(session, want_norm)
    return StepFacts(loss, norm, skipped, clipped)


def update(session: Session) -> None:
    """Take the optimizers' step and update the moving average: the second half of a step."""
    with session.ranks.other_generators():
        if session.scaler is None:
            session.optimizers.step()
        else:
            members = _with_gradients(session)
            for member in members:
                session.scaler.step(member)
            if members:
                session.scaler.update()
    if session.owner:
        send_parameters(session.owner)
    if session.optimizers.protocol.create_graph:
        release_graph(session.parameters)
    if session.average is not None:
        session.average.update()


def _with_gradients(session: Session) -> list[Any]:
    """Return the optimizers with at least one gradient; the scaler cannot step others."""
    return [
        member
        for member in session.optimizers.members
        if any(p.grad is not None for p in parameters_of(member))
    ]


def _unscale(session: Session) -> Tensor | None:
    scaler: Any = session.scaler
    if scaler is None:
        return None
    overflows = []
    for member in _with_gradients(session):
        scaler.unscale_(member)
        overflows += [value.to(session.device) for value in scaler._found_inf_per_device(member).values()]
    return torch.stack(overflows).sum() if overflows else None
