"""Classes that look up a flag such as `use_muon` in each parameter group, and so cannot get a flat list of parameters."""

from __future__ import annotations

import inspect
import re
from typing import Any


def flags_of(factory: Any) -> list[str]:
    """Return the names of the flags `use_...` in the source of a class and its bases; empty without source."""
    classes = getattr(factory, "__mro__", (factory, object))
    try:
        source = "\n".join(map(inspect.getsource, classes[:-1]))
    except (OSError, TypeError):
        return []
    return re.findall(r"""["'](use_\w+)["']""", source)


def missing_flag(factory: Any, error: BaseException | None) -> str:
    """Return the flag that the groups need if a class raised `error` because it got parameters; else empty."""
    flags = flags_of(factory) if "Tensor.__contains__" in str(error) else []
    return flags[0] if flags else ""


def groups_with(flag: str) -> str:
    """Return the setting of an entry that sets the flag for matrices."""
    return f"`groups: [{{parameters: matrices, {flag}: true}}, {{parameters: rest, {flag}: false}}]`"


def missing_groups(use: str, flag: str) -> str:
    """Return what an entry must set for a class whose groups need this flag."""
    return f"'{use}' requires parameter groups with '{flag}'. Add to the entry: {groups_with(flag)}"
