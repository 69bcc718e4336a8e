"""Folders that have a run each: where they are, and how the runs are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from optbench.errors import OptbenchError


def find_runs(
    paths: Sequence[Path], is_log: Callable[[Path], bool], expected: str
) -> Iterator[tuple[str, list[Path]]]:
    """Yield the name and the log files of each folder below `paths` that has log files, in the order of their names.

    A run's name is its path below the only path, or below the folder of several paths. Raises `OptbenchError` if a path
    does not exist, or if there is no log file below it.
    """
    for path in paths:
        if not path.exists():
            raise OptbenchError("no such file or folder", file=str(path))
        files = (
            [path]
            if path.is_file()
            else sorted(file for file in path.rglob("*") if file.is_file() and is_log(file))
        )
        if not files:
            raise OptbenchError(f"no log here: expected {expected}", file=str(path))
        folders: dict[Path, list[Path]] = {}
        for file in files:
            folders.setdefault(file.parent, []).append(file)
        for folder, of_run in sorted(folders.items()):  # a folder comes before its subfolders
            below = [] if path.is_file() else list(folder.relative_to(path).parts)
            top = folder if path.is_file() else path
            several = len(paths) > 1 or not below
            yield "/".join([*([top.resolve().name] if several else []), *below]), of_run
