"""Multilayer perceptron: fully connected layers with a nonlinearity between them; images are flattened."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from torch import nn

TASKS = ("classification", "regression")

#: many of them are trained as one program, several times as fast
STACKABLE = True

#: built for images and for vectors, so that a check need not try it
ANY_SHAPE = True

RANGES = {"hidden": (1, None)}

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "silu": nn.SiLU}


def build(
    shape: tuple[int, ...],
    classes: int,
    *,
    hidden: Sequence[int] = (256, 256),
    activation: Literal["relu", "gelu", "tanh", "silu"] = "relu",
) -> nn.Module:
    """Input (batch, *shape), output (batch, classes). 269,322 parameters for (1, 28, 28) and 10 classes."""
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation: expected one of {', '.join(_ACTIVATIONS)}; found {activation!r}")
    widths = [math.prod(shape), *hidden]
    if min(widths) < 1:
        raise ValueError(f"hidden: expected widths of at least 1; found {list(hidden)}")
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), _ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
