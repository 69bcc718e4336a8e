"""Adding problem: the sum of two marked numbers in a long sequence (Hochreiter and Schmidhuber 1997); generated."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog.types import DataInfo, Split, Splits

TASK = "forecasting"
RANGES = {"length": (2, None), "samples": (100, None)}
#: defaults of `optbench new`
STARTER = {"target": 0.1, "batch_size": 64, "most_epochs": 20}


def describe(root: Path, *, length: int = 50, samples: int = 4000) -> DataInfo:
    """Inputs are numbers from 0 to 1 and a mark, (length, 2). A constant forecast has a mean squared error of 1/6."""
    rest = samples // 4
    shape = (length, 2)
    source = "the adding problem"
    return DataInfo(samples, rest, rest, shape, 1, source, task=TASK, facts={"naive_error": 1.0})


def load(root: Path, *, length: int = 50, samples: int = 4000) -> Splits:
    """Return sequences with one mark in each half; the target is the sum of the marked numbers."""
    import numpy as np

    info = describe(root, length=length, samples=samples)
    parts = []
    for number, size in enumerate((info.train, info.validation, info.test)):
        random = np.random.RandomState(number)
        values = random.rand(size, length).astype(np.float32)
        marks, rows = np.zeros_like(values), np.arange(size)
        first, second = random.randint(length // 2, size=size), random.randint(length // 2, length, size=size)
        marks[rows, first] = marks[rows, second] = 1
        sums = values[rows, first] + values[rows, second]
        parts.append(Split(np.stack([values, marks], axis=2), sums[:, None]))
    return Splits(parts[0], parts[1], parts[2], info)
