"""Small normal: the same small standard deviation in every layer, usual before Xavier (0.01 in Krizhevsky et al. 2012)."""

from __future__ import annotations

from torch import Tensor, nn

RANGES = {"std": (0, None)}


def fill(weight: Tensor, *, std: float = 0.01) -> None:
    """Normal with standard deviation `std` for every layer size."""
    nn.init.normal_(weight, 0.0, std)
