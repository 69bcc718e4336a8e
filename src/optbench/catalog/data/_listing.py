"""List the pictures of class folders. Symbolic links are followed, and no file is listed twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from optbench.errors import OptbenchError, Problem
from optbench.plurals import counted

#: those of torchvision's ImageFolder, and .gif
EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"))
_NAMED = 10  # offending files or folders that an error lists


class Lister:
    """Lists class folders one after another, in all splits of a tree.

    A link to a folder or picture that is already in its class folder is skipped and counted in `repeated`. A link to one in
    another class folder, of any split, is an error: the same picture would have two labels or be in two splits.
    """

    def __init__(self) -> None:
        self.others = 0  # files that are no pictures by their extension
        self.repeated = 0
        self._folders: dict[str, tuple[Path, Path]] = {}  # real path -> (path as listed, class folder)
        self._links: dict[str, tuple[Path, Path]] = {}  # the same for the targets of linked pictures
        self._problems: list[Problem] = []

    def pictures(self, class_folder: Path) -> list[Path]:
        """Return all pictures below `class_folder`, at any depth, in the order of their names. Hidden files are ignored."""
        found: list[tuple[Path, str]] = []
        waiting = [class_folder]
        while waiting:
            folder = waiting.pop()
            if self._is_new(self._folders, os.path.realpath(folder), folder, class_folder):
                waiting += reversed(list(self._entries(folder, class_folder, found)))
        doubled = {path for path, real in found if real and self._owner_of(real) == class_folder}
        self.repeated += len(doubled)
        return [path for path, _ in found if path not in doubled]

    def raise_problems(self) -> None:
        """Raise `OptbenchError` for all problems; to be called after the last class folder."""
        for real, (path, owner) in self._links.items():
            if self._owner_of(real) not in (None, owner):
                self._add_problem(path, Path(real))
        raise_first(self._problems, "path")

    def _entries(self, folder: Path, class_folder: Path, found: list[tuple[Path, str]]) -> Iterator[Path]:
        """Add the pictures in `folder` to `found`, with the real path of links; yield its folders."""
        try:
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            self._problems.append(Problem(f"cannot be read: {error.strerror}", file=str(folder)))
            return
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield path
            elif not _is_picture(entry.name):
                self.others += 1
            elif not entry.is_file():
                what = "a link to a missing file" if entry.is_symlink() else "no regular file"
                self._problems.append(Problem(f"is {what}; expected a picture", file=str(path)))
            elif not entry.is_symlink():
                found.append((path, ""))
            elif self._is_new(self._links, real := os.path.realpath(path), path, class_folder):
                found.append((path, real))

    def _is_new(self, known: dict[str, tuple[Path, Path]], real: str, path: Path, class_folder: Path) -> bool:
        first, owner = known.setdefault(real, (path, class_folder))
        if first == path and owner == class_folder:
            return True
        if owner == class_folder:
            self.repeated += 1
        else:
            self._add_problem(path, first)
        return False

    def _owner_of(self, real: str) -> Path | None:
        """Return the class folder that lists the file itself, which a link points to."""
        folder, name = os.path.split(real)
        if not _is_picture(name) or name.startswith("."):
            return None
        return self._folders[folder][1] if folder in self._folders else None

    def _add_problem(self, path: Path, same: Path) -> None:
        message = f"is the same as {same}; expected each picture in one class and one split only"
        self._problems.append(Problem(message, file=str(path)))


def raise_first(problems: list[Problem], what: str) -> None:
    """Raise OptbenchError with the first ten problems and the number of the others; return if there are none."""
    if len(problems) > _NAMED:
        raise OptbenchError(
            *problems[:_NAMED], f"and {counted(len(problems) - _NAMED, f'more {what}')} like these"
        )
    if problems:
        raise OptbenchError(*problems)


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS
