"""Autoencoding: the inputs themselves from a code, as in variational autoencoders (Kingma and Welling 2013, arXiv:1312.6114)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.catalog.task_types import Example, Values
    from optbench.catalog.types import DataInfo

LOSS = "negative_elbo"
METRICS = ("elbo",)
EXAMPLE = {"shape": (784,)}
STARTER = {"model": "vae", "data": "pixels"}
_PARTS = ("reconstruction", "mean", "log_variance")


def facts(info: DataInfo) -> Mapping[str, Any]:
    """Models use the shape of the inputs only."""
    return {}


def example(info: DataInfo, samples: int, make: Example) -> tuple[Values, Values]:
    """Return pixels (samples, features) as inputs and as targets."""
    pixels = make.numbers(samples, *info.shape)
    return pixels, pixels


def outputs_problem(outputs: Any, samples: int, info: DataInfo) -> str:
    """Outputs are {reconstruction: logits (samples, features), mean: (samples, code), log_variance: (samples, code)}."""
    if isinstance(outputs, dict) and set(_PARTS) <= set(outputs):
        shape = tuple(outputs["reconstruction"].shape)
        wanted = (samples, *info.shape)
        return "" if shape == wanted else f"expected a reconstruction of shape {wanted}; found {shape}"
    found = ", ".join(outputs) if isinstance(outputs, dict) else type(outputs).__name__
    return f"expected a dictionary with {', '.join(_PARTS)}; found {found}"


def units(targets: Tensor) -> int:
    """Return the number of samples."""
    return len(targets)


def limits(info: DataInfo) -> Mapping[str, int]:
    """There are no integers."""
    return {}
