"""Readers of logs, one per file, each with a function `read(paths, findings) -> tables`.

A reader's docstring is the help text of its command. A library that it needs is imported when it reads.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, nearest

_FOLDER = Path(__file__).parent


def known_readers() -> dict[str, str]:
    """Return the name of every reader and its docstring, read from the files without importing them."""
    files = sorted(file for file in _FOLDER.glob("*.py") if not file.stem.startswith("_"))
    return {file.stem: ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "" for file in files}


def reader(kind: str) -> Any:
    """Return the reader's module. Raises `OptbenchError` if there is no such reader."""
    known = known_readers()
    if kind not in known:
        raise OptbenchError(f"no reader '{kind}': {nearest(kind, known)}")
    return import_module(f"optbench.importing.readers.{kind}")
