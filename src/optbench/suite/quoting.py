"""Quotation of values in error messages."""

from __future__ import annotations

from typing import Any


def shown(value: Any) -> str:
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
