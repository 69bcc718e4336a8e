"""Top-5 accuracy: the share of samples whose label is among the five highest outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOW, HIGH = 0.0, 1.0
HIGHER_IS_BETTER = True
UNIT = "fraction"


def total(outputs: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Return the number of samples whose label is in the top five. `outputs`: (n, classes); `labels`: (n,)."""
    top = outputs.topk(min(5, outputs.shape[1]), dim=1).indices
    return (top == labels[:, None]).any(dim=1).sum()
