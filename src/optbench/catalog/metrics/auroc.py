"""Area under the ROC curve, of two classes; of more, the mean over one class against the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOW, HIGH = 0.0, 1.0
HIGHER_IS_BETTER = True


class Accumulator:
    """Collects all scores of the split, because the area depends on their order."""

    def __init__(self) -> None:
        self.scores: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: `outputs` (n, classes), `targets` (n,)."""
        self.scores.append(outputs.softmax(1).cpu())
        self.labels.append(targets.cpu())

    def compute(self) -> float:
        """Return the area by the rank statistic of Mann and Whitney; ties count one half. NaN if a split has one class only."""
        import numpy as np
        import torch
        from scipy.stats import rankdata

        scores, labels = torch.cat(self.scores).numpy(), torch.cat(self.labels).numpy()
        classes = range(scores.shape[1]) if scores.shape[1] > 2 else (1,)
        areas = []
        for number in classes:
            positive = labels == number
            n, m = int(positive.sum()), int((~positive).sum())
            ranks = rankdata(scores[:, number])
            areas.append((ranks[positive].sum() - n * (n + 1) / 2) / (n * m) if n and m else np.nan)
        return float(np.mean(areas))
