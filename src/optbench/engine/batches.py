"""Batches for training and evaluation: normalised, on the device, and identical after a resume.

Batch `step` depends on (seed, step) and the settings only. The order is drawn per epoch and per sample, so every batch
size sees the samples in the same order. Where the data are stored changes the speed, but no bit of a batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from optbench.catalog.types import Split
from optbench.engine import augment as augmenting
from optbench.engine.augment import Draws, SampleOrder
from optbench.engine.batch import Batch, Values, length, map_tensors, tensors
from optbench.engine.layout import Layout
from optbench.engine.memory import free_bytes
from optbench.engine.prefetch import Prefetch
from optbench.errors import OptbenchError
from optbench.suite.types import Augment

if TYPE_CHECKING:
    from optbench.catalog.types import Arrays

Residency = Literal["auto", "device", "host"]
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class BatchSettings:
    """Settings of training batches.

    `batch_size`: samples of a whole batch. `seed`: of the order of the samples and of the augmentation. `rows`: positions in each batch
    that this process computes, None for all.
    """

    batch_size: int
    seed: int
    device: torch.device
    augment: Augment = field(default_factory=Augment)
    memory_format: Layout = "contiguous"
    rows: Tensor | None = None


class TrainingBatches:
    """Training batches of one split.

    `mean` and `std` have one value per channel (0..255) and are empty for vectors. `size` is the height and width of
    the batches; it can differ from that of the stored images only with a random resized crop. `residency`: "device"
    stores the data set (in uint8, padded) on the device; "host" leaves it in memory or in a memory map, and a thread
    prefetches batches; "auto" uses the device if the data need at most half of its free memory.
    Raises `OptbenchError` if augmentation, batch size and data do not match.
    """

    def __init__(
        self,
        split: Split,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        settings: BatchSettings,
        residency: Residency = "auto",
        size: tuple[int, int] | None = None,
    ) -> None:
        augment, batch_size = settings.augment, settings.batch_size
        self.samples = split.samples
        self.batch_size = batch_size
        self._rows = settings.rows
        self.steps_per_epoch = self.samples // batch_size
        self._has_images = _are_images(split.inputs)
        self._stored_size = _height_width(split.inputs)
        self._size = size if size is not None and self._has_images else self._stored_size
        _check_settings(augment, self._has_images, self._stored_size, self._size, self.samples, batch_size)
        self._augment, self._seed, self._device = augment, settings.seed, torch.device(settings.device)
        self._format = _FORMATS[settings.memory_format if self._has_images else "contiguous"]
        self._mean, self._std = _constants(mean, std, self._size, self._device, self._format)
        self._targets = _targets_on_device(split.targets, self._device)
        self.residency = _choose_residency(residency, split.inputs, augment.crop, self._device)
        self._inputs = _as_tensors(split.inputs)
        if self.residency == "device":
            self._inputs = self._move_to_device(self._inputs)
        self._epoch = -1
        self._draws = Draws(torch.empty(0, dtype=torch.int64))
        self._prefetch: Prefetch[Values] | None = None
        self._waited = 0.0

    def batch(self, step: int) -> Batch:
        """Return batch `step`, counted from 0 over all epochs: images in float32, integers as int64."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._draws = epoch, self._draw(epoch)
        draws = self._draws.part(position * self.batch_size, (position + 1) * self.batch_size)
        if self._rows is not None:
            draws = draws.at(self._rows)
        if self.residency == "device":
            return self._assemble(draws)
        gathered = map_tensors(lambda v: v.to(self._device, non_blocking=True), self._gather(step))
        return self._assemble(draws, gathered)

    def seek(self, step: int) -> None:
        """No effect: every batch is computed from its number."""

    def static(self) -> StaticBatch:
        """Return the batches at one fixed memory address, for captured steps."""
        return StaticBatch(self)

    def _draw(self, epoch: int) -> Draws:
        draws = augmenting.draw(self._seed, epoch, self.samples, self._augment, self._stored_size)
        return draws.to(self._device)

    def _assemble(self, draws: Draws, gathered: Values | None = None) -> Batch:
        """Return the batch of these draws; `gathered` are its stored samples if the data set is not on the device."""
        targets = map_tensors(lambda v: v.index_select(0, draws.order), self._targets)
        if gathered is None:
            return Batch(self._prepare_inputs(self._inputs, draws.order, draws), targets)
        rows = torch.arange(len(draws.order), device=self._device)
        return Batch(self._prepare_inputs(self._move_to_device(gathered), rows, draws), targets)

    @property
    def data_wait_seconds(self) -> float:
        """Seconds that `batch` has waited for data from the host; 0 if the data are on the device."""
        return self._waited + (self._prefetch.wait_seconds if self._prefetch else 0.0)

    def close(self) -> None:
        """Stop the prefetching thread; it also stops when this object is deleted."""
        if self._prefetch:
            self._waited += self._prefetch.wait_seconds
            self._prefetch.close()
            self._prefetch = None

    def _gather(self, step: int) -> Values:
        if self._prefetch is None or self._prefetch.next != step:
            self.close()
            gather = _make_gather(self._inputs, self.batch_size, self._seed, self._device, self._rows)
            self._prefetch = Prefetch(gather, step)
        return self._prefetch.get()

    def _move_to_device(self, inputs: Values) -> Values:
        """Return the inputs on the device; images padded with zeros for the crop, in the memory format."""
        inputs = map_tensors(lambda v: v.to(self._device), inputs)
        if not self._has_images:
            return inputs
        assert isinstance(inputs, Tensor)
        if self._augment.crop:
            inputs = torch.nn.functional.pad(inputs, (self._augment.crop,) * 4)
        return inputs.contiguous(memory_format=self._format)

    def _prepare_inputs(self, inputs: Values, rows: Tensor, draws: Draws) -> Values:
        if not self._has_images:
            return map_tensors(lambda v: _integers_as_int64(v.index_select(0, rows)), inputs)
        assert isinstance(inputs, Tensor)
        if draws.top is not None and draws.left is not None:
            images = augmenting.crop(inputs, rows, draws.top, draws.left, self._size)
        else:
            images = augmenting.take_images(inputs, rows)
        if draws.boxes is not None:
            images = augmenting.resized_crop(images, draws.boxes, self._size)
        if draws.flip is not None:
            images = augmenting.flip(images, draws.flip)
        return augmenting.normalise(images, self._mean, self._std).contiguous(memory_format=self._format)


