"""Small normal: the same small spread in every layer, as was usual before Xavier (Krizhevsky et al. 2012 took 0.01)."""

from __future__ import annotations

from torch import Tensor, nn

RANGES = {"std": (0, None)}


def fill(weight: Tensor, *, std: float = 0.01) -> None:
    """Normal with standard deviation `std`, whatever the layer's size."""
    nn.init.normal_(weight, 0.0, std)
