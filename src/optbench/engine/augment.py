"""Random flips and crops of whole batches, drawn per image.

torchvision's transforms draw once per batch, so they are implemented here. All draws of an epoch come from CPU
generators derived from (seed, purpose, epoch): the same on every device and after a resume.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from optbench.engine.randomness import generator
from optbench.suite.types import Augment


@dataclass(frozen=True)
class Draws:
    """Random draws of one epoch: its order and augmentations. Entry i belongs to sample `order[i]` of the split."""

    order: Tensor  # (n,) int64
    flip: Tensor | None = None  # (n,) bool
    top: Tensor | None = None  # (n,) int64: corner of the crop in the padded image
    left: Tensor | None = None
    boxes: Tensor | None = None  # (n, 4) int64: top, left, height, width to resize

    def to(self, device: torch.device) -> Draws:
        """Copy to a device; to a GPU from pinned memory, so that the copy is asynchronous."""
        pinned = device.type == "cuda"
        return self._each(lambda v: (v.pin_memory() if pinned else v).to(device, non_blocking=True))

    def part(self, start: int, stop: int) -> Draws:
        """Return entries `start` to `stop`. Called at every step, so it does not use `fields`."""
        augmentations = (self.flip, self.top, self.left, self.boxes)
        return Draws(self.order[start:stop], *(None if v is None else v[start:stop] for v in augmentations))

    def at(self, positions: Tensor) -> Draws:
        """Return the entries at `positions` (k,) of the epoch."""
        return self._each(lambda v: v.index_select(0, positions))

    def copy_(self, other: Draws) -> None:
        """Copy the draws of another epoch into the same memory."""
        for f in fields(self):
            target = getattr(self, f.name)
            if target is not None:
                target.copy_(getattr(other, f.name))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Draws:
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return Draws(**{name: change(v) for name, v in tensors.items() if v is not None})


def draw(seed: int, epoch: int, samples: int, augment: Augment, stored: tuple[int, int] = (1, 1)) -> Draws:
    """Return all random draws of one epoch; `stored` is the height and width of the stored images.

    Each kind of draw has its own generator, so enabling one augmentation does not change the others.
    """
    draws: dict[str, Tensor] = {"order": torch.randperm(samples, generator=generator(seed, "order", epoch))}
    if augment.flip:
        draws["flip"] = torch.randint(2, (samples,), generator=generator(seed, "flip", epoch)).bool()
    if augment.crop:
        corner = torch.randint(2 * augment.crop + 1, (2, samples), generator=generator(seed, "crop", epoch))
        draws["top"], draws["left"] = corner[0], corner[1]
    if augment.random_resized_crop:
        draws["boxes"] = _boxes(
            generator(seed, "resized", epoch), samples, augment.random_resized_crop, stored
        )
    return Draws(**draws)


class SampleOrder:
    """The samples of each training batch: a random order per epoch, without augmentation.

    `share` are the positions in each batch that this process computes (on the CPU), None for all.
    """

    def __init__(self, seed: int, samples: int, batch_size: int, share: Tensor | None) -> None:
        self._seed, self._samples, self._batch_size, self._share = seed, samples, batch_size, share
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def rows(self, step: int) -> Tensor:
        """Return the positions in the split of the samples of batch `step`, (batch,) int64. Steps in order draw each epoch once."""
        epoch, position = divmod(step, self._samples // self._batch_size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, draw(self._seed, epoch, self._samples, Augment()).order
        rows = self._order[position * self._batch_size : (position + 1) * self._batch_size]
        return rows if self._share is None else rows[self._share]


def _boxes(
    random: torch.Generator, samples: int, area: tuple[float, float], stored: tuple[int, int]
) -> Tensor:
    """Draw boxes as torchvision's RandomResizedCrop does (Szegedy et al. 2015, arXiv:1409.4842).

    The share of the area is uniform, the aspect ratio log-uniform in 3/4..4/3. The first of ten boxes that fits is used, else
    the largest centred box with an allowed ratio.
    """
    height, width = stored
    low, high = 3 / 4, 4 / 3
    u = torch.rand(4, samples, 10, generator=random, dtype=torch.float64)
    target = height * width * (area[0] + (area[1] - area[0]) * u[0])
    ratio = torch.exp(math.log(low) + (math.log(high) - math.log(low)) * u[1])
    wide, tall = torch.sqrt(target * ratio).round(), torch.sqrt(target / ratio).round()
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    first = fits.int().argmax(1, keepdim=True)
    h, w, top, left = (x.gather(1, first).squeeze(1) for x in (tall, wide, u[2], u[3]))
    top, left = (top * (height - h + 1)).floor(), (left * (width - w + 1)).floor()
    fallback_h, fallback_w = min(height, round(width / low)), min(width, round(height * high))
    whole = (height - fallback_h) // 2, (width - fallback_w) // 2, fallback_h, fallback_w
    box = torch.stack([top, left, h, w], 1)
    return torch.where(fits.any(1, keepdim=True), box, torch.tensor(whole, dtype=box.dtype)).long()


def crop(padded: Tensor, rows: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Return image `rows[i]` of `padded` (n, channels, height, width), cropped to `size` at (top[i], left[i]).

    Preserves the memory format. One gather from a strided view of all possible crops of all images.
    """
    height, width = size
    samples, channels, tall, wide = padded.shape
    sn, sc, sh, sw = padded.stride()
    crops = (samples, tall - height + 1, wide - width + 1)
    if _channels_last(padded):
        view = padded.as_strided((*crops, height, width, channels), (sn, sh, sw, sh, sw, sc))
        return view[rows, top, left].permute(0, 3, 1, 2)
    view = padded.as_strided((*crops, channels, height, width), (sn, sh, sw, sc, sh, sw))
    return view[rows, top, left]


