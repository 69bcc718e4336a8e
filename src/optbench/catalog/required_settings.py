"""Values for the required arguments of an optimizer class."""

from __future__ import annotations

from typing import Any

from optbench.catalog.lookup import resolve
from optbench.catalog.optimizers import _packages as facts
from optbench.catalog.roles import roles
from optbench.catalog.signatures import signature

_RATE = 0.001


def required_settings(use: str) -> dict[str, Any]:
    """Return values for the arguments that a class requires: a learning rate of 0.001, and AdamW for optimizers that it wraps.

    Arguments without such a value are left out. Raises `OptbenchError` for an unknown class.
    """
    read = signature(resolve("optimizers", use))
    by_name = roles(read)
    settings: dict[str, Any] = {**facts.REQUIRED.get(use, {})}
    for parameter in read.parameters:
        role = by_name[parameter.name]
        if parameter.required and role in ("optimizer", "optimizer_class"):
            rate = {"lr": _RATE} if role == "optimizer" else {}
            settings.setdefault(parameter.name, {"use": "torch.optim.AdamW", **rate})
        elif parameter.required and parameter.name == "lr":
            settings.setdefault("lr", _RATE)
    return settings
