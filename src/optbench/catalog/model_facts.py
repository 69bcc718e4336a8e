"""Arguments of models that the data determine, under the names that constructors use."""

from __future__ import annotations

import math
from typing import Any

#: every name that can be supplied; a suite may write its own value for all but the first two
NAMES = (
    "shape",
    "classes",
    "input_shape",
    "num_classes",
    "n_classes",
    "in_features",
    "weights",
    "aux_logits",
    "in_channels",
    "in_chans",
    "image_size",
    "img_size",
)


def model_facts(shape: tuple[int, ...], classes: int) -> dict[str, Any]:
    """`shape` is (channels, height, width), or (features,); no weights are downloaded, no auxiliary outputs wanted."""
    facts: dict[str, Any] = dict.fromkeys(("shape", "input_shape"), shape)
    facts |= dict.fromkeys(("classes", "num_classes", "n_classes"), classes)
    facts |= {"in_features": math.prod(shape), "weights": None, "aux_logits": False}
    if len(shape) == 3:
        channels, height, width = shape
        side = height if height == width else (height, width)
        facts |= dict.fromkeys(("in_channels", "in_chans"), channels)
        facts |= dict.fromkeys(("image_size", "img_size"), side)
    return facts
