"""The argument of commands that read results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from optbench.cli import completion
from optbench.cli.options import argument
from optbench.suite_folders import suite_folders


def named_folders(paths: list[Path] | None) -> list[Path] | None:
    """Return the paths, with `results/NAME` in place of a NAME without results: results are named like their suites."""

    def found(path: Path) -> bool:
        try:
            return bool(suite_folders(path))
        except (OSError, ValueError):
            return True  # reading it reports why

    def named(path: Path) -> Path:
        below = Path("results") / path
        return below if len(path.parts) == 1 and not found(path) and found(below) else path

    return list(map(named, paths)) if paths is not None else None


ResultPaths = Annotated[
    list[Path] | None,
    argument(
        "[RESULTS]...",
        "Results folders, a folder that contains them, or a name below ./results. Default: ./results.",
        callback=named_folders,
        complete=completion.results,
    ),
]
