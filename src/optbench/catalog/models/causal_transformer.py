"""Causal transformer: blocks of a GPT over a window of a series, and a linear layer from the last position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from optbench.catalog.models.gpt import Block

TASKS = ("forecasting",)


class CausalTransformer(nn.Module):
    """Linear embedding of each step, learned positions, blocks, a norm, and the forecast of the last position."""

    def __init__(
        self, window: int, features: int, outputs: int, depth: int, heads: int, dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.steps, self.positions = nn.Linear(features, dim), nn.Parameter(torch.empty(window, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, outputs)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, series: Tensor) -> Tensor:
        x = self.steps(series) + self.positions
        for block in self.blocks:
            x = block(x)
        forecast: Tensor = self.head(self.norm(x[:, -1]))
        return forecast


def build(
    window: int,
    features: int,
    outputs: int,
    *,
    depth: int = 2,
    heads: int = 2,
    dim: int = 32,
    dropout: float = 0.0,
) -> nn.Module:
    """Input (batch, window, features), output (batch, outputs)."""
    if heads < 1 or dim % heads:
        raise ValueError(f"heads: expected a divisor of dim {dim}; found {heads}")
    return CausalTransformer(window, features, outputs, depth, heads, dim, dropout)
