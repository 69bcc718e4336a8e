"""Shared code of CIFAR-10 and CIFAR-100; torchvision's classes read and check them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optbench.catalog.data import _carved
from optbench.catalog.data._carved import described
from optbench.catalog.data._download import fetch
from optbench.catalog.types import DataInfo, Splits


def describe(root: Path, folder: str, classes: int, validation: float) -> DataInfo:
    place = root / folder
    source = str(place) if place.is_dir() else f"to be downloaded to {root}"
    return described(DataInfo(50_000, 0, 10_000, (3, 32, 32), classes, source), validation)


def load(root: Path, kind: str, validation: float) -> Splits:
    """Return the samples. `kind` is the name of torchvision's class. Downloads missing files."""
    import numpy as np
    import torchvision.datasets

    cls = getattr(torchvision.datasets, kind)

    def download(folder: Path) -> None:
        cls(str(folder), download=True)

    def read(train: bool) -> Any:
        part = cls(str(root), train=train)
        return np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)), np.asarray(part.targets)

    try:
        train, test = read(True), read(False)
    except RuntimeError:  # torchvision's word for missing or damaged
        fetch(root, {cls.filename: cls.tgz_md5}, download)
        train, test = read(True), read(False)
    info = describe(root, cls.base_folder, len(np.unique(test[1])), validation)
    return _carved.splits(train, test, info, validation)
