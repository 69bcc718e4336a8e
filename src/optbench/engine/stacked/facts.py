"""What a step or an end tells of one trial of a stack, where a single trial's code can't."""

from __future__ import annotations

import torch
from torch import Tensor

from optbench.engine.optimizers import OptimizerFault
from optbench.engine.passes import StepFacts
from optbench.engine.stacked.stack import Member
from optbench.engine.state_memory import StateMemory, state_memory
from optbench.engine.step_statistics import IntervalSummary
from optbench.engine.update_check import check_moved


def norms(gradients: dict[str, Tensor]) -> Tensor:
    """Of each trial's whole gradient, (trials,)."""
    each = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()]
    whole: Tensor = torch.linalg.vector_norm(torch.stack(each), dim=0)
    return whole


def moved(
    member: Member,
    before: dict[str, Tensor],
    gradients: dict[str, Tensor],
    row: int,
    *,
    evaluated: bool,
) -> OptimizerFault | None:
    """As for a single trial: parameters that should have moved have."""
    session, progress = member.session, member.progress
    for name, parameter in session.model.named_parameters():
        parameter.grad = gradients[name][row]
    nothing = torch.zeros(())
    try:
        check_moved(
            session,
            progress,
            list(before.values()),
            StepFacts(nothing, None, None),
            evaluated=evaluated,
            ended=progress.step == session.steps,
        )
    except OptimizerFault as fault:
        return fault
    return None


def diverged(member: Member, interval: IntervalSummary) -> str:
    if interval.bad_step is None:
        return ""
    bound = member.trial.workload.loss_bound
    return f"training loss not finite or above {bound:g} at step {interval.bad_step + 1}"


def note_state(member: Member) -> StateMemory:
    """Measure the state of the trial's optimizer, whose tensors are rows of the stack's, and keep the larger value."""
    session, progress = member.session, member.progress
    measured = state_memory(session.optimizers.members, session.parameters, session.model, rows=True)
    progress.state_memory = measured.or_more(progress.state_memory)
    return progress.state_memory