def take_images(images: Tensor, rows: Tensor) -> Tensor:
    """Return image `rows[i]` of `images` in the same memory format, copying whole images."""
    if _channels_last(images):
        return images.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return images.index_select(0, rows)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror images left to right where `chosen` (n,) is true. Selecting from both versions is three times as fast as `where`."""
    both = torch.cat([images, images.flip(-1)])
    return take_images(both, torch.arange(len(images), device=images.device) + len(images) * chosen)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (images - mean) / std in float32; `mean` and `std` are (1, channels, height, width) in 0..255."""
    return images.to(torch.float32, copy=True).sub_(mean).div_(std)


def resized_crop(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return each image's box resized to `size` by the antialiased bilinear filter of PIL and torchvision, in float32.

    The filter is separable and linear: two batched matrix products with one weight matrix per image.
    """
    rows = _resize_weights(boxes[:, 0], boxes[:, 2], images.shape[2], size[0])
    columns = _resize_weights(boxes[:, 1], boxes[:, 3], images.shape[3], size[1])
    with torch.autocast(images.device.type, enabled=False):
        return rows[:, None] @ images.float() @ columns[:, None].mT


def _resize_weights(start: Tensor, length: Tensor, stored: int, out: int) -> Tensor:
    """Return weights (n, out, stored): row i has the weight of each stored pixel in output pixel i."""
    scale = (length.float() / out)[:, None, None]
    first = start.float()[:, None, None]
    centre = first + scale * (torch.arange(out, device=start.device) + 0.5)[None, :, None]
    pixel = torch.arange(stored, device=start.device, dtype=torch.float32)[None, None, :]
    weight = (1 - (pixel + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weight = weight * ((pixel >= first) & (pixel < first + length.float()[:, None, None]))
    return weight / weight.sum(2, keepdim=True)


def _channels_last(images: Tensor) -> bool:
    # With one channel an image is contiguous in both formats; the contiguous one is faster to gather.
    return images.shape[1] > 1 and images.is_contiguous(memory_format=torch.channels_last)
