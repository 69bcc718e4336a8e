"""Numbers -> what people read. A format is a file in `formats/` with `render(report) -> str`.

Nothing heavy is imported before something is rendered.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

from optbench.errors import OptbenchError, Problem, nearest
from optbench.store import Results

_FOLDER = Path(__file__).parent / "formats"


def known_formats() -> dict[str, str]:
    """Name of every format -> what it is for, read from the files without importing them."""
    found = {}
    for file in sorted(_FOLDER.glob("*.py")):
        if not file.stem.startswith("_"):
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            found[file.stem] = text.partition("\n")[0]
    return found


def render(results: Results, format: str = "terminal") -> str:
    """The comparison in one format. Raises `OptbenchError` if there is no such format."""
    known = known_formats()
    if format not in known:
        raise OptbenchError(Problem(f"unknown format '{format}': {nearest(format, known)}"))
    from optbench.report.model import build

    text: str = import_module(f"optbench.report.formats.{format}").render(build(results))
    return text


def save(results: Results, folder: Path) -> tuple[Path, Path]:
    """Write `report.md` and `report.csv`, each in one move. Raises `OptbenchError` if the disk refuses."""
    from optbench.report.formats import csv, markdown
    from optbench.report.model import build
    from optbench.store.files import make_folder, write_whole

    report = build(results)
    make_folder(folder)
    paths = folder / "report.md", folder / "report.csv"
    write_whole(paths[0], markdown.render(report))
    write_whole(paths[1], csv.render(report))
    return paths
