"""The error of a comparison loop that builds its optimizers on another model than the one it trains (claim P24)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn, optim


def sgd_of_another_model(parameters: Iterable[nn.Parameter], lr: float = 0.01) -> optim.Optimizer:
    """Return an optimizer of copies: its steps change them, and never the parameters that are trained."""
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    return optim.SGD(copies, lr=lr)
