"""Bits per byte: cross-entropy with base 2 over the UTF-8 bytes of the predicted text, so that tokenizers can be compared."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optbench.catalog.metrics.bits_per_token import total

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.catalog.types import DataInfo

LOW, HIGH = 0.0, None
HIGHER_IS_BETTER = False
UNIT = "bits"
#: what the data set states
FACTS = ("token_bytes",)


class Accumulator:
    """Sums over the split: nats of all predicted tokens, and their lengths."""

    def __init__(self) -> None:
        self.nats = 0.0
        self.bytes = 0

    def describe(self, info: DataInfo) -> None:
        """Take the length of each entry of the vocabulary, in bytes of UTF-8."""
        import torch

        self.lengths = torch.as_tensor(info.facts["token_bytes"])

    def update(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: `outputs` (n, context, vocabulary); `targets` (n, context), -100 where masked."""
        self.nats += float(total(outputs, targets, loss))
        self.bytes += int(self.lengths[targets[targets >= 0].cpu()].sum())

    def compute(self) -> float:
        """Return the quotient; NaN if all positions are masked."""
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan
