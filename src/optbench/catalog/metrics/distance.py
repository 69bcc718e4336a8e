"""Distance of the parameters to the nearest minimum of a test function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOW, HIGH = 0.0, None
HIGHER_IS_BETTER = False


def total(outputs: Tensor, targets: Tensor, loss: Tensor) -> Tensor:
    """Return the sum of the third output, (n, 3)."""
    return outputs[:, 2].sum()
