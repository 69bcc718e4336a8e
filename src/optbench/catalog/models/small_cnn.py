"""Small convolutional network: three 3x3 convolutions with normalisation and ReLU, then average pooling."""

from __future__ import annotations

from typing import Literal

from torch import nn


def build(
    shape: tuple[int, ...],
    classes: int,
    *,
    width: int = 32,
    norm: Literal["batch", "group", "none"] = "batch",
) -> nn.Module:
    """Input (batch, channels, height, width), output (batch, classes); `width`, 2 x and 4 x channels.

    Between stages pictures of at least 8 pixels are halved, so 8x8 pictures once, and 28x28 twice. 94,186
    parameters for one channel, 10 classes and the defaults.
    """
    if len(shape) != 3:
        raise ValueError(f"small_cnn needs images (channels, height, width); the data have shape {shape}")
    if width < 1 or norm not in ("batch", "group", "none"):
        raise ValueError(f"expected width >= 1 and norm batch, group or none; found {width} and {norm!r}")
    channels, side = shape[0], min(shape[1:])
    layers: list[nn.Module] = []
    for stage, out in enumerate((width, 2 * width, 4 * width)):
        if stage and side >= 8:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        layers += [nn.Conv2d(channels, out, 3, padding=1, bias=norm == "none"), *_norm(norm, out), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def _norm(kind: str, channels: int) -> list[nn.Module]:
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "group":
        return [nn.GroupNorm(next(groups for groups in (8, 4, 2, 1) if channels % groups == 0), channels)]
    return []
