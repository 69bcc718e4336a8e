"""Evaluations of a test function: each sample is one evaluation, with its own noise; for the model test_function."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog.types import DataInfo, Split, Splits

TASK = "minimisation"
STARTER = {"target": 0.1, "batch_size": 1, "most_epochs": 1}
RANGES = {"dimension": (1, 1_000_000), "evaluations": (1, None)}


def describe(root: Path, *, dimension: int = 2, evaluations: int = 1000) -> DataInfo:
    """`dimension`: number of variables. `evaluations`: evaluations per epoch; with batch size 1 that is the number of steps."""
    return DataInfo(evaluations, 1, 1, (dimension,), 0, "normal noise", task=TASK)


def load(root: Path, *, dimension: int = 2, evaluations: int = 1000) -> Splits:
    """Return standard normal noise (n, dimension); the model scales it. Validation and test have one evaluation without noise."""
    import numpy as np

    noise = np.random.RandomState(0).randn(evaluations, dimension).astype(np.float32)
    nothing = np.zeros((1, dimension), np.float32)
    parts = [Split(values, np.zeros(len(values), np.float32)) for values in (noise, nothing, nothing)]
    return Splits(parts[0], parts[1], parts[2], describe(root, dimension=dimension, evaluations=evaluations))
