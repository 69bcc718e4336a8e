"""Mean squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def build() -> nn.Module:
    """Return a function of outputs and targets of equal shape."""
    from torch import nn

    return nn.MSELoss()
