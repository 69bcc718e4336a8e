"""Xavier, normal: keeps the variance through linear and tanh layers (Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html)."""

from __future__ import annotations

from torch import Tensor, nn


def fill(weight: Tensor, *, gain: float = 1.0) -> None:
    """Variance gain^2 * 2 / (inputs + outputs)."""
    nn.init.xavier_normal_(weight, gain)
