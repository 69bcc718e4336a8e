"""Splits of data sets that have a training and a test part."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optbench.catalog.data._split import carve, carved_size, channel_statistics
from optbench.catalog.types import DataInfo, Split, Splits
from optbench.errors import OptbenchError

if TYPE_CHECKING:  # a suite is checked without it
    import numpy as np
    import numpy.typing as npt

    Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]


def described(info: DataInfo, validation: float) -> DataInfo:
    """Return `info` with the fraction `validation` of its training samples as validation split.

    Raises `OptbenchError` for an invalid fraction.
    """
    try:
        taken = carved_size(info.train, validation)
    except OptbenchError as error:
        raise OptbenchError(f"validation: {error}") from None
    return replace(info, train=info.train - taken, validation=taken)


def splits(train: Arrays, test: Arrays, info: DataInfo, validation: float) -> Splits:
    """Return the splits of uint8 inputs (n, channels, height, width). `info` is the description."""
    import numpy as np

    inputs, labels = train[0], train[1].astype(np.int64)
    kept, taken = carve(labels, validation)
    training = inputs[kept]
    mean, std = channel_statistics(training)
    return Splits(
        Split(training, labels[kept]),
        Split(inputs[taken], labels[taken]),
        Split(test[0], test[1].astype(np.int64)),
        info,
        mean,
        std,
    )
