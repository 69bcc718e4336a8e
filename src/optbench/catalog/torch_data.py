"""Samples of torch data sets and data loaders: read into arrays once, in their order, or streamed during training."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from optbench.catalog.types import DataInfo, Split, Splits, Stream
from optbench.errors import OptbenchError, first_line

_BATCH = 256  # samples that are collated at a time
_TITLES = ("training", "validation", "test")
_LOADER_OPTIONS = (
    "num_workers",
    "collate_fn",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
    "timeout",
)
_BY_POSITION = (
    "the training data are a stream (IterableDataset): a resumed trial reads the samples before its position again and drops them, "
    "so it is exact only if each pass yields the same samples in the same order"
)


def pairs_of(name: str, made: Any) -> Any:
    """Return `made` with every torch `Dataset` and `DataLoader` in it replaced by a pair (inputs, targets) of arrays.

    A sample is a pair (inputs, targets), or a dictionary with an entry `labels`: its inputs are then all entries. A loader of a
    map-style data set is read in the order of the data set, whatever its sampler, so that every trial gets the same samples.
    Random generators have a fixed state while samples are read, and their previous state afterwards. `name` is that of the data
    set. Raises `OptbenchError` for samples that do not form arrays.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(made, (tuple, list)):
        return made
    kinds = (torch.utils.data.Dataset, torch.utils.data.DataLoader)
    titles = _TITLES if len(made) == len(_TITLES) else ("",) * len(made)
    return tuple(
        _pair(f"data {name}: {title}", part) if isinstance(part, kinds) else part
        for title, part in zip(titles, made, strict=True)
    )


def streamed(name: str, made: Any, task: str, classes: int | None) -> Splits:
    """Return splits whose samples are read during training, of three torch data sets or loaders.

    `classes`: number of classes, tokens or predicted values; None takes the length of the data set's attribute `classes`, or the
    number of values of the first target. Reads the first sample. Raises `OptbenchError` for anything else.
    """
    from torch.utils.data import DataLoader, Dataset

    if not (isinstance(made, (tuple, list)) and len(made) == len(_TITLES)) or not all(
        isinstance(part, (Dataset, DataLoader)) for part in made
    ):
        found = (
            ", ".join(type(part).__name__ for part in made)
            if isinstance(made, (tuple, list))
            else type(made).__name__
        )
        raise OptbenchError(
            f"data {name}: STREAM = True: expected three torch data sets or loaders, for training, validation and test; found {found}"
        )
    streams = [_stream(f"data {name}: {title}", part) for title, part in zip(_TITLES, made, strict=True)]
    train = streams[0]
    shape, values = _first_shapes(train)
    if classes is None and task in ("classification", "language"):
        named = getattr(train.dataset, "classes", None) if task == "classification" else None
        if not isinstance(named, (list, tuple)):
            what = "classes" if task == "classification" else "tokens of the vocabulary"
            raise OptbenchError(
                f"data {name}: the number of {what} is not known before all samples are read: add it to the file, as in CLASSES = 10"
            )
        classes = len(named)
    if classes is None:
        classes = values[0] if values else 1
    sizes = [stream.samples for stream in streams]
    info = DataInfo(sizes[0], sizes[1], sizes[2], shape, classes, name, task=task)
    parts = [Split({}, {}, stream=stream) for stream in streams]
    notes = (_BY_POSITION,) if train.is_iterable else ()
    return Splits(parts[0], parts[1], parts[2], info, notes=notes)


def _stream(where: str, data: Any) -> Stream:
    """Return the stream of a data set or loader, after a check that its length is known."""
    from torch.utils.data import DataLoader, IterableDataset

    options: dict[str, Any] = {}
    if isinstance(data, DataLoader):
        _refuse_sampler(where, data)
        if data.batch_size is None and data.batch_sampler is None:
            raise OptbenchError(
                f"{where}: expected samples; found a loader of batches (batch_size=None); optbench forms the batches"
            )
        options = _loader_options(data)
        data = data.dataset
    is_iterable = isinstance(data, IterableDataset)
    if not hasattr(data, "__len__"):
        raise OptbenchError(
            f"{where}: expected a data set with __len__, the number of samples of one pass, which budgets in epochs and the order need"
        )
    samples = len(data)
    if samples < 1:
        raise OptbenchError(f"{where}: expected samples; the data set is empty")
    return Stream(where, data, samples, is_iterable, options)


def _loader_options(loader: Any) -> dict[str, Any]:
    """Return the options of a loader that optbench uses; on Linux workers are forked, since others cannot import a suite's file."""
    options = {name: value for name in _LOADER_OPTIONS if (value := getattr(loader, name, None)) is not None}
    if not loader.num_workers:
        options.pop("prefetch_factor", None)
    elif sys.platform == "linux":
        options.setdefault("multiprocessing_context", "fork")
    return options


