"""Figures. A figure is a file here with `drawings(material) -> Iterator[Drawing]`; nothing is yielded without data.

It returns descriptions (`optbench.report.plots`) and does not draw: the files, the page and the charts in a terminal are drawn
from the same description. Figures of lines with `IN_TERMINAL = True` appear below the tables in a terminal.
`written` draws the files that have changed, as SVG, PNG and PDF. The same results give the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from optbench.report.drawing import Drawing as Drawing
from optbench.report.figures._groups import Material
from optbench.report.paper.draw import draw
from optbench.report.paper.sheet import settings
from optbench.store import Results
from optbench.store.files import make_folder, write_whole

_FOLDER = Path(__file__).parent
FORMATS = ("svg", "png", "pdf")


def known_figures() -> tuple[str, ...]:
    """Return the names of all figures, in the order in which reports show them."""
    names = (file.stem for file in _FOLDER.glob("*.py"))
    return tuple(sorted(name for name in names if not name.startswith("_")))


def drawings(results: Results, table: pd.DataFrame, verdicts: pd.DataFrame | None) -> tuple[Drawing, ...]:
    """Return all figures of these results, with unique names. Does not draw, and does not import matplotlib.

    `table`, `verdicts`: of `analysis.table.comparison` and `analysis.published.verdicts_frame` (None if nothing is published).
    """
    material = Material(results, table, verdicts)
    found: dict[str, Drawing] = {}  # by name in lower case: some file systems ignore case
    for name in known_figures():
        for drawing in import_module(f"optbench.report.figures.{name}").drawings(material):
            unique = drawing.name
            while unique.lower() in found:
                unique += "-2"
            found[unique.lower()] = replace(drawing, name=unique)
    return tuple(found.values())


def terminal_drawings(results: Results, table: pd.DataFrame) -> tuple[Drawing, ...]:
    """Return the figures that are drawn in a terminal, the main one where several share a place; arguments as of `drawings`."""
    material = Material(results, table, None)
    modules = (import_module(f"optbench.report.figures.{name}") for name in known_figures())
    found = [
        drawing
        for module in modules
        if getattr(module, "IN_TERMINAL", False)
        for drawing in module.drawings(material)
    ]
    return tuple(drawing for drawing in found if drawing.is_main or not drawing.in_menu)


def file_drawings(
    results: Results, table: pd.DataFrame, verdicts: pd.DataFrame | None
) -> tuple[Drawing, ...]:
    """Return the figures that are drawn as files; arguments as of `drawings`."""
    return tuple(each for each in drawings(results, table, verdicts) if each.in_files)


def written(drawings: Iterable[Drawing], folder: Path) -> tuple[Path, ...]:
    """Draw the figures whose files are missing or outdated; return the paths of all.

    Raises `OptbenchError` if a file cannot be written.
    """
    paths: list[Path] = []
    for drawing in drawings:
        files = {ending: folder / f"{drawing.name}.{ending}" for ending in FORMATS}
        paths += files.values()
        digest = _digest(drawing)
        if not (all(file.is_file() for file in files.values()) and _digest_of(files["svg"]) == digest):
            make_folder(folder)
            for ending, content in rendered(drawing, digest).items():
                write_whole(files[ending], content, sync=False)  # can be made again
    return tuple(paths)


def rendered(drawing: Drawing, digest: str = "", formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """Return the content of a drawing's files by format, without dates and random identifiers."""
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None, "Title": drawing.caption},
        "svg": {"Date": None, "Creator": None, "Title": drawing.caption, "Identifier": digest},
    }
    with settings(captions=drawing.is_captioned):
        figure = draw(drawing.plot)
        found = {}
        for ending in formats:
            file = io.BytesIO()
            figure.savefig(file, format=ending, metadata=metadata[ending])
            found[ending] = file.getvalue()
    return found


def _digest(drawing: Drawing) -> str:
    """Return a digest of everything that determines the picture: description, drawing code, version of matplotlib."""
    content = repr((drawing.name, drawing.caption, drawing.is_captioned, drawing.plot))
    found = hashlib.sha256(_code().encode() + content.encode("utf-8", "backslashreplace"))
    return f"optbench:{found.hexdigest()[:24]}"


@cache
def _code() -> str:
    found = hashlib.sha256(importlib.metadata.version("matplotlib").encode())
    report = _FOLDER.parent
    for file in sorted(
        [*report.glob("paper/*.py"), report / "colours.py", report / "plots.py", report / "text.py"]
    ):
        found.update(file.read_bytes())
    return found.hexdigest()


def _digest_of(svg: Path) -> str:
    """Return the digest stored in an SVG file; "" if it has none."""
    try:
        with svg.open("rb") as file:
            head = file.read(4000)
    except OSError:
        return ""
    match = re.search(rb"<dc:identifier>(optbench:[0-9a-f]+)</dc:identifier>", head)
    return match[1].decode() if match else ""
