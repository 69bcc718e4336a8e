"""Recurrent network: LSTM or GRU layers over a window of a series, and a linear layer from the last state."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

TASKS = ("forecasting",)

_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN}


class Recurrent(nn.Module):
    """The output of the last step through a linear layer."""

    def __init__(self, features: int, outputs: int, hidden: int, layers: int, cell: str, gain: float) -> None:
        super().__init__()
        self.recurrent = _CELLS[cell](features, hidden, layers, batch_first=True)
        if gain != 1.0:
            with torch.no_grad():
                for name, weight in self.recurrent.named_parameters():
                    if name.startswith("weight_hh"):
                        weight.mul_(gain)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, window: Tensor) -> Tensor:
        states, _ = self.recurrent(window)
        last: Tensor = self.head(states[:, -1])
        return last


def build(
    features: int,
    outputs: int,
    *,
    hidden: int = 32,
    layers: int = 1,
    cell: Literal["lstm", "gru", "tanh"] = "lstm",
    gain: float = 1.0,
) -> nn.Module:
    """Input (batch, window, features), output (batch, outputs). `cell`: lstm (Hochreiter and Schmidhuber 1997), gru (Cho et al. 2014,
    arXiv:1406.1078) or tanh (Elman 1990). `gain` multiplies the initial recurrent weights: gradients through time vanish if it is small
    and may explode if it is large (Pascanu et al. 2013, arXiv:1211.5063)."""
    if cell not in _CELLS:
        raise ValueError(f"cell: expected one of {', '.join(_CELLS)}; found {cell!r}")
    return Recurrent(features, outputs, hidden, layers, cell, gain)
