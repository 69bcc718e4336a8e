"""Data-parallel training of one trial by several ranks: gradients are averaged during the backward pass."""

from __future__ import annotations

import torch
from torch.nn.parallel import DistributedDataParallel

from optbench.engine.optimizers import OptimizerFault
from optbench.engine.passes import forward_loss, passes_without_effect
from optbench.engine.protocol import backward
from optbench.engine.session import Session
from optbench.errors import OptbenchError

_TOLERANCE = 1e-5  # relative difference of the parameters of two ranks


def distribute(session: Session) -> None:
    """Wrap the session's model, which must not have taken a step, so that `backward()` averages gradients over the ranks.

    Raises `OptbenchError` for a protocol of the optimizer that averaged gradients do not support.
    """
    ranks, protocol = session.ranks, session.optimizers.protocol
    if protocol.create_graph or protocol.calls == "loss_only":
        need = "gradients with their graph" if protocol.create_graph else "a closure without backward()"
        raise OptbenchError(
            f"the optimizer of '{session.trial.label}' needs {need}, which are not averaged over processes: "
            "expected one device per trial"
        )
    ranks.seed_passes(session.trial.seed, session.device)
    if session.trial.workload.sharding != "none":
        if protocol.has_closure:
            raise OptbenchError(
                f"the optimizer of '{session.trial.label}' calls a closure, which needs whole parameters: expected `sharding: none`"
            )
        if session.scaler is not None:
            raise OptbenchError(
                "fp16 scales whole gradients: with `sharding` expected precision bf16 or fp32"
            )
    if session.is_split:
        return
    unused = _has_unused(session)
    session.parallel = DistributedDataParallel(
        session.forward,  # a module, or a compiled one
        device_ids=[session.device] if session.device.type == "cuda" else None,
        find_unused_parameters=unused,
    )
    if not unused:
        # It reorders the gradients after its first pass, which changes the order of sums. In the set-up, so that a resumed trial
        # computes the same bits.
        with passes_without_effect(session):
            _pass(session)


def check_equal(session: Session, step: int) -> None:
    """Raise `OptimizerFault` if the parameters differ between ranks: an optimizer depends on more than gradients and state."""
    if session.ranks.size == 1 or session.is_split:
        return
    values = torch.stack(
        [torch.stack([p.detach().double().sum(), p.detach().double().norm()]) for p in session.parameters]
    ).cpu()
    everywhere = session.ranks.gather(values)
    for rank, other in enumerate(everywhere):
        scale = everywhere[0][:, 1].clamp(min=1e-6)
        if ((other - everywhere[0]).abs().amax(1) > _TOLERANCE * scale).any():
            raise OptimizerFault(
                f"after step {step} the parameters of rank {rank} differ from those of rank 0: the optimizer must compute the same "
                "step on each process from the same gradients"
            )


def _has_unused(session: Session) -> bool:
    """Return whether a pass leaves parameters without gradients."""
    with passes_without_effect(session):
        _pass(session)
        return any(p.grad is None for p in session.parameters)


def _pass(session: Session) -> None:
    backward(forward_loss(session, session.training_batches.batch(0)), create_graph=False)
