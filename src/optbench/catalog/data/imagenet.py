"""ImageNet-1k: 1.28 million pictures of 1,000 classes (Russakovsky et al. 2015), from a local copy in class folders."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog.data import _tree
from optbench.catalog.data._carved import described
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError

#: defaults of `optbench new`
STARTER = {"target": 0.75, "batch_size": 256, "most_epochs": 90, "augment": {"flip": True}}

_FOLDER = "imagenet"


def describe(
    root: Path,
    *,
    size: int = 224,
    resize: int = 256,
    train_size: int = 256,
    validation: float = 0.02,
) -> DataInfo:
    """Describe 1,281,167 training and 50,000 test pictures, also if they are not on this machine.

    - `size`: pixels of a side. The shorter side is resized to `resize`, the centre is cut out.
    - `train_size`: pixels of a side at which training pictures are stored, for random resized crops: shorter side resized, centre
      cropped. Crops therefore never contain the ends of a picture's longer side, unlike in the usual recipe.
    - `validation`: fraction of the training pictures that is kept for validation; ImageNet's own validation set, whose
      labels are public, is the test split.
    """
    _tree.geometries(size, resize, train_size, 3)
    folder = root / _FOLDER
    source = str(folder) if folder.is_dir() else f"expected in {folder}, not there"
    return described(DataInfo(1_281_167, 0, 50_000, (3, size, size), 1000, source), validation)


def load(
    root: Path,
    *,
    size: int = 224,
    resize: int = 256,
    train_size: int = 256,
    validation: float = 0.02,
) -> Splits:
    """Return the pictures of `<root>/imagenet/{train,val}/<class>/*.JPEG`, decoded once into `<root>/cache/` (280 GB by default)."""
    folder = root / _FOLDER
    if not (folder / "train").is_dir() or not (folder / "val").is_dir():
        raise OptbenchError(
            f"ImageNet cannot be downloaded automatically: put its pictures into {folder}/train/<class>/*.JPEG and "
            f"{folder}/val/<class>/*.JPEG (torchvision's layout), or link such a folder to {folder}"
        )
    training, evaluation = _tree.geometries(size, resize, train_size, 3)
    found = _tree.tree(folder, validation=validation)
    info = _tree.described(found, (3, size, size), folder)
    if info.classes != 1000:
        raise OptbenchError(
            f"{folder}/train: expected 1,000 class folders; found {info.classes}: use the data set `image_folder` for a subset"
        )
    return _tree.decoded(found, info, root, training, evaluation)