class StaticBatch:
    """Training batches made by the same operations on the same memory at every step, as a captured graph requires.

    After `move_to(step)`, `make()` returns the same bits as `TrainingBatches.batch(step)`. Only `move_to` differs from step to step.
    """

    def __init__(self, batches: TrainingBatches) -> None:
        self._batches, self._epoch = batches, 0
        self._draws = batches._draw(0)
        self._offsets = torch.arange(batches.batch_size, device=batches._device)
        self._first = torch.zeros((), dtype=torch.int64, device=batches._device)
        self._gathered: Values | None = None
        if batches.residency == "host":
            size, device = batches.batch_size, batches._device
            self._gathered = map_tensors(lambda v: torch.zeros_like(v[:size], device=device), batches._inputs)

    def move_to(self, step: int) -> None:
        """Select the batch of training step `step` (from 0). Not part of the graph."""
        batches = self._batches
        epoch, position = divmod(step, batches.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._draws.copy_(batches._draw(epoch))
        self._first.fill_(position * batches.batch_size)
        if self._gathered is not None:
            for target, source in zip(tensors(self._gathered), tensors(batches._gather(step)), strict=True):
                target.copy_(source, non_blocking=True)

    def make(self) -> Batch:
        """Return the selected batch. Part of the graph."""
        return self._batches._assemble(self._draws.at(self._first + self._offsets), self._gathered)


class EvaluationBatches:
    """All samples of one split in their order, none dropped, unaugmented; can be iterated repeatedly.

    Yields batches on the device, images in float32, integers as int64; the last batch may be smaller.
    """

    def __init__(
        self,
        split: Split,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        batch_size: int,
        device: torch.device,
        memory_format: Layout = "contiguous",
        residency: Residency = "auto",
    ) -> None:
        self._has_images = _are_images(split.inputs)
        self._device, self._batch_size = torch.device(device), batch_size
        self._format = _FORMATS[memory_format if self._has_images else "contiguous"]
        size = _height_width(split.inputs)
        self._mean, self._std = _constants(mean, std, size, self._device, self._format)
        self.residency = _choose_residency(residency, split.inputs, 0, self._device)
        storage_device = self._device if self.residency == "device" else torch.device("cpu")
        self._inputs = map_tensors(lambda v: v.to(storage_device), _as_tensors(split.inputs))
        self._targets = _targets_on_device(split.targets, self._device)

    def __len__(self) -> int:
        return -(-length(self._targets) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        whole = Batch(self._inputs, self._targets)
        for start in range(0, length(self._targets), self._batch_size):
            inputs, targets = whole.part(start, start + self._batch_size)
            # a model or a task may change its batch in place
            targets = map_tensors(torch.clone, targets)
            on_device = map_tensors(lambda v: v.to(self._device), inputs)
            if self._has_images:
                assert isinstance(on_device, Tensor)
                on_device = on_device.contiguous(memory_format=self._format)
                yield Batch(augmenting.normalise(on_device, self._mean, self._std), targets)
            else:
                yield Batch(map_tensors(lambda v: _integers_as_int64(v.clone()), on_device), targets)


def _check_settings(
    augment: Augment,
    images: bool,
    stored: tuple[int, int],
    size: tuple[int, int],
    samples: int,
    batch_size: int,
) -> None:
    problems = []
    if batch_size > samples:
        problems.append(f"batch_size: expected at most the {samples} training samples; found {batch_size}")
    if augment != Augment() and not images:
        problems.append("augment: flips and crops need images; this data set has none")
    if augment.crop and augment.random_resized_crop:
        problems.append("augment: expected one of 'crop' and 'random_resized_crop'; found both")
    if stored != size and not augment.random_resized_crop:
        problems.append(
            f"augment: training images are stored at {stored[0]}x{stored[1]} and batches have {size[0]}x{size[1]}: "
            "expected 'random_resized_crop', for example [0.35, 1.0]"
        )
    if problems:
        raise OptbenchError(*problems)


def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], size: tuple[int, ...], device: torch.device, layout: Any
) -> tuple[Tensor, Tensor]:
    """Return mean and std expanded to one image in its memory format: four times as fast as broadcasting."""
    constants = (torch.tensor(values, dtype=torch.float32)[None, :, None, None] for values in (mean, std))
    expanded = [c.expand(1, -1, *size).to(device).contiguous(memory_format=layout) for c in constants]
    return expanded[0], expanded[1]


