"""How images and convolution weights lie in memory: `memory_format: auto` resolved."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from optbench.suite.types import Workload

Layout = Literal["contiguous", "channels_last"]
GPU = torch.device("cuda")  # naming it needs none


def memory_format(workload: Workload, model: nn.Module, device: torch.device) -> Layout:
    """As run. `auto` is channels_last for a convolutional network on a GPU: what its tensor cores work on, without transposing to it
    and back around every convolution. On a CPU it is contiguous.
    """
    if workload.memory_format != "auto":
        return workload.memory_format
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    # a single one cuts pictures into the patches of a transformer
    return "channels_last" if device.type == "cuda" and convolutions > 1 else "contiguous"


def laid_out(model: nn.Module, layout: Layout) -> nn.Module:
    """The model itself, its weights in this layout."""
    return model.to(memory_format=torch.channels_last) if layout == "channels_last" else model
