"""Noise of the gradient at fixed weights: the noise scale, and the variance of the gradient of a training batch.

The noise scale is the batch size at which the noise of the gradient is as large as the gradient (McCandlish et al. 2018,
https://arxiv.org/abs/1812.06162, appendix A.1): tr(covariance of one sample's gradient) / |gradient|^2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from optbench.engine.batch import Batch
from optbench.engine.gradient_norms import components
from optbench.engine.passes import forward_loss, passes_without_effect
from optbench.engine.protocol import backward, clear_gradients
from optbench.engine.session import Session

#: samples per small batch, and number of small batches; together they are the large batch
SMALL, BATCHES = 8, 256
#: maximum number of training batches whose gradients are compared
COMPARED = 64


@dataclass(frozen=True)
class GradientNoise:
    """`scale` in samples; `variance` is the trace of the covariance of a training batch's gradient. NaN if unknown."""

    scale: float
    variance: float


def gradient_noise(session: Session) -> GradientNoise:
    """Measure the noise at the current weights. Buffers, gradients and generators are unchanged."""
    with passes_without_effect(session):
        return GradientNoise(_noise_scale(session), _batch_variance(session))


def _batch_variance(session: Session) -> float:
    """Return the sample variance of the gradient, summed over its components, over the first batches of the first epoch.

    The batches of one epoch have no sample in common; the variance between them is an unbiased estimate of the variance of one sample
    over the batch size. NaN for fewer than two batches per epoch.
    """
    batches = session.training_batches
    count = min(COMPARED, batches.steps_per_epoch)
    if count < 2:
        return math.nan
    first_batches = (session.current(batches.batch(step)) for step in range(count))
    mean_square, mean, _ = _moments(session, first_batches, torch.float64)
    square_of_mean = float(sum((m**2).sum() for m in mean))
    return max(0.0, mean_square - square_of_mean) * count / (count - 1)


def _moments(
    session: Session, batches: Iterable[Batch], dtype: torch.dtype | None = None
) -> tuple[float, list[Tensor], int]:
    """Return the mean squared norm of the batches' gradients, their mean (summed in `dtype`), and the number of batches."""
    squares, count = 0.0, 0
    total = [torch.zeros_like(p, dtype=dtype) for p in session.parameters]
    for batch in batches:
        gradients = _gradient(session, batch)
        squares += float(sum((g.double() ** 2).sum() for g in components(gradients)))
        for accumulated, gradient in zip(total, gradients, strict=True):
            accumulated += gradient
        count += 1
    return squares / max(1, count), [t / max(1, count) for t in total], count


def _gradient(session: Session, batch: Batch) -> list[Tensor]:
    """Return the gradient of the mean loss of a batch, one tensor per parameter."""
    clear_gradients(session.parameters)
    backward(forward_loss(session, batch), create_graph=False)
    return [p.grad if p.grad is not None else torch.zeros_like(p) for p in session.parameters]


def _noise_scale(session: Session) -> float:
    """Return the noise scale in samples, from the first 2,048 training samples in a fixed order (or all).

    Uses the paper's unbiased estimates, from small batches and their mean. If the whole training split is used, its gradient is exact.
    Otherwise the estimate of the squared gradient may be below 0 where noise dominates; the result is then NaN, as it is for fewer
    than two small batches.
    """
    small_square, mean, batches = _moments(session, islice(_small_batches(session), BATCHES))
    if batches < 2:
        return math.nan
    large = SMALL * batches
    large_square = float(sum((g.double() ** 2).sum() for g in mean))
    is_whole_split = session.splits.info.train < large + SMALL
    unbiased_square = (large * large_square - SMALL * small_square) / (large - SMALL)
    square = large_square if is_whole_split else unbiased_square
    noise = (small_square - large_square) / (1 / SMALL - 1 / large)
    return noise / square if square > 0 else math.nan


def _small_batches(session: Session) -> Iterator[Batch]:
    """Yield the training samples in their order, in batches of `SMALL` samples."""
    for batch in session.batches("train"):
        current = session.current(batch)
        for start in range(0, batch.samples - SMALL + 1, SMALL):
            yield current.part(start, start + SMALL)