def _first_shapes(stream: Stream) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of one input and of one target; () for inputs or targets by name."""
    import torch

    with Generators(0):
        sample = next(iter(stream.dataset)) if stream.is_iterable else stream.dataset[0]
    collate = stream.options.get("collate_fn") or torch.utils.data.default_collate
    parts = split_batch(stream.name, collate([sample]))
    shapes = [tuple(part.shape[1:]) if hasattr(part, "shape") else () for part in parts]
    return shapes[0], shapes[1]


def _pair(where: str, data: Any) -> tuple[Any, Any]:
    loader = _in_order(where, data)
    with Generators(0):
        batches = list(batches_of(where, loader))
    if not batches:
        raise OptbenchError(f"{where}: expected samples; the data set is empty")
    return tuple(_joined(where, part) for part in zip(*batches, strict=True))


def _in_order(where: str, data: Any) -> Any:
    """Return a loader of pairs (inputs, targets), in the order of the data set."""
    import torch
    from torch.utils.data import DataLoader, IterableDataset

    if not isinstance(data, DataLoader):
        data = DataLoader(data, batch_size=_BATCH)
    _refuse_sampler(where, data)
    options = _loader_options(data)
    options["collate_fn"] = PairCollate(where, data.collate_fn)
    if data.batch_sampler is not None:
        options["batch_size"] = data.batch_size or _BATCH
    else:  # the data set returns batches
        options["batch_size"] = None
        options["sampler"] = None if isinstance(data.dataset, IterableDataset) else data.sampler
    return DataLoader(data.dataset, generator=torch.Generator(), **options)


def batches_of(where: str, loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches of a loader.

    Raises `OptbenchError` for a `Fault`, and for an exception or the end of a worker process, whose traceback it leaves out.
    """
    try:
        for batch in loader:
            if isinstance(batch, Fault):
                raise OptbenchError(batch.message)
            yield batch
    except (OptbenchError, MemoryError):
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        if re.match(r"Caught \w+ in DataLoader worker process", lines[0]):
            raise OptbenchError(f"{where}: reading a sample raises {lines[-1]}") from error
        if lines[0].startswith("DataLoader worker"):
            raise OptbenchError(
                f"{where}: {lines[0]}: num_workers=0 shows the error; a class of the data set's file requires the "
                "multiprocessing_context 'fork'"
            ) from error
        raise


def _refuse_sampler(where: str, loader: Any) -> None:
    from torch.utils.data import BatchSampler, IterableDataset, RandomSampler, SequentialSampler

    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        return
    for sampler, kinds in (
        (loader.sampler, (SequentialSampler, RandomSampler)),
        (loader.batch_sampler, (BatchSampler,)),
    ):
        if type(sampler) not in kinds:
            raise OptbenchError(
                f"{where}: optbench draws the order of the samples: expected a loader without a sampler of its own; "
                f"found {type(sampler).__name__}; for a subset, use torch.utils.data.Subset"
            )


def split_batch(where: str, batch: Any) -> tuple[Any, Any]:
    """Return inputs and targets of a collated batch. Raises `OptbenchError` for another form."""
    if isinstance(batch, dict) and "labels" in batch:
        return batch, batch["labels"]
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    found = f"a dictionary with {', '.join(batch)}" if isinstance(batch, dict) else type(batch).__name__
    if isinstance(batch, (tuple, list)):
        found = f"{len(batch)} values"
    raise OptbenchError(
        f"{where}: expected samples as pairs (inputs, targets), or dictionaries with an entry 'labels'; found {found}"
    )


@dataclass(frozen=True)
class Fault:
    """What is wrong with a batch; a worker process returns it, since an exception there comes with its traceback."""

    message: str


@dataclass
class PairCollate:
    """Form inputs and targets of a batch from samples; runs in the worker processes."""

    name: str
    collate: Callable[[Any], Any]

    def __call__(self, samples: Any) -> tuple[Any, Any] | Fault:
        try:
            return split_batch(self.name, self.collate(samples))
        except OptbenchError as error:
            return Fault(str(error))
        except (TypeError, RuntimeError) as error:  # of torch's collate function
            return Fault(
                f"{self.name}: the samples cannot be stacked: expected numbers and tensors of equal sizes, padded where they differ: "
                f"{first_line(error)}"
            )


def _joined(where: str, parts: tuple[Any, ...]) -> Any:
    """Return the arrays of all batches, one after the other."""
    import numpy as np

    first = parts[0]
    if isinstance(first, dict):
        return {key: _joined(where, tuple(part[key] for part in parts)) for key in first}
    arrays = [np.asarray(part) for part in parts]
    sizes = sorted({array.shape[1:] for array in arrays})
    if len(sizes) > 1 or arrays[0].ndim == 0 or arrays[0].dtype == object:
        raise OptbenchError(
            f"{where}: expected samples of one size in all batches; found {', '.join(map(str, sizes))}: pad them to one length"
        )
    return np.concatenate(arrays)


class Generators:
    """Seeded states of the random generators of Python, NumPy and torch (CPU), in effect inside the `with` block only."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._inside: Any = None
        self._outside: Any = None

    def __enter__(self) -> None:
        import numpy as np
        import torch

        self._outside = self._state()
        if self._inside is not None:
            self._restore(self._inside)
            return
        torch.default_generator.manual_seed(self._seed)
        random.seed(self._seed)
        np.random.seed(self._seed % 2**32)

    def __exit__(self, *_: object) -> None:
        self._inside = self._state()
        self._restore(self._outside)

    @staticmethod
    def _state() -> Any:
        import numpy as np
        import torch

        return torch.default_generator.get_state(), random.getstate(), np.random.get_state()

    @staticmethod
    def _restore(state: Any) -> None:
        import numpy as np
        import torch

        torch.default_generator.set_state(state[0])
        random.setstate(state[1])
        np.random.set_state(state[2])
