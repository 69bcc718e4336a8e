"""One step of an optimizer that evaluates the loss by a closure over the step's batch.

The closure takes no argument. It sets the gradients to None, runs the forward pass and `backward()` with gradients enabled, clips, and
returns the loss without its graph; with `closure: loss_only` it returns the loss with its graph before `backward()`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optbench.engine.batch import Batch
from optbench.engine.passes import StepFacts, clip, compute_gradients, micro_losses
from optbench.engine.protocol import release_graph
from optbench.engine.session import Session


@dataclass
class _First:
    """Result of the first evaluation: at the weights before the step, as for all other optimizers."""

    loss: Tensor | None = None
    norm: Tensor | None = None
    clipped: Tensor | None = None


def closure_step(session: Session, batch: Batch) -> StepFacts:
    """Take a step with a closure. The batch's gradients are computed before it if the protocol requires that.

    Otherwise there are no gradients when it is called, so a class that reads them cannot use those of an earlier batch.
    """
    first, optimizers = _First(), session.optimizers
    evaluate = _loss_only if optimizers.protocol.calls == "loss_only" else _with_gradients

    @torch.enable_grad()
    def closure() -> Tensor:
        return evaluate(session, batch, first)

    def closure_within_step() -> Tensor:
        with session.ranks.other_generators():
            return session.ranks.sum(closure())

    def mean_loss() -> Tensor:
        assert first.loss is not None
        return session.ranks.sum(first.loss)

    optimizers.zero_grad()
    if optimizers.protocol.gradients_first:
        closure()
    with session.ranks.other_generators():
        optimizers.step(closure_within_step if optimizers.protocol.calls != "with_loss" else mean_loss)
    if first.loss is None:  # the optimizer did not call its closure
        closure()
    assert first.loss is not None
    if optimizers.protocol.create_graph:
        release_graph(session.parameters)
    if session.average is not None:
        session.average.update()
    return StepFacts(first.loss, first.norm, None, first.clipped)


def _with_gradients(session: Session, batch: Batch, first: _First) -> Tensor:
    session.optimizers.zero_grad()
    loss = compute_gradients(session, batch)
    norm, clipped = clip(session, want_norm=first.loss is None)
    if first.loss is None:
        first.loss, first.norm, first.clipped = loss, norm, clipped
    return loss


def _loss_only(session: Session, batch: Batch, first: _First) -> Tensor:
    session.optimizers.zero_grad()
    loss = torch.stack(list(micro_losses(session, batch))).sum()
    if first.loss is None:
        first.loss = loss.detach()

    def count(gradient: Tensor) -> Tensor:
        session.gradient_evaluations += 1
        return gradient

    loss.register_hook(count)  # type: ignore[no-untyped-call]
    return loss
