"""Value of a test function without noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOW, HIGH = None, None
HIGHER_IS_BETTER = False


def total(outputs: Tensor, targets: Tensor, loss: Tensor) -> Tensor:
    """Return the sum of the second output, (n, 3)."""
    return outputs[:, 1].sum()
