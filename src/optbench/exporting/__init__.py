"""The store -> what other tools read. A tool is a file here: `LIBRARIES`, `export(runs, output) -> Written` and `next_step(output)`.

The first line of its docstring says what it writes; the extra `optbench[<tool>]` installs them; they are imported only when
something is exported.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, nearest

_FOLDER = Path(__file__).parent


def known_tools() -> dict[str, str]:
    """Return the description of each tool by name, read from the files without importing them."""
    found = {}
    for file in sorted(_FOLDER.glob("*.py")):
        if not file.stem.startswith("_"):
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            found[file.stem] = text.partition("\n")[0]
    return found


def exporter(tool: str) -> Any:
    """Return the tool's module. Raises `OptbenchError` if there is none of this name, or if a library of it is not installed."""
    known = known_tools()
    if tool not in known:
        raise OptbenchError(f"unknown tool '{tool}': {nearest(tool, known)}")
    module = import_module(f"optbench.exporting.{tool}")
    for library in module.LIBRARIES:
        try:
            import_module(library)
        except ImportError as error:
            message = f"requires {library}, which is not installed: pip install 'optbench[{tool}]'"
            raise OptbenchError(message, where=f"export {tool}") from error
    return module
