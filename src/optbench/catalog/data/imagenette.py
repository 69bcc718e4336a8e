"""Imagenette: 13,394 colour pictures of 10 easy classes of ImageNet (Howard 2019)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from optbench.catalog.data import _tree
from optbench.catalog.data._carved import described
from optbench.catalog.data._download import fetch
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError

#: defaults of `optbench new`
STARTER = {"target": 0.75, "batch_size": 64, "most_epochs": 60, "augment": {"flip": True}}

_ARCHIVES = {"160": "imagenette2-160", "320": "imagenette2-320", "full": "imagenette2"}


def describe(
    root: Path,
    *,
    size: Literal[160, 320, "full"] = 160,
    pixels: int = 128,
    resize: int | None = None,
    train_pixels: int | None = None,
    validation: float = 0.1,
) -> DataInfo:
    """8,522 training, 947 validation and 3,925 test pictures by default. Does not use the network.

    - `size`: the edition: shorter sides of 160 or 320 pixels, or full.
    - `pixels`: of a side. The shorter side is resized to `resize` (default `pixels`), the centre is cut out.
    - `train_pixels`: at which training pictures are stored (default: as the others); larger than `pixels` with the
      augmentation `random_resized_crop`.
    - `validation`: fraction of the 9,469 training pictures that is kept for validation.
    """
    _tree.geometries(pixels, resize, train_pixels, 3, ("pixels", "train_pixels"))
    folder = root / _edition(size)
    source = str(folder) if folder.is_dir() else f"to be downloaded to {root}"
    return described(DataInfo(9469, 0, 3925, (3, pixels, pixels), 10, source), validation)


def load(
    root: Path,
    *,
    size: Literal[160, 320, "full"] = 160,
    pixels: int = 128,
    resize: int | None = None,
    train_pixels: int | None = None,
    validation: float = 0.1,
) -> Splits:
    """Read from `root` (torchvision's layout), else download; decoded once. https://github.com/fastai/imagenette"""
    info = describe(
        root,
        size=size,
        pixels=pixels,
        resize=resize,
        train_pixels=train_pixels,
        validation=validation,
    )
    training, evaluation = _tree.geometries(pixels, resize, train_pixels, 3, ("pixels", "train_pixels"))
    folder = root / _edition(size)
    if not folder.is_dir():
        _download(root, size)
    found = _tree.tree(folder, validation=validation)
    counts = (len(found.train.paths), len(found.validation.paths), len(found.test.paths))
    if counts != (info.train, info.validation, info.test):
        raise OptbenchError(
            f"{folder}: expected {info.train + info.validation} training and {info.test} test pictures; found "
            f"{counts[0] + counts[1]} and {counts[2]}: remove the folder, and it is fetched again"
        )
    return _tree.decoded(found, info, root, training, evaluation)


def _edition(size: int | str) -> str:
    if str(size) not in _ARCHIVES:
        raise OptbenchError(f"size: expected 160, 320 or full; found {size}")
    return _ARCHIVES[str(size)]


def _download(root: Path, size: int | str) -> None:
    from torchvision.datasets import Imagenette

    name = "full" if str(size) == "full" else f"{size}px"
    url, md5 = Imagenette._ARCHIVES[name]
    fetch(root, {Path(url).name: md5}, lambda folder: Imagenette(str(folder), size=name, download=True))
