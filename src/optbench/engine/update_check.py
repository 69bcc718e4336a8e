"""Check during training that the optimizer updates the parameters of the trained model (rule 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from optbench.engine.gradient_norms import largest_component
from optbench.engine.optimizers import OptimizerFault
from optbench.engine.passes import StepFacts
from optbench.engine.progress import Progress
from optbench.engine.session import Session
from optbench.engine.sharding import local_part

TRIES = 20  # steps without an update before the check fails: some optimizers gather statistics first
MIN_TRIES = 5  # the same, if the budget ends earlier


def snapshot(session: Session, progress: Progress) -> list[Tensor] | None:
    """Return copies of the parameters from before the first step of this process; None once a parameter has changed."""
    if not progress.moved and progress.unmoved is None:
        progress.unmoved = [local_part(parameter).detach().clone() for parameter in session.parameters]
    return progress.unmoved


def check_moved(
    session: Session,
    progress: Progress,
    before: Sequence[Tensor],
    facts: StepFacts,
    *,
    evaluated: bool,
    ended: bool,
) -> None:
    """Raise `OptimizerFault` if parameters are unchanged after steps that should have changed them.

    `evaluated`: an evaluation is due or was made. `ended`: the budget is spent. The check fails at the first evaluation after at least
    `TRIES` such steps, for optimizers that start late by design, or at the step that the entry's `first_update_by` sets.
    """
    now = [local_part(parameter) for parameter in session.parameters]
    moved = any(not torch.equal(old, new) for old, new in zip(before, now, strict=True))
    if any(session.ranks.gather(moved)):
        progress.moved, progress.unmoved = True, None
        return
    progress.tries_to_move += _should_have_moved(session, before, facts)
    limit = session.trial.entry.first_update_by
    if limit is not None:
        is_late = (
            progress.step >= limit.steps(session.training_batches.steps_per_epoch)
            and progress.tries_to_move > 0
        )
    else:
        is_late = progress.tries_to_move >= (MIN_TRIES if ended else TRIES) and (evaluated or ended)
    if is_late:
        raise OptimizerFault(
            f"the optimizer does not train the model: no parameter changed in {progress.tries_to_move} steps with a learning rate "
            "above 0 and a non-zero gradient; if it starts later by design, set `first_update_by: N steps` in its entry"
        )


def _should_have_moved(session: Session, before: Sequence[Tensor], facts: StepFacts) -> bool:
    """Return False for a skipped update and for one too small to change the parameters after rounding."""
    if facts.skipped is not None and bool(facts.skipped > 0):
        return False
    gradients = [largest_component(p.grad) for p in session.parameters if p.grad is not None]
    largest = max((float(tensor.abs().max()) for tensor in before if tensor.numel()), default=0.0)
    step_size = session.optimizers.rate * min(1.0, max(gradients, default=0.0))
    return any(session.ranks.gather(step_size > 1e-5 * max(largest, 1e-5)))
