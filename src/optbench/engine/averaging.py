"""Weights for evaluation: the moving average of the trained weights, and batch-norm statistics for an optimizer's eval mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from optbench.engine.sharding import local_part


class MovingAverage:
    """Exponential moving average of parameters and buffers, real and complex: average += (1 - decay) (current - average)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._live = [tensor for tensor in _state(model) if tensor.is_floating_point() or tensor.is_complex()]
        self._average = [tensor.detach().clone() for tensor in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Add the current weights; called after each step."""
        if self._average:
            torch._foreach_lerp_(_real(self._average), _real(self._live), 1 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the model's weights to the average within the block; restore them exactly afterwards."""
        weights_before = [tensor.detach().clone() for tensor in self._live]
        _copy(self._live, self._average)
        try:
            yield
        finally:
            _copy(self._live, weights_before)

    def state(self) -> list[Tensor]:
        """Return the averaged tensors, for a checkpoint."""
        return self._average

    def load_state(self, state: Sequence[Tensor]) -> None:
        """Set the average to what `state` returned."""
        _copy(self._average, state)


@contextmanager
def recalibrated(model: nn.Module, forward_passes: Callable[[], None]) -> Iterator[None]:
    """Recompute batch-norm statistics for the current weights within the block; restore them afterwards.

    For optimizers that evaluate at other weights than they train (such as schedule-free), the running statistics belong to the
    training weights; the authors recommend this: https://github.com/facebookresearch/schedule_free.
    """
    norms = [
        m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    if not norms:
        yield
        return
    statistics_before = [(norm.momentum, [buffer.clone() for buffer in norm.buffers()]) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean over the passes
    model.train()
    with torch.no_grad():
        forward_passes()
    model.eval()
    try:
        yield
    finally:
        for norm, (momentum, buffers) in zip(norms, statistics_before, strict=True):
            norm.momentum = momentum
            _copy(list(norm.buffers()), buffers)


def _real(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return complex tensors as views of their real and imaginary parts."""
    return [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]


def _state(model: nn.Module) -> Iterator[Tensor]:
    yield from (local_part(parameter) for parameter in model.parameters())
    yield from model.buffers()


@torch.no_grad()
def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
