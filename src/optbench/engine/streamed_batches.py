"""Batches of data that are read during training, from torch data sets (`STREAM = True` in the file of a data set).

Map-style: batch `step` depends on (seed, step) only, whatever the number of worker processes: optbench draws the order, and the random
generators are seeded before the samples of each batch are read. Iterable: a pass depends on (seed, epoch) if the data set does; to
continue at a step, the samples of the pass before it are read and dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from optbench.catalog.data_checks import array_problems
from optbench.catalog.task_types import task_module
from optbench.catalog.torch_data import Fault, Generators, PairCollate, batches_of
from optbench.catalog.types import DataInfo, Stream
from optbench.engine.augment import SampleOrder
from optbench.engine.batch import Batch, Values, map_tensors, tensors
from optbench.engine.batches import BatchSettings
from optbench.engine.clock import Stopwatch
from optbench.engine.layout import Layout
from optbench.engine.randomness import derive
from optbench.errors import OptbenchError
from optbench.suite.types import Augment


class StreamedTrainingBatches:
    """Training batches of a stream, with the interface of `TrainingBatches`.

    Iterable data are read whole by each process. Raises `OptbenchError` if augmentation or batch size do not match the data.
    """

    residency = "stream"

    def __init__(self, stream: Stream, info: DataInfo, settings: BatchSettings) -> None:
        batch_size, rows = settings.batch_size, settings.rows
        self.samples, self.batch_size = stream.samples, batch_size
        self.steps_per_epoch = self.samples // batch_size
        problems = []
        if batch_size > self.samples:
            problems.append(
                f"batch_size: expected at most the {self.samples} training samples; found {batch_size}"
            )
        if settings.augment != Augment():
            problems.append(
                "augment: requires images in memory; put the transforms into the data set, which reads its samples during training"
            )
        if problems:
            raise OptbenchError(*problems)
        self._reader = _Reader(stream, info, settings.device)
        self._seed, self._layout = settings.seed, settings.memory_format
        self._rows = None if rows is None else rows.cpu()
        self._next = 0
        self._batches: Iterator[Batch] | None = None
        self._wait = Stopwatch()

    def batch(self, step: int) -> Batch:
        """Return batch `step`, counted from 0 over all epochs. Steps in order continue the stream, others restart it."""
        with self._wait:
            batch = next(self._at(step))
        self._next += 1
        return _on_device(batch, self._reader.device, self._layout)

    def seek(self, step: int) -> None:
        """Start the worker processes and read batch `step`; an iterable data set reads the samples of its pass before it."""
        batches = self._at(step)
        self._batches = chain((next(batches),), batches)

    def static(self) -> Any:
        """Raise `OptbenchError`: there is no fixed memory address."""
        raise OptbenchError("batches of a stream cannot be captured")

    @property
    def data_wait_seconds(self) -> float:
        """Seconds that `batch` has waited for data."""
        return self._wait.seconds

    def close(self) -> None:
        """End the worker processes."""
        self._batches = None

    def _at(self, step: int) -> Iterator[Batch]:
        if self._batches is None or self._next != step:
            self._batches = None  # ends its workers first
            reader = self._reader
            batches = reader.iterable_batches if reader.stream.is_iterable else reader.map_style_batches
            self._batches, self._next = batches(self._seed, step, self.batch_size, self._rows), step
        return self._batches


class StreamedEvaluationBatches:
    """All samples of a split in the order of its data set, the same at each iteration; the last batch may be smaller."""

    def __init__(
        self,
        stream: Stream,
        info: DataInfo,
        batch_size: int,
        device: torch.device,
        memory_format: Layout = "contiguous",
    ) -> None:
        self._reader, self._batch_size, self._layout = (
            _Reader(stream, info, device),
            batch_size,
            memory_format,
        )

    def __len__(self) -> int:
        return -(-self._reader.stream.samples // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        reader, stream, size = self._reader, self._reader.stream, self._batch_size
        if stream.is_iterable:
            for batch in reader.one_pass(0, "evaluation", size):
                yield _on_device(batch, reader.device, self._layout)
            return
        starts = range(0, stream.samples, size)
        order = enumerate(torch.arange(start, min(start + size, stream.samples)) for start in starts)
        for batch in reader.load(0, "evaluation", order):
            yield _on_device(batch, reader.device, self._layout)


@dataclass(frozen=True)
class _Reader:
    """Reads batches of a stream to the host: pinned if `device`, the device for training, is a GPU."""

    stream: Stream
    info: DataInfo
    device: torch.device

    def map_style_batches(
        self, seed: int, step: int, batch_size: int, share: Tensor | None
    ) -> Iterator[Batch]:
        """Yield the batches of a map-style data set from `step` on, in the order that optbench draws.

        `share`: the positions in each batch that are read, None for all.
        """
        order = SampleOrder(seed, self.stream.samples, batch_size, share)
        # each process has its own random numbers
        purpose = "samples" if share is None else f"samples from {int(share[0])}"
        return self.load(seed, purpose, ((number, order.rows(number)) for number in count(step)))

    def load(self, seed: int, purpose: str, order: Iterable[tuple[int, Tensor]]) -> Iterator[Batch]:
        """Yield the batches of a map-style data set. `order`: number and rows of each batch."""
        loader: Iterable[Batch | Fault] = DataLoader(
            _Seeded(self.stream.dataset, seed, purpose),  # type: ignore[arg-type]
            batch_sampler=([number, *rows.tolist()] for number, rows in order),
            generator=torch.Generator(),  # not used, but the global one would be
            **self._options(),
        )
        return batches_of(self.stream.name, loader)

    def iterable_batches(
        self, seed: int, step: int, batch_size: int, share: Tensor | None
    ) -> Iterator[Batch]:
        """Yield the batches of an iterable data set from `step` on; those of its pass before it are read and dropped.

        `share`: as of `map_style_batches`.
        """
        steps = self.stream.samples // batch_size
        epoch, position = divmod(step, steps)
        while True:
            passed = self.one_pass(seed, epoch, batch_size)
            for number, batch in enumerate(islice(passed, steps)):
                if number >= position:
                    yield batch if share is None else batch.map(lambda v: v[share])
            epoch, position = epoch + 1, 0

    def one_pass(self, seed: int, epoch: int | str, batch_size: int) -> Iterator[Batch]:
        """Yield the batches of one pass over an iterable data set; the last one has the remaining samples.

        Raises `OptbenchError` before the last batch if the pass has another number of samples than `len` of the data set.
        """
        previous: Batch | None = None
        samples = 0
        for batch in _rebatched(self._read_pass(seed, epoch, batch_size), batch_size):
            samples += batch.samples
            if samples > self.stream.samples:
                raise OptbenchError(self._wrong_length("more"))
            if previous is not None:
                yield previous
            previous = batch
        if samples < self.stream.samples:
            raise OptbenchError(self._wrong_length(str(samples)))
        if previous is not None:
            yield previous

    def _wrong_length(self, found: str) -> str:
        stream, workers = self.stream, self.stream.options.get("num_workers", 0)
        message = (
            f"{stream.name}: expected {stream.samples} samples in a pass, as len() states; found {found}"
        )
        if found == "more" and workers > 1:
            message += f": {self._advice}"
        return message

    @property
    def _advice(self) -> str:
        workers = self.stream.options.get("num_workers", 0)
        return f"each of {workers} workers reads the data set: split the samples by torch.utils.data.get_worker_info()"

    def _read_pass(self, seed: int, epoch: int | str, batch_size: int) -> Iterator[Batch]:
        """Yield the batches of one pass as the data loader returns them, with at most `batch_size` samples."""
        dataset = self.stream.dataset
        if isinstance(epoch, int) and hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)
        start = derive(seed, "stream", epoch)
        generator = torch.Generator().manual_seed(start)  # seeds the workers
        options = self._options()
        loader = DataLoader(dataset, batch_size=batch_size, generator=generator, **options)
        if options["num_workers"]:
            batches = batches_of(self.stream.name, loader)
            first = list(islice(batches, 2))  # of the first two workers
            if options["num_workers"] > 1 and len(first) == 2 and _is_repeated(*first):
                raise OptbenchError(
                    f"{self.stream.name}: two workers read the same {first[0].samples} samples: {self._advice}"
                )
            yield from chain(first, batches)
            return
        generators = Generators(start)
        with generators:  # read in this process: training has its own generators
            read = iter(loader)
        while True:
            with generators:
                batch = next(read, None)
            if batch is None:
                return
            yield from batches_of(self.stream.name, (batch,))

    def _options(self) -> dict[str, Any]:
        """Return options of a `DataLoader`."""
        collate = self.stream.options.get("collate_fn", torch.utils.data.default_collate)
        return {
            "num_workers": 0,
            **self.stream.options,
            "collate_fn": _Collate(
                PairCollate(self.stream.name, collate),
                self.info,
                may_be_ragged=self.info.task == "custom" and not self.stream.is_iterable,
            ),
            "pin_memory": self.device.type == "cuda",
        }


def _is_repeated(a: Batch, b: Batch) -> bool:
    """Return whether two batches have the same samples in the same order, and not all samples are equal."""
    first, second = ([*tensors(batch.inputs), *tensors(batch.targets)] for batch in (a, b))
    varies = any(not torch.equal(v, v[:1].expand_as(v)) for v in first)
    return varies and all(torch.equal(v, w) for v, w in zip(first, second, strict=True))


@dataclass
class _Seeded:
    """A map-style data set; before it reads a batch, the generators are seeded by (seed, purpose, number of the batch)."""

    dataset: Any
    seed: int
    purpose: str

    def __getitems__(self, numbers: list[int]) -> list[Any]:
        batch, *rows = numbers
        read_all = getattr(self.dataset, "__getitems__", None)
        with Generators(derive(self.seed, self.purpose, batch)):
            samples: list[Any] = read_all(rows) if read_all else [self.dataset[row] for row in rows]
        return samples

    def __getitem__(self, number: int) -> Any:
        return self.dataset[number]


def _rebatched(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Yield batches of exactly `size` samples, the last one with the rest: each worker ends its share with a smaller batch."""
    rest: Batch | None = None
    for batch in batches:
        whole = batch if rest is None else _join(rest, batch)
        while whole.samples >= size:
            yield whole if whole.samples == size else whole.part(0, size)
            whole = whole.part(size, whole.samples)
        rest = whole if whole.samples else None
    if rest is not None:
        yield rest


