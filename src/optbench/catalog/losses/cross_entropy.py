"""Cross-entropy over classes, with optional label smoothing (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

RANGES = {"label_smoothing": (0, 1)}


def build(*, label_smoothing: float = 0.0) -> nn.Module:
    """Return a function of outputs (n, classes) and labels (n,). `label_smoothing` is a fraction from 0 to 1."""
    from torch import nn

    return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
