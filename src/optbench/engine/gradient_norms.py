"""Norms and clipping of dense and sparse gradients; torch's own functions accept dense gradients only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, get_total_norm

from optbench.engine.sharding import full_value, local_part


def components(gradients: Iterable[Tensor]) -> list[Tensor]:
    """Return the stored components of each gradient; repeated rows of a sparse gradient are summed."""
    return [gradient.coalesce()._values() if gradient.is_sparse else gradient for gradient in gradients]


def total_norm(gradients: Sequence[Tensor], norm_type: float = 2.0) -> Tensor:
    """Return the norm of all gradients together."""
    return full_value(get_total_norm(components(gradients), norm_type=norm_type))


def clip_norm(parameters: Sequence[Tensor], limit: float) -> Tensor:
    """Scale gradients so that their total norm is at most `limit`; return the norm before."""
    if not _coalesce(parameters):
        return full_value(clip_grad_norm_(parameters, limit))
    return clip_grad_norm_(_dense(parameters), limit)


def clip_value(parameters: Sequence[Tensor], limit: float) -> None:
    """Limit the absolute value of each component."""
    clip_grad_value_(_dense(parameters) if _coalesce(parameters) else parameters, limit)


def largest_component(gradient: Tensor) -> float:
    """Return the largest absolute value, of a split gradient in the part of this rank; 0 if it is empty."""
    (stored,) = components([local_part(gradient)])
    return float(stored.abs().max()) if stored.numel() else 0.0


def _coalesce(parameters: Sequence[Tensor]) -> bool:
    """Sum repeated rows of sparse gradients, in place. Return whether any gradient is sparse."""
    sparse = [p for p in parameters if p.grad is not None and p.grad.is_sparse]
    for parameter in sparse:
        assert parameter.grad is not None
        parameter.grad = parameter.grad.coalesce()
    return bool(sparse)


def _dense(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors whose gradients are the stored components of the parameters' gradients, in the same memory."""
    holders = []
    for gradient in components(p.grad for p in parameters if p.grad is not None):
        holder = torch.empty_like(gradient)
        holder.grad = gradient
        holders.append(holder)
    return holders
