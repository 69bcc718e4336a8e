"""Numbers -> what people read. A format is a file in `formats/` with `render(report) -> str` and `SUFFIX`.

Nothing heavy is imported before something is rendered.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.errors import OptbenchError, Problem, nearest
from optbench.store import Results

if TYPE_CHECKING:
    from optbench.report.model import Report

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
    check_format(format)
    from optbench.report.model import build

    return render_report(build(results), format)


def render_report(report: Report, format: str = "terminal") -> str:
    """Whatever was built as a report, in one format. Raises `OptbenchError` if there is no such format."""
    check_format(format)
    text: str = import_module(f"optbench.report.formats.{format}").render(report)
    return text


def check_format(format: str) -> None:
    """Raises `OptbenchError` if there is no such format."""
    known = known_formats()
    if format not in known:
        raise OptbenchError(Problem(f"unknown format '{format}': {nearest(format, known)}"))


def save(results: Results, folder: Path, formats: Sequence[str] = ("markdown", "csv")) -> tuple[Path, ...]:
    """Write `report.md`, `report.csv`, ...: each in one move; with CSV also `verdicts.csv` and the like, where there are any.

    Raises `OptbenchError` if the disk refuses.
    """
    from optbench.report.formats.csv import to_csv
    from optbench.report.model import build
    from optbench.store.files import make_folder, write_whole

    report = build(results)
    make_folder(folder)
    paths = []
    for name in formats:
        module = import_module(f"optbench.report.formats.{name}")
        paths.append(folder / f"report{module.SUFFIX}")
        write_whole(paths[-1], module.render(report))
    for name, frame in report.more.items() if "csv" in formats else ():
        paths.append(folder / f"{name}.csv")
        write_whole(paths[-1], to_csv(frame))
    return tuple(paths)
