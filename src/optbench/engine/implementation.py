"""Implementation of an optimizer's step: torch's for-loop, foreach or fused version, a compiled one, or the class's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from optbench.errors import first_line

#: values of `implementation` in a suite, and the arguments for torch's classes. `compiled` and `auto` are compiled later, during set-up.
FLAGS: dict[str, dict[str, Any]] = {
    "default": {},
    "forloop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "compiled": {},
    "auto": {"fused": True},
}
#: values with which a class without a fused step is compiled
COMPILES = ("compiled", "auto")


@dataclass(frozen=True)
class Implementation:
    """The implementation in use: forloop, foreach, fused, compiled, or own if the class has no such option.

    `note` is why it is not the requested one; empty if it is.
    """

    name: str
    note: str = ""


def build_with_implementation(
    factory: Callable[..., Any], first: Any, arguments: dict[str, Any], requested: str, accepted: set[str]
) -> tuple[Any, str]:
    """Return the optimizer in the requested implementation, and why it is another one (empty if it is not).

    `first` is the constructor's first argument: what the optimizer trains. A class without the requested implementation keeps its
    default. torch has fused steps for some classes and devices only and raises otherwise: the constructor is then called without the
    flag, which raises again if the error has another cause.
    """
    flags = {key: value for key, value in FLAGS[requested].items() if key in accepted}
    missing = [key for key, value in FLAGS[requested].items() if value and key not in accepted]
    note = f"it has no {missing[0]} step" if missing else ""
    if not flags.get("fused"):
        return factory(first, **{**arguments, **flags}), note
    before = torch.get_rng_state()
    try:
        return factory(first, **{**arguments, **flags}), note
    except (RuntimeError, TypeError, ValueError) as error:
        torch.set_rng_state(before)
        reason = first_line(error) or type(error).__name__
        return factory(first, **arguments), f"no fused step here ({reason})"


def implementation_of(member: torch.optim.Optimizer, group: dict[str, Any]) -> str:
    """Return the implementation that torch runs for a parameter group without compilation, with its default resolved."""
    if group.get("fused"):
        return "fused"
    if "foreach" not in group:
        return "own"
    chosen = group["foreach"]
    return "foreach" if (_foreach_by_default(member, group) if chosen is None else chosen) else "forloop"


def _foreach_by_default(member: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
    """Return whether `foreach=None` means foreach: on a GPU, for all of torch's classes except Adafactor, to save memory."""
    if group.get("differentiable") or type(member).__name__ == "Adafactor":
        return False
    return bool(group["params"]) and all(p.device.type in ("cuda", "xpu") for p in group["params"])
