"""Activation checkpointing: blocks discard their activations and recompute them in the backward pass.

Chen et al. 2016, https://arxiv.org/abs/1604.06174. Gradients and batch-norm statistics are bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(model: nn.Module) -> int:
    """Wrap the model's blocks in place and return their number.

    Blocks are items with children in Sequential and ModuleList containers; without any, the whole model is one block.
    """
    containers = (nn.Sequential, nn.ModuleList)
    blocks: list[nn.Module] = []
    for container in model.modules():
        if isinstance(container, containers):
            blocks += [b for b in container.children() if any(b.children()) and not isinstance(b, containers)]
    outer = [b for b in blocks if not any(b is not o and b in set(o.modules()) for o in blocks)] or [model]
    for block in outer:
        _wrap(block)
    return len(outer)


def _wrap(block: nn.Module) -> None:
    forward = block.forward

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _frozen_statistics(block)

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    block.forward = checkpointed


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Restore batch-norm statistics after the block, so that the second forward pass does not count a batch twice."""
    norms = [
        m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    buffers_before = [[buffer.clone() for buffer in norm.buffers()] for norm in norms]
    try:
        yield
    finally:
        with torch.no_grad():
            for norm, buffers in zip(norms, buffers_before, strict=True):
                for buffer, before in zip(norm.buffers(), buffers, strict=True):
                    buffer.copy_(before)
