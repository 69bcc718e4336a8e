"""Any tree of pictures: train/<class>/*.jpg, with val/<class>/*.jpg as the test split (a local ImageNet, for example)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
    """Counts files and opens none. Raises OptbenchError for a folder that is missing, empty or not as described here.

    - `path`: the folder with `train/` in it; relative to the data root (in a suite: also to the suite), absolute or `~`.
    - `size`: pixels of a side. The shorter side is resized to `resize` (default `size`), the centre is cut out.
    - `train_size`: pixels of a side at which training pictures are stored (default: as the others); larger than `size`
      with the augmentation `random_resized_crop`.
    - `channels`: 3 (RGB) or 1 (grey).
    - `classes`: the first so many class folders in alphabetical order, or a list of names; default all.
    - `images_per_class`: at most so many pictures of each class under `train/`.
    - `validation`: fraction taken out of the training pictures, stratified. `val/` is the test split, unless there is a
      `test/` with class folders too: then each is what it says. With neither, `test` is the fraction taken out as well.
    """
    from optbench.catalog.data import _tree

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
    """The pictures, decoded once into `<root>/cache/`; arguments as in `describe`.

    Every picture is used or named in an OptbenchError: a corrupt one is never dropped in silence.
    """
    from optbench.catalog.data import _tree

    training, evaluation = _tree.geometries(size, resize, train_size, channels)
    folder = root / Path(path).expanduser()
    found = _tree.tree(
        folder, classes=classes, images_per_class=images_per_class, validation=validation, test=test
    )
    info = _tree.described(found, (channels, size, size), folder)
    return _tree.decoded(found, info, root, training, evaluation)
