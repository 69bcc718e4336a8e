"""Memory format of images and convolution weights: resolves `memory_format: auto`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from optbench.suite.types import Workload

Layout = Literal["contiguous", "channels_last"]
GPU = torch.device("cuda")  # the name does not require a GPU


def memory_format(workload: Workload, model: nn.Module, device: torch.device) -> Layout:
    """Return the memory format in use.

    `auto` is channels_last for a convolutional network on a GPU, whose tensor cores would otherwise transpose around every
    convolution, and contiguous on a CPU.
    """
    if workload.memory_format != "auto":
        return workload.memory_format
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    # a single convolution is usually the patch embedding of a transformer
    return "channels_last" if device.type == "cuda" and convolutions > 1 else "contiguous"


def to_layout(model: nn.Module, layout: Layout) -> nn.Module:
    """Return the model itself, with its weights converted to this layout."""
    return model.to(memory_format=torch.channels_last) if layout == "channels_last" else model
