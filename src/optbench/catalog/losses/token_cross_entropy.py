"""Cross-entropy of the next token, as the mean over the tokens that count (targets other than -100)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from optbench.catalog.tasks.language import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

RANGES = {"label_smoothing": (0, 1)}


def build(*, label_smoothing: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of outputs (n, context, vocabulary) and targets (n, context). `label_smoothing` is a fraction from 0 to 1."""
    from torch.nn.functional import cross_entropy

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        total = cross_entropy(
            outputs.flatten(0, -2), targets.flatten(), label_smoothing=label_smoothing, reduction="sum"
        )
        return total / (targets != IGNORED).sum().clamp(min=1)  # a micro-batch may be masked completely

    return loss
