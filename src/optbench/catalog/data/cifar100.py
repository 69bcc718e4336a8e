"""CIFAR-100: 60,000 colour pictures of 32x32 pixels in 100 classes (Krizhevsky 2009)."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog.data import _cifar
from optbench.catalog.types import DataInfo, Splits

#: defaults of `optbench new`
STARTER = {"target": 0.6, "batch_size": 128, "most_epochs": 100, "augment": {"crop": 4, "flip": True}}


def describe(root: Path, *, validation: float = 0.1) -> DataInfo:
    """45,000 training, 5,000 validation and 10,000 test samples by default. Does not use the network.

    `validation` is the fraction of the 50,000 training samples that is kept for validation.
    """
    return _cifar.describe(root, "cifar-100-python", 100, validation)


def load(root: Path, *, validation: float = 0.1) -> Splits:
    """Read from `root` (torchvision's layout), else download. https://www.cs.toronto.edu/~kriz/cifar.html"""
    return _cifar.load(root, "CIFAR100", validation)
