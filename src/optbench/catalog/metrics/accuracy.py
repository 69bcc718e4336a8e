"""Accuracy: the share of samples whose highest output is the label's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOW, HIGH = 0.0, 1.0
HIGHER_IS_BETTER = True
UNIT = "fraction"


def total(outputs: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Return the number of correct samples. `outputs`: (n, classes); `labels`: (n,)."""
    return (outputs.argmax(dim=1) == labels).sum()
