"""Which implementation of an optimizer's step runs: torch's for-loop, foreach or fused one, a compiled one, or a class's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

#: what a suite may ask for and how it reaches torch's classes. `compiled` and `auto` are compiled later, where the trial is set up.
FLAGS: dict[str, dict[str, Any]] = {
    "default": {},
    "forloop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "compiled": {},
    "auto": {"fused": True},
}
#: asked for where a class that has no fused step is to be compiled
COMPILES = ("compiled", "auto")


@dataclass(frozen=True)
class Implementation:
    """As run: forloop, foreach, fused, compiled, or own where the class offers no choice; `note` says why it isn't what was asked."""

    name: str
    note: str = ""


def construct(
    factory: Callable[..., Any], first: Any, arguments: dict[str, Any], asked: str, accepted: set[str]
) -> tuple[Any, str]:
    """The optimizer in the implementation that was asked for, and why it is another one (empty if it isn't). `first` is the
    constructor's first argument, which is what the optimizer trains.

    A class without the asked implementation keeps its own choice. torch has fused steps for some classes on some devices only
    and tells by raising; an error that has another cause is raised again without the flag.
    """
    flags = {key: value for key, value in FLAGS[asked].items() if key in accepted}
    missing = [key for key, value in FLAGS[asked].items() if value and key not in accepted]
    note = f"it has no {missing[0]} step" if missing else ""
    if not flags.get("fused"):
        return factory(first, **{**arguments, **flags}), note
    before = torch.get_rng_state()
    try:
        return factory(first, **{**arguments, **flags}), note
    except (RuntimeError, TypeError, ValueError) as error:
        torch.set_rng_state(before)
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return factory(first, **arguments), f"no fused step here ({reason})"


def of_group(member: torch.optim.Optimizer, group: dict[str, Any]) -> str:
    """What torch runs for a parameter group when nothing is compiled, its own default resolved."""
    if group.get("fused"):
        return "fused"
    if "foreach" not in group:
        return "own"
    chosen = group["foreach"]
    return "foreach" if (_foreach_by_default(member, group) if chosen is None else chosen) else "forloop"


def _foreach_by_default(member: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
    """`foreach=None` is foreach on a GPU, for all of torch's classes but Adafactor, which saves memory."""
    if group.get("differentiable") or type(member).__name__ == "Adafactor":
        return False
    return bool(group["params"]) and all(p.device.type in ("cuda", "xpu") for p in group["params"])
