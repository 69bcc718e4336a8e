"""Image folder: train/<class>/*.jpg, with val/<class>/*.jpg as the test split, for example a local ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optbench.catalog.data import _tree
from optbench.catalog.types import DataInfo, Splits


def describe(
    root: Path,
    *,
    path: str,
    size: int = 64,
    resize: int | None = None,
    train_size: int | None = None,
    channels: int = 3,
    classes: int | Sequence[str] | None = None,
    images_per_class: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
) -> DataInfo:
    """Count the files without opening them. Raises `OptbenchError` for a folder that is missing, empty or has another layout.

    - `path`: the folder with `train/` in it; relative to the data root (in a suite: also to the suite), absolute or `~`.
    - `size`: pixels of a side. The shorter side is resized to `resize` (default `size`), the centre is cut out.
    - `train_size`: pixels of a side at which training pictures are stored (default: as the others); larger than `size`
      with the augmentation `random_resized_crop`.
    - `channels`: 3 (RGB) or 1 (grey).
    - `classes`: number of class folders, in alphabetical order, or a list of names; default all.
    - `images_per_class`: maximum number of pictures of each class in `train/`.
    - `validation`: fraction of the training pictures for validation, stratified. `val/` is the test split, unless there is a
      `test/` with class folders as well. Without both, `test` is the fraction of the training pictures for the test split.
    """
    _tree.geometries(size, resize, train_size, channels)
    folder = root / Path(path).expanduser()
    found = _tree.tree(
        folder, classes=classes, images_per_class=images_per_class, validation=validation, test=test
    )
    return _tree.described(found, (channels, size, size), folder)


def load(
    root: Path,
    *,
    path: str,
    size: int = 64,
    resize: int | None = None,
    train_size: int | None = None,
    channels: int = 3,
    classes: int | Sequence[str] | None = None,
    images_per_class: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
) -> Splits:
    """Return the pictures, decoded once into `<root>/cache/`; arguments as for `describe`.

    Every picture is used or named in an `OptbenchError`: corrupt pictures are never dropped silently.
    """
    training, evaluation = _tree.geometries(size, resize, train_size, channels)
    folder = root / Path(path).expanduser()
    found = _tree.tree(
        folder, classes=classes, images_per_class=images_per_class, validation=validation, test=test
    )
    info = _tree.described(found, (channels, size, size), folder)
    return _tree.decoded(found, info, root, training, evaluation)
