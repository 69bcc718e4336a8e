"""Label permutation: an objective that changes during training, by a new random permutation of the classes every N steps.

A standard non-stationary problem of continual learning (Dohare et al. 2024, Nature 632): the learned features stay useful, the
mapping from features to labels does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optbench.engine.randomness import generator


class Relabelling:
    """Segment 0 has the labels of the data; each later segment has a permutation that depends on (seed, segment) only."""

    def __init__(self, classes: int, every_steps: int, seed: int, device: torch.device) -> None:
        self._classes, self._every, self._seed, self._device = classes, max(1, every_steps), seed, device
        self._segment = 0
        self._table: Tensor | None = None

    def move_to(self, step: int) -> None:
        """Select the objective of training step `step` (from 0)."""
        segment = max(0, step) // self._every
        if segment == self._segment:
            return
        self._segment = segment
        permutation = torch.randperm(self._classes, generator=generator(self._seed, "relabelling", segment))
        self._table = permutation.to(self._device) if segment else None

    def __call__(self, labels: Tensor) -> Tensor:
        """Return the permuted labels: (n,) int64 -> (n,) int64."""
        return labels if self._table is None else self._table.index_select(0, labels)
