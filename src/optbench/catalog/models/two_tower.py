"""Two towers: scores of all items for a user, as products of their embeddings (Covington et al. 2016, RecSys)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TASKS = ("ranking",)


class TwoTower(nn.Module):
    """User embedding through a small network, times all item embeddings."""

    def __init__(self, num_users: int, num_items: int, factors: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(num_users, factors), nn.Embedding(num_items, factors)
        self.item_bias = nn.Parameter(torch.zeros(num_items))
        self.tower = nn.Sequential(nn.Linear(factors, factors), nn.ReLU(), nn.Linear(factors, factors))
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, user: Tensor) -> Tensor:
        scores: Tensor = self.tower(self.users(user)) @ self.items.weight.T + self.item_bias
        return scores


def build(num_users: int, num_items: int, *, factors: int = 32) -> nn.Module:
    """Input users (batch,), output scores (batch, num_items)."""
    return TwoTower(num_users, num_items, factors)
