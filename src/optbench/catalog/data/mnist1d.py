"""MNIST-1D: ten shapes of digits as noisy signals of 40 values (Greydanus and Kobak 2024, arXiv:2011.14439); generated."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.catalog.data._stored import store_arrays, stored_arrays
from optbench.catalog.types import DataInfo, Split, Splits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RANGES = {"train": (10, None), "test": (10, None)}
#: defaults of `optbench new`
STARTER = {"target": 0.55, "batch_size": 64, "most_epochs": 50}

_LENGTH = 40
#: one shape per digit, 12 values each, from the paper
_SHAPES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
_PADDED = 72  # values after padding
_SHORTEST = 48


def describe(root: Path, *, train: int = 4000, test: int = 1000) -> DataInfo:
    """`train` and `test`: numbers of samples; validation has as many as test. Not the bits of the authors' file: another generator."""
    return DataInfo(train, test, test, (_LENGTH,), 10, "the generator of MNIST-1D")


def load(root: Path, *, train: int = 4000, test: int = 1000) -> Splits:
    """Return signals (n, 40) in float32, stored in the data root for the next time: generating them takes a second."""
    import numpy as np

    generator = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    file = root / "mnist1d" / f"{train}-{test}-{generator}-numpy{np.__version__}-scipy{version('scipy')}.npz"
    arrays = stored_arrays(file)
    if arrays is None:
        arrays = _generated(train, test)
        store_arrays(file, arrays)
    parts = [Split(arrays[f"signals{number}"], arrays[f"labels{number}"]) for number in range(3)]
    return Splits(parts[0], parts[1], parts[2], describe(root, train=train, test=test))


def _generated(train: int, test: int) -> dict[str, npt.NDArray[Any]]:
    """Return signals and labels of training, validation and test. Each split has its own random stream."""
    import numpy as np

    arrays = {}
    for number, size in enumerate((train, test, test)):
        random = np.random.RandomState(number)
        labels = random.permutation(np.arange(size) % 10)
        arrays[f"signals{number}"] = _signals(random, labels)
        arrays[f"labels{number}"] = labels.astype(np.int64)
    return arrays


def _signals(random: np.random.RandomState, labels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Pad, stretch, scale, shift, add smooth and white noise, shear and subsample the shape of each label."""
    import numpy as np
    from scipy.ndimage import gaussian_filter1d

    shapes = np.array(_SHAPES)
    shapes = (shapes - shapes.mean(1, keepdims=True)) / shapes.std(1, keepdims=True)
    shapes = (shapes - shapes[:, :1]) / 6
    whole, final = np.linspace(0, 1, _PADDED), np.linspace(0, 1, _LENGTH)
    padded_to = {n: np.linspace(0, 1, n) for n in range(_SHORTEST, _PADDED + 1)}
    shear = np.linspace(-0.5, 0.5, _PADDED)
    stretched, noise, fine = (np.empty((len(labels), _PADDED)) for _ in range(3))
    shears = np.empty((len(labels), 1))
    for row, label in enumerate(labels):  # the order in which random numbers are drawn defines the data
        padded = np.zeros(random.randint(_SHORTEST, _PADDED + 1))
        padded[: shapes.shape[1]] = shapes[label] + 1e-8  # not 0: where the signal is 0, noise replaces it
        signal = np.interp(whole, padded_to[len(padded)], padded) * (1 + 0.4 * (random.rand() - 0.5))
        shift = random.randint(48)
        stretched[row, shift:], stretched[row, :shift] = signal[: _PADDED - shift], signal[_PADDED - shift :]
        noise[row], fine[row] = random.randn(_PADDED), random.randn(_PADDED)
        shears[row] = 0.75 * (random.rand() - 0.5)
    signals = np.where(stretched != 0, stretched, gaussian_filter1d(0.25 * noise, 2)) + 0.02 * fine
    signals -= shears * shear
    return np.stack([np.interp(final, whole, signal) for signal in signals]).astype(np.float32)
