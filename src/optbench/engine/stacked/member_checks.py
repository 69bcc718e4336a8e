"""Checks and measurements of one trial of a stack, for which the code of single trials cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from optbench.engine.optimizers import OptimizerFault
from optbench.engine.passes import StepFacts
from optbench.engine.stacked.stack import Member
from optbench.engine.state_memory import state_memory
from optbench.engine.step_statistics import IntervalSummary
from optbench.engine.update_check import check_moved


def gradient_norms(gradients: dict[str, Tensor]) -> Tensor:
    """Return the norm of each trial's gradient over all parameters, (trials,)."""
    by_parameter = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()]
    norms: Tensor = torch.linalg.vector_norm(torch.stack(by_parameter), dim=0)
    return norms


def find_update_fault(
    member: Member, before: dict[str, Tensor], gradients: dict[str, Tensor], row: int, *, evaluated: bool
) -> OptimizerFault | None:
    """Return the fault if parameters that should have changed have not, as `check_moved` raises it for a single trial.

    `before`: the weights before the step. `gradients`: by name, (trials, *shape), of which `row` is the trial's.
    """
    session, progress = member.session, member.progress
    for name, parameter in session.model.named_parameters():
        parameter.grad = gradients[name][row]
    try:
        check_moved(
            session,
            progress,
            list(before.values()),
            StepFacts(torch.zeros(()), None, None),
            evaluated=evaluated,
            ended=progress.step == session.steps,
        )
    except OptimizerFault as fault:
        return fault
    return None


def describe_divergence(member: Member, interval: IntervalSummary) -> str:
    """Return why the trial has diverged since its last evaluation; empty if it has not."""
    if interval.bad_step is None:
        return ""
    bound = member.trial.workload.loss_bound
    return f"training loss not finite or above {bound:g} at step {interval.bad_step + 1}"


def update_state_memory(alike: Sequence[Member]) -> None:
    """Measure the state of the optimizers, whose tensors are rows of the stack, and keep the maximum of each trial.

    `alike`: trials whose states have equal sizes; that of the first one is measured.
    """
    session = alike[0].session
    measured = state_memory(session.optimizers.members, session.parameters, session.model, rows=True)
    for member in alike:
        member.progress.state_memory = measured.maximum(member.progress.state_memory)
