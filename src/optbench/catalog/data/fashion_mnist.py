"""Fashion-MNIST: 70,000 grey pictures of 28x28 pixels, 10 kinds of clothing (Xiao et al. 2017)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.catalog.data._carved import described, splits
from optbench.catalog.data._download import fetch
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: defaults of `optbench new`
STARTER = {"target": 0.85, "batch_size": 128, "most_epochs": 20}

_SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
#: MD5 of the packed file as it is downloaded; bytes and MD5 of the unpacked file
_FILES = {
    "train-images-idx3-ubyte": (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        47_040_016,
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    ),
    "train-labels-idx1-ubyte": (
        "25c81989df183df01b3e8a0aad5dffbe",
        60_008,
        "9018921c3c673c538a1fc5bad174d6f9",
    ),
    "t10k-images-idx3-ubyte": (
        "bef4ecab320f06d8554ea6380940ec79",
        7_840_016,
        "8181f5470baa50b63fa0f6fddb340f0a",
    ),
    "t10k-labels-idx1-ubyte": (
        "bb300cfdad3c16e7a12a480ee83cd310",
        10_008,
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
}


def describe(root: Path, *, validation: float = 0.1) -> DataInfo:
    """54,000 training, 6,000 validation and 10,000 test samples by default. Does not use the network.

    `validation` is the fraction of the 60,000 training samples that is kept for validation.
    """
    folder = _folder(root)
    source = str(folder) if folder else f"to be downloaded to {root}"
    return described(DataInfo(60_000, 0, 10_000, (1, 28, 28), 10, source), validation)


def load(root: Path, *, validation: float = 0.1) -> Splits:
    """Read from `root` (torchvision's layout), else from the system's copy, else download. arXiv:1708.07747."""
    import numpy as np

    if _folder(root) is None:
        archives = {f"FashionMNIST/raw/{name}.gz": md5 for name, (md5, _, _) in _FILES.items()}
        fetch(root, archives, _download)
    folder = _folder(root)
    assert folder is not None
    images, labels, test_images, test_labels = (_read(folder / name, root) for name in _FILES)
    info = describe(root, validation=validation)
    return splits((images[:, None], labels), (np.array(test_images)[:, None], test_labels), info, validation)


def _folder(root: Path) -> Path | None:
    """Return the first folder that has all four files, packed or not."""
    for folder in (root / "FashionMNIST" / "raw", _SYSTEM):
        if all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in _FILES):
            return folder
    return None


def _download(folder: Path) -> None:
    from torchvision.datasets import FashionMNIST

    FashionMNIST(str(folder), download=True)


def _read(path: Path, root: Path) -> npt.NDArray[np.uint8]:
    """Read an idx file of bytes: two zeros, the type 8, the number of dimensions, their sizes (big-endian), the data.

    Torchvision cannot read packed files, and its import costs a second per trial. A packed file is checked and stored unpacked
    below the data root, where the next trial reads it as a memory map.
    """
    import zlib

    import numpy as np

    packed = path.with_name(path.name + ".gz")
    used = path if path.is_file() else packed
    _, size, md5 = _FILES[path.name]
    try:
        raw = _mapped(path, size) if used is path else _unpacked(packed, size, md5)
        shape = np.frombuffer(raw, ">u4", raw[3], 4)
        values = np.frombuffer(raw, np.uint8, int(shape.prod()), 4 + 4 * raw[3]).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        message = f"is not the file of Fashion-MNIST ({error}); remove it, and it is fetched again"
        raise OptbenchError(message, file=str(used)) from error
    if used is packed:
        _keep(raw, root / "FashionMNIST" / "raw" / path.name)
    return values


def _mapped(path: Path, size: int) -> Any:
    import numpy as np

    found = path.stat().st_size
    if found != size:
        raise ValueError(f"expected {size:,} bytes; found {found:,}")
    return np.memmap(path, np.uint8, "r")


def _unpacked(path: Path, size: int, md5: str) -> bytes:
    """Return the content; at most `size` bytes are unpacked. Raises `ValueError` if size or MD5 differ."""
    import gzip
    import hashlib

    with gzip.open(path) as file:
        content = file.read(size + 1)
    if len(content) != size:
        found = "more" if len(content) > size else f"{len(content):,}"
        raise ValueError(f"expected {size:,} bytes when unpacked; found {found}")
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(f"expected MD5 {md5} when unpacked; found {found}")
    return content


def _keep(content: bytes, path: Path) -> None:
    """Write the file atomically; skip it if the data root is not writable."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(content)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