def _are_images(inputs: Arrays) -> bool:
    return not isinstance(inputs, dict) and inputs.ndim == 4 and inputs.dtype == np.uint8


def _height_width(inputs: Arrays) -> tuple[int, int]:
    if isinstance(inputs, dict) or not _are_images(inputs):
        return (1, 1)
    return inputs.shape[2], inputs.shape[3]


def _as_tensors(arrays: Arrays) -> Values:
    """Return tensors that share the arrays' memory. They are never written: torch's warning about read-only memory is suppressed."""
    if isinstance(arrays, dict):
        return {name: _as_tensor(array) for name, array in arrays.items()}
    return _as_tensor(arrays)


def _as_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def _targets_on_device(arrays: Arrays, device: torch.device) -> Values:
    """Return targets on the device, integers as int64."""
    return map_tensors(lambda v: _integers_as_int64(v).to(device), _as_tensors(arrays))


def _integers_as_int64(values: Tensor) -> Tensor:
    """Return integers as int64, which embeddings and losses require; other numbers unchanged."""
    return values if values.is_floating_point() or values.dtype == torch.bool else values.long()


def _choose_residency(
    requested: Residency, inputs: Arrays, padding: int, device: torch.device
) -> Literal["device", "host"]:
    if requested != "auto":
        return requested
    needed = sum(array.nbytes for array in (inputs.values() if isinstance(inputs, dict) else (inputs,)))
    if _are_images(inputs):
        height, width = _height_width(inputs)
        needed = needed * (height + 2 * padding) * (width + 2 * padding) // (height * width)
    return "device" if needed <= free_bytes(device) // 2 else "host"


def _make_gather(
    inputs: Values, batch_size: int, seed: int, device: torch.device, share: Tensor | None
) -> Callable[[int], Values]:
    """Return a function from a step to its samples, unaugmented, on the host; pinned for CUDA, so that copies are asynchronous."""
    order = SampleOrder(seed, length(inputs), batch_size, None if share is None else share.cpu())

    def gather(step: int) -> Values:
        rows = order.rows(step)
        batch = map_tensors(lambda v: v.index_select(0, rows), inputs)
        if device.type != "cuda":
            return batch
        with torch.cuda.device(device):  # a new thread uses the first GPU by default
            return map_tensors(lambda v: v.pin_memory(), batch)

    return gather
