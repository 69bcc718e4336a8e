"""Rule 3 held at run time: the optimizer updates the parameters of the model that is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from optbench.engine.optimizers import OptimizerFault
from optbench.engine.passes import StepFacts
from optbench.engine.progress import Progress
from optbench.engine.session import Session

TRIES = 5  # some optimizers only gather in their first steps


def snapshot(session: Session, progress: Progress) -> list[Tensor] | None:
    """The parameters before a step, as long as none has been seen to move."""
    return None if progress.moved else [parameter.detach().clone() for parameter in session.parameters]


def check_moved(session: Session, progress: Progress, before: Sequence[Tensor], facts: StepFacts) -> None:
    """Raises `OptimizerFault` when parameters stayed as they were for several steps that should have changed them."""
    now = session.parameters
    if any(not torch.equal(old, new) for old, new in zip(before, now, strict=True)):
        progress.moved = True
    elif _should_have_moved(session, before, facts):
        progress.tries_to_move += 1
        if progress.tries_to_move >= TRIES:
            raise OptimizerFault(
                f"the optimizer does not train the model: no parameter changed in {TRIES} steps with a learning rate above 0 and a gradient"
            )


def _should_have_moved(session: Session, before: Sequence[Tensor], facts: StepFacts) -> bool:
    """A skipped update may not move anything, nor one so small that rounding swallows it."""
    if facts.skipped is not None and bool(facts.skipped > 0):
        return False
    gradients = [
        float(p.grad.abs().max()) for p in session.parameters if p.grad is not None and p.grad.numel()
    ]
    largest = max((float(tensor.abs().max()) for tensor in before if tensor.numel()), default=0.0)
    step_size = session.optimizers.rate * min(1.0, max(gradients, default=0.0))
    return step_size > 1e-5 * max(largest, 1e-5)
