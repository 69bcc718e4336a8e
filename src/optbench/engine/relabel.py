"""An objective that changes while it trains: classes get their labels anew, by a random permutation, after so many steps.

Label permutation is a standard non-stationary problem of online learning (Dohare et al. 2024, Nature 632): what the layers
have learned of the inputs stays of use, what they say of them doesn't.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optbench.engine.randomness import generator


class Relabelling:
    """The labels of segment 0 are the data's own; those of each later one a permutation that depends on (seed, segment) alone."""

    def __init__(self, classes: int, every_steps: int, seed: int, device: torch.device) -> None:
        self._classes, self._every, self._seed, self._device = classes, max(1, every_steps), seed, device
        self._segment = 0
        self._table: Tensor | None = None

    def move_to(self, step: int) -> None:
        """To the objective of training step `step` (from 0)."""
        segment = max(0, step) // self._every
        if segment == self._segment:
            return
        self._segment = segment
        drawn = torch.randperm(self._classes, generator=generator(self._seed, "relabelling", segment))
        self._table = drawn.to(self._device) if segment else None

    def __call__(self, labels: Tensor) -> Tensor:
        """(n,) -> (n,), int64."""
        return labels if self._table is None else self._table.index_select(0, labels)
