"""Handwritten digits bundled with scikit-learn: 1797 grey pictures of 8x8 pixels, 10 classes, no download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from optbench.catalog.data._split import carve, carved_size, channel_statistics
from optbench.catalog.types import DataInfo, Split, Splits

#: defaults of `optbench new`
STARTER = {"target": 0.97, "batch_size": 64, "most_epochs": 30}

_SAMPLES = 1797


def describe(root: Path) -> DataInfo:
    """Describe 60 % training, 20 % validation and 20 % test samples. `root` is not used."""
    fifth = carved_size(_SAMPLES, 0.2)
    return DataInfo(_SAMPLES - 2 * fifth, fifth, fifth, (1, 8, 8), 10, "scikit-learn's bundled digits")


def load(root: Path) -> Splits:
    """Return the splits, stratified by class and fixed; intensities 0..16 become 0..255.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998 (its test part).
    """
    import numpy as np

    # sklearn.datasets.load_digits reads the same file; its import takes more time than a short trial
    package = find_spec("sklearn")
    assert package, "scikit-learn is a dependency"
    table = np.loadtxt(Path(package.origin or "").parent / "datasets/data/digits.csv.gz", delimiter=",")
    inputs = np.rint(table[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = table[:, -1].astype(np.int64)

    rest, test = carve(labels, 0.2)
    kept, taken = carve(labels[rest], carved_size(_SAMPLES, 0.2) / len(rest))
    parts = [Split(inputs[rows], labels[rows]) for rows in (rest[kept], rest[taken], test)]
    mean, std = channel_statistics(inputs[rest[kept]])
    return Splits(parts[0], parts[1], parts[2], describe(root), mean, std)
