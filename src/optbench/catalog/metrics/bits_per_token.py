"""Bits per token: cross-entropy of the next token with base 2; of a text read by bytes, bits per byte."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOW, HIGH = 0.0, None
HIGHER_IS_BETTER = False
UNIT = "bits"


def total(outputs: Tensor, targets: Tensor, loss: Tensor) -> Tensor:
    """Return the sum over the tokens in nats. `outputs`: (n, context, vocabulary); `targets`: (n, context), -100 where masked."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="sum")


def final(mean: float) -> float:
    """Return bits."""
    return mean / math.log(2)
