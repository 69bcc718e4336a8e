"""Matrix factorisation with biases: the rating of an item by a user (Koren et al. 2009, Computer 42(8)).

With these two inputs it is the factorisation machine of order 2 (Rendle 2010, ICDM).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TASKS = ("recommendation",)


class MatrixFactorisation(nn.Module):
    """Mean rating, a bias per user and item, and the product of their factors."""

    def __init__(
        self, num_users: int, num_items: int, mean_rating: float, factors: int, sparse: bool
    ) -> None:
        super().__init__()
        self.users = nn.Embedding(num_users, factors, sparse=sparse)
        self.items = nn.Embedding(num_items, factors, sparse=sparse)
        self.user_bias = nn.Embedding(num_users, 1, sparse=sparse)
        self.item_bias = nn.Embedding(num_items, 1, sparse=sparse)
        self.register_buffer("mean", torch.tensor(float(mean_rating)))
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        bias = self.user_bias(user).squeeze(-1) + self.item_bias(item).squeeze(-1)
        product = (self.users(user) * self.items(item)).sum(-1)
        ratings: Tensor = self.mean + bias + product
        return ratings


def build(
    num_users: int, num_items: int, mean_rating: float, *, factors: int = 32, sparse: bool = False
) -> nn.Module:
    """Input users and items (batch,), output ratings (batch,). With `sparse`, gradients have the rows of the batch only."""
    return MatrixFactorisation(num_users, num_items, mean_rating, factors, sparse)
