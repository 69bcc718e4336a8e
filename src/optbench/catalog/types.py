"""Description and samples of a data set. Does not import torch: `check` and `plan` use this module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a suite is checked without it
    import numpy as np
    import numpy.typing as npt

    #: one array, or several by name; the first axis is the sample
    Arrays = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class DataInfo:
    """Description that is available without reading the samples."""

    train: int
    validation: int
    test: int
    shape: tuple[int, ...]
    """Shape of one input: (channels, height, width) of images, (features,) of vectors, (context,) of text; () for named inputs."""
    classes: int = 0
    """Number of classes; of numeric targets, the number of values per sample."""
    source: str = ""
    """Where the data are read from, for people."""
    fingerprint: str = ""
    """Of files that may change under the same name; part of a trial's identity."""
    task: str = "classification"
    """Name of a task in `catalog/tasks`."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further numbers that a model may request by name, such as vocab_size, context, num_users."""


@dataclass(frozen=True)
class Stream:
    """Samples of one split that are read during training, from a torch data set."""

    name: str
    """For messages, such as "data my_data.py: training"."""
    dataset: Any
    samples: int
    """In one pass."""
    is_iterable: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of a `DataLoader`: num_workers, collate_fn and the like."""


@dataclass(frozen=True)
class Split:
    """Samples of one split.

    Classification: `inputs` uint8 (n, channels, height, width) or float32 (n, features), `targets` int64 (n,) from 0. Other tasks
    may have arrays of any shape, or several arrays by name, which a model receives as keyword arguments. Arrays may be memory maps.
    """

    inputs: Arrays
    targets: Arrays
    digests: npt.NDArray[np.int64] | None = None
    """A hash of each original input, (n,), where it is known from decoding; equal inputs have equal hashes in all splits."""

    stream: Stream | None = None
    """Source of samples that do not fit in memory; `inputs` and `targets` are then empty."""

    @property
    def array(self) -> npt.NDArray[Any]:
        """The inputs, where they are one array."""
        assert not isinstance(self.inputs, dict)
        return self.inputs

    @property
    def labels(self) -> Any:
        """The targets of a classification task."""
        return self.targets

    @property
    def samples(self) -> int:
        """Number of samples."""
        if self.stream is not None:
            return self.stream.samples
        first = self.targets if not isinstance(self.targets, dict) else next(iter(self.targets.values()))
        return len(first)


@dataclass(frozen=True)
class Splits:
    """Disjoint, deterministic splits. `mean` and `std` (of the training split, one value per channel, in 0..255)
    normalise images; both are empty for all other data, which are used unchanged."""

    train: Split
    validation: Split
    test: Split
    info: DataInfo
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    checksum: str = ""  # over all samples; equal for equal data
    notes: tuple[str, ...] = ()  # what a reader of the results must know about the data, one sentence each


def named_arrays(values: Arrays, name: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays by name; a single array is called `name`."""
    return values if isinstance(values, dict) else {name: values}