def _join(a: Batch, b: Batch) -> Batch:
    def join(first: Values, second: Values) -> Values:
        if isinstance(first, Tensor):
            assert isinstance(second, Tensor)
            return torch.cat([first, second])
        assert isinstance(second, dict)
        return {name: torch.cat([value, second[name]]) for name, value in first.items()}

    return Batch(join(a.inputs, b.inputs), join(a.targets, b.targets))


@dataclass
class _Collate:
    """Form a checked batch from samples; runs in the worker processes."""

    pair: PairCollate
    info: DataInfo
    may_be_ragged: bool
    """Whether tensors may have other numbers of rows than samples, such as the nodes of all graphs of a batch."""

    def __call__(self, samples: list[Any]) -> Batch | Fault:
        pair = self.pair(samples)
        if isinstance(pair, Fault):
            return pair
        try:
            return self._batch(*pair)
        except OptbenchError as error:
            return Fault(str(error))

    def _batch(self, inputs: Any, targets: Any) -> Batch:
        batch = Batch(_tensors(self.pair.name, inputs), _tensors(self.pair.name, targets))
        if self.info.task in ("regression", "forecasting"):
            batch = batch._replace(
                targets=map_tensors(lambda v: v[:, None] if v.dim() == 1 else v, batch.targets)
            )
        self._check(batch)
        return batch

    def _check(self, batch: Batch) -> None:
        limits = task_module(self.info.task).limits(self.info)
        if tensors(batch.targets)[0].dim() == 0:
            raise OptbenchError(f"{self.pair.name}: expected one row of targets per sample; found one number")
        for title, values in (("inputs", batch.inputs), ("targets", batch.targets)):
            named = values if isinstance(values, dict) else {title: values}
            for key, value in named.items():
                if not self.may_be_ragged and (value.dim() == 0 or len(value) != batch.samples):
                    raise OptbenchError(
                        f"{self.pair.name}: expected {batch.samples} values of '{key}' in a batch; found "
                        f"{len(value) if value.dim() else 'one number'}: other numbers need a map-style data set and TASK = 'custom'"
                    )
                rows = value.numpy() if value.dim() else value.numpy()[None]
                if value.numel() and (problem := next(array_problems(key, rows, limits.get(key)), "")):
                    raise OptbenchError(f"{self.pair.name}: {problem} of a batch")
        if self.info.task == "classification" and any(v.dtype == torch.uint8 for v in tensors(batch.inputs)):
            raise OptbenchError(
                f"{self.pair.name}: expected floating-point inputs; found uint8: convert and normalise them in the data set, "
                "for example by torchvision's ToTensor"
            )


def _tensors(where: str, values: Any) -> Values:
    """Return tensors of a collated part: float32 and int64, as models expect. Raises `OptbenchError` for other objects."""
    if isinstance(values, Mapping):
        made: dict[str, Tensor] = {}
        for name, value in values.items():
            tensor = _tensors(where, value)
            assert isinstance(tensor, Tensor)
            made[name] = tensor
        return made
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptbenchError(
            f"{where}: expected tensors, or dictionaries of tensors, in a batch; found {type(values).__name__}"
        ) from error
    if tensor.dtype == torch.float64:
        return tensor.float()
    return (
        tensor if tensor.is_floating_point() or tensor.dtype in (torch.bool, torch.uint8) else tensor.long()
    )


def _on_device(batch: Batch, device: torch.device, layout: Layout) -> Batch:
    """Return the batch on the device, images in the memory format."""

    def move(value: Tensor) -> Tensor:
        value = value.to(device, non_blocking=True)
        is_image = layout == "channels_last" and value.dim() == 4
        return value.contiguous(memory_format=torch.channels_last) if is_image else value

    return batch.map(move)
