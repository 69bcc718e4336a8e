"""The gradient noise scale: how many samples a batch needs for its noise to be as small as its gradient.

McCandlish et al. 2018, https://arxiv.org/abs/1812.06162, appendix A.1: tr(covariance of one sample's gradient) / |gradient|^2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from optbench.engine.checkpoint import random_state, restore_random_state
from optbench.engine.gradient_norms import components
from optbench.engine.session import Session

SMALL, BATCHES = 8, 256  # samples in a small batch, and small batches: they make up the large one


def gradient_noise_scale(session: Session) -> float:
    """In samples, at the weights as they are, from the first 2,048 training samples in a fixed order (all, if there are fewer).

    The paper's unbiased estimates, from small batches and their mean. A training split that is seen whole has a gradient that is
    known; of a larger one the estimate of its square may fall below 0, where noise drowns it: NaN then, and for fewer than two
    small batches. Leaves buffers, gradients and generators alone.
    """
    buffers = [buffer.detach().clone() for buffer in session.model.buffers()]
    kept = [p.grad for p in session.parameters]
    generators = random_state(session.device)
    session.model.train()
    try:
        small_square, mean, batches = _gradients(session)
    finally:
        for parameter, gradient in zip(session.parameters, kept, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, before in zip(session.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        restore_random_state(generators, session.device)
    if batches < 2:
        return math.nan
    large = SMALL * batches
    large_square = float(sum((g.double() ** 2).sum() for g in mean))
    whole = session.splits.info.train < large + SMALL
    square = large_square if whole else (large * large_square - SMALL * small_square) / (large - SMALL)
    noise = (small_square - large_square) / (1 / SMALL - 1 / large)
    return noise / square if square > 0 else math.nan


def _gradients(session: Session) -> tuple[float, list[Tensor], int]:
    """Mean squared norm of the small batches' gradients, their mean gradient, and how many there were."""
    squares: list[float] = []
    total = [torch.zeros_like(p) for p in session.parameters]
    for inputs, labels in session.batches("train"):
        for some, their in zip(
            torch.split(inputs, SMALL), torch.split(session.labels(labels), SMALL), strict=True
        ):
            if len(their) < SMALL or len(squares) == BATCHES:
                continue
            for parameter in session.parameters:
                parameter.grad = None
            with session.precision.autocast(session.device):
                loss = session.loss(session.scores(some), their)
            loss.backward()  # type: ignore[no-untyped-call]
            found = [p.grad if p.grad is not None else torch.zeros_like(p) for p in session.parameters]
            squares.append(float(sum((g.double() ** 2).sum() for g in components(found))))
            for sum_of, gradient in zip(total, found, strict=True):
                sum_of += gradient
        if len(squares) == BATCHES:
            break
    count = max(1, len(squares))
    return sum(squares) / count, [t / count for t in total], len(squares)
