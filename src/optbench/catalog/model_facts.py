"""Arguments of models that the data determine, under the names that constructors use."""

from __future__ import annotations

import math
from typing import Any

from optbench.catalog.task_types import task_module
from optbench.catalog.types import DataInfo

#: sizes that a suite may write larger than the data need, but not smaller
TABLE_SIZES = (
    "vocab_size",
    "num_tokens",
    "context",
    "block_size",
    "max_position_embeddings",
    "n_positions",
    "num_users",
    "num_items",
)
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
    "outputs",
    "out_features",
    "num_outputs",
    "horizon",
    "window",
    "features",
    "dimension",
    "mean_rating",
    *TABLE_SIZES,
)


def model_facts(info: DataInfo) -> dict[str, Any]:
    """Return the arguments by name: sizes of the inputs, of the task, and those that the data set states.

    No weights are downloaded, no auxiliary outputs are requested.
    """
    facts: dict[str, Any] = dict.fromkeys(("shape", "input_shape"), info.shape)
    facts |= {"in_features": math.prod(info.shape), "weights": None, "aux_logits": False}
    if len(info.shape) == 3:
        channels, height, width = info.shape
        side = height if height == width else (height, width)
        facts |= dict.fromkeys(("in_channels", "in_chans"), channels)
        facts |= dict.fromkeys(("image_size", "img_size"), side)
    return {**facts, **task_module(info.task).facts(info), **info.facts}
