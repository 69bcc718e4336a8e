"""Negative evidence lower bound: reconstruction error plus KL divergence from the prior (Kingma and Welling 2013, arXiv:1312.6114)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RANGES = {"beta": (0, None)}


def build(*, beta: float = 1.0) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
    """Return a function of {reconstruction (logits), mean, log_variance} and pixels from 0 to 1.

    `beta` weighs the divergence (beta-VAE).
    """
    from torch.nn.functional import binary_cross_entropy_with_logits

    def loss(outputs: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        error = binary_cross_entropy_with_logits(outputs["reconstruction"], targets, reduction="none").sum(1)
        mean, log_variance = outputs["mean"], outputs["log_variance"]
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return (error + beta * divergence).mean()

    return loss
