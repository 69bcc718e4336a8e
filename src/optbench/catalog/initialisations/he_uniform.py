"""He, uniform: keeps the variance through ReLU layers (He et al. 2015, https://arxiv.org/abs/1502.01852)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


def fill(weight: Tensor, *, fan: Literal["in", "out"] = "in") -> None:
    """Variance 2 / inputs, or 2 / outputs with `fan: out`."""
    nn.init.kaiming_uniform_(weight, mode="fan_in" if fan == "in" else "fan_out", nonlinearity="relu")
