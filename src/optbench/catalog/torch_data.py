"""Read the samples of torch data sets and data loaders into arrays, once, in their order."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optbench.errors import OptbenchError

_BATCH = 256  # samples that are collated at a time
_TITLES = ("training", "validation", "test")


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


def _pair(where: str, data: Any) -> tuple[Any, Any]:
    loader, batches = _in_order(where, data), []
    with _fixed_generators():
        try:
            batches += [_split(where, batch) for batch in loader]
        except (TypeError, RuntimeError) as error:  # of torch's collate function
            reason = str(error).strip().partition("\n")[0]
            raise OptbenchError(
                f"{where}: the samples cannot be stacked: expected numbers and tensors of equal sizes, padded where they differ: {reason}"
            ) from error
    if not batches:
        raise OptbenchError(f"{where}: expected samples; the data set is empty")
    return tuple(_joined(where, part) for part in zip(*batches, strict=True))


def _in_order(where: str, data: Any) -> Any:
    import torch
    from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

    if not isinstance(data, DataLoader):
        return DataLoader(data, batch_size=_BATCH, generator=torch.Generator())
    if isinstance(data.dataset, IterableDataset) or data.batch_sampler is None:
        return data
    for sampler, kinds in (
        (data.sampler, (SequentialSampler, RandomSampler)),
        (data.batch_sampler, (BatchSampler,)),
    ):
        if type(sampler) not in kinds:
            raise OptbenchError(
                f"{where}: optbench draws the order of the samples: expected a loader without a sampler of its own; "
                f"found {type(sampler).__name__}; for a subset, use torch.utils.data.Subset"
            )
    return DataLoader(
        data.dataset,
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        collate_fn=data.collate_fn,
        worker_init_fn=data.worker_init_fn,
        generator=torch.Generator(),
    )


def _split(where: str, batch: Any) -> tuple[Any, Any]:
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


@contextmanager
def _fixed_generators() -> Iterator[None]:
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
