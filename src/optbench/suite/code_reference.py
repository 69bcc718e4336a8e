"""References to code in a suite: a catalog name, an import path, or a file and a name in it."""

from __future__ import annotations


def file_and_name(text: str) -> tuple[str, str] | None:
    """Split `opts/my.py:MyOptimizer` into ("opts/my.py", "MyOptimizer").

    The name is empty for a file alone. Return None for a text that names no file.
    """
    if text.endswith(".py"):
        return text, ""
    file, colon, name = text.rpartition(":")
    return (file, name) if colon and file.endswith(".py") else None
