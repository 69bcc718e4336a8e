"""How a suite names code: a catalog name, an import path, or a file and a name in it."""

from __future__ import annotations


def file_and_name(text: str) -> tuple[str, str] | None:
    """`opts/my.py:MyOptimizer` -> ("opts/my.py", "MyOptimizer"); a file alone has an empty name; None if no file."""
    if text.endswith(".py"):
        return text, ""
    file, colon, name = text.rpartition(":")
    return (file, name) if colon and file.endswith(".py") else None
