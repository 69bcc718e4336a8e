"""Disjoint, stratified, deterministic splits, and the statistics that normalise images.

`numpy.random.RandomState` is used because its stream is frozen: a seed gives the same split in every version of NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optbench.errors import OptbenchError

if TYPE_CHECKING:  # a suite is checked without it
    import numpy as np
    import numpy.typing as npt

    Labels = npt.NDArray[np.int64]


_IN_CACHE = 1 << 16  # numbers that are summed up at a time


def carved_size(samples: int, fraction: float) -> int:
    """Return how many of `samples` the function `carve` selects; it does not depend on the labels, and is 0 only for a fraction of 0.

    Raises OptbenchError unless 0 <= fraction < 1.
    """
    if not 0 <= fraction < 1:
        raise OptbenchError(f"expected a fraction from 0 to under 1 to split off, as 0.1; found {fraction}")
    return min(max(round(samples * fraction), 1 if fraction else 0), samples - 1)


def carve(labels: Labels, fraction: float, seed: int = 0) -> tuple[Labels, Labels]:
    """Return indices (kept, carved), both ascending: `round(n * fraction)` are carved, in proportion to the classes.

    Samples are allotted by largest remainder, so every class is within one sample of its share.
    """
    import numpy as np

    wanted = carved_size(len(labels), fraction)
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * (wanted / max(1, len(labels)))
    take = np.floor(shares).astype(np.int64)
    largest_first = np.argsort(-(shares - take), kind="stable")
    take[largest_first[: wanted - int(take.sum())]] += 1

    random = np.random.RandomState(seed)
    carved = np.zeros(len(labels), dtype=bool)
    for label, number in zip(classes, take, strict=True):
        carved[random.permutation(np.flatnonzero(labels == label))[:number]] = True
    return np.flatnonzero(~carved), np.flatnonzero(carved)


def channel_statistics(images: npt.NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, in 0..255. `images`: uint8 (n, channels, height, width).

    Computed from sums of integers, exact in float64, so the values do not depend on the order of summation. Constant channels
    have std 1.
    """
    import numpy as np

    samples, channels, height, width = images.shape
    sums, squares = np.zeros((2, channels), dtype=np.float64)
    some = max(1, _IN_CACHE // (height * width))
    for start in range(0, samples, some):
        for channel in range(channels):
            values = images[start : start + some, channel].astype(np.float64).ravel()
            sums[channel] += values.sum()
            squares[channel] += np.einsum("i,i->", values, values)
    total = max(samples * height * width, 1)
    mean = sums / total
    variance = squares / total - mean**2
    std = np.sqrt(np.where(variance > 1e-9, variance, 1.0))
    return tuple(mean.tolist()), tuple(std.tolist())
