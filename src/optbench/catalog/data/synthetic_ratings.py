"""Synthetic ratings: a low-rank truth with noise, and items of power-law popularity; no download."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from optbench.catalog.data._ratings import splits
from optbench.catalog.types import DataInfo, Splits

TASK = "recommendation"
RANGES = {
    "users": (2, None),
    "items": (2, None),
    "ratings": (30, None),
    "rank": (1, None),
    "noise": (0, None),
}
#: defaults of `optbench new`
STARTER = {"target": {"recommendation": 0.75}, "batch_size": 256, "most_epochs": 10}


def describe(
    root: Path,
    *,
    users: int = 500,
    items: int = 2000,
    ratings: int = 50_000,
    rank: int = 4,
    noise: float = 0.5,
    task: Literal["recommendation", "ranking"] = "recommendation",
) -> DataInfo:
    """`noise`: standard deviation of a rating around the truth, which no model can predict."""
    return load(root, users=users, items=items, ratings=ratings, rank=rank, noise=noise, task=task).info


def load(
    root: Path,
    *,
    users: int = 500,
    items: int = 2000,
    ratings: int = 50_000,
    rank: int = 4,
    noise: float = 0.5,
    task: Literal["recommendation", "ranking"] = "recommendation",
) -> Splits:
    """Return ratings around 3.5 with standard deviation 1 from user and item factors. Item k is drawn in proportion to 1 / (k + 1)."""
    import numpy as np

    random = np.random.RandomState(0)
    popularity = 1 / np.arange(1, items + 1)
    item = random.choice(items, ratings, p=popularity / popularity.sum())
    user = random.randint(users, size=ratings)
    left, right = random.randn(users, rank), random.randn(items, rank)
    truth = 3.5 + (left[user] * right[item]).sum(1) / np.sqrt(rank)
    values = (truth + noise * random.randn(ratings)).astype(np.float32)
    return splits(user, item, values, np.arange(ratings), task, "synthetic ratings")
