"""Pixels: the pictures of a data set as vectors from 0 to 1, for autoencoders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from optbench.catalog.types import DataInfo, Split, Splits
from optbench.errors import OptbenchError

TASK = "autoencoding"
#: defaults of `optbench new`
STARTER = {"target": -25, "batch_size": 64, "most_epochs": 20}

_SOURCES = ("digits", "fashion_mnist")


def describe(root: Path, *, pictures: Literal["digits", "fashion_mnist"] = "digits") -> DataInfo:
    """`pictures`: the image data set."""
    import math

    info = _module(pictures).describe(root)
    shape = (math.prod(info.shape),)
    described: DataInfo = replace(info, shape=shape, classes=0, task=TASK)
    return described


def load(root: Path, *, pictures: Literal["digits", "fashion_mnist"] = "digits") -> Splits:
    """Return pixels as inputs and as targets."""
    import numpy as np

    found = _module(pictures).load(root)
    parts = []
    for part in (found.train, found.validation, found.test):
        pixels = np.asarray(part.array, dtype=np.float32).reshape(part.samples, -1) / 255
        parts.append(Split(pixels, pixels))
    return Splits(parts[0], parts[1], parts[2], describe(root, pictures=pictures))


def _module(pictures: str):  # type: ignore[no-untyped-def]
    from importlib import import_module

    if pictures not in _SOURCES:
        raise OptbenchError(f"pictures: expected one of {', '.join(_SOURCES)}; found {pictures!r}")
    return import_module(f"optbench.catalog.data.{pictures}")
