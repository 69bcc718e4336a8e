"""Description and samples of a data set. Does not import torch: `check` and `plan` use this module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a suite is checked without it
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class DataInfo:
    """Known without decoding anything. `shape` is (channels, height, width), or (features,) for vectors."""

    train: int
    validation: int
    test: int
    shape: tuple[int, ...]
    classes: int
    source: str = ""  # where the data is read from, for people
    fingerprint: str = ""  # of files that may change under the same name; part of a trial's identity


@dataclass(frozen=True)
class Split:
    """Samples of one split. `inputs`: uint8 (n, channels, height, width), or float32 (n, features); may be a memory map.
    `labels`: int64 (n,), from 0."""

    inputs: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    digests: npt.NDArray[np.int64] | None = None
    """A hash of each original input, (n,), where it is known from decoding; equal inputs have equal hashes in all splits."""


@dataclass(frozen=True)
class Splits:
    """Disjoint, deterministic splits. `mean` and `std` (of the training split, a value a channel, in 0..255 units)
    normalise images; both are empty for vectors, which are used as they are."""

    train: Split
    validation: Split
    test: Split
    info: DataInfo
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    checksum: str = ""  # over all samples; equal for equal data
    notes: tuple[str, ...] = ()  # what a reader of the results must know about the data, one sentence each
