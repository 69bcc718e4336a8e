"""Values as text: in error messages and in tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def format_value(value: Any) -> str:
    """Return a short form of a value for an error message, in the notation of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def describe(value: Any) -> str:
    """Return what a Python object is, for an error message: `the class torch.optim.Adam`, `an object of torch.optim.SGD`."""
    if isinstance(value, type):
        return f"the class {_full_name(value)}"
    if hasattr(value, "__qualname__"):
        return f"the function {_full_name(value)}"
    return f"an object of {_full_name(type(value))}"


def _full_name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}".removeprefix("builtins.")


def as_text(value: Any) -> str:
    """Return a value as tables show it: `none` for null, `norm 1` for {norm: 1}."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return " ".join(f"{key} {as_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(map(as_text, value)) + "]"
    return str(value)
