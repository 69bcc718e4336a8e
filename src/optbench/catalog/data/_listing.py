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

    A link to a folder or picture that its class folder has already is skipped and counted in `repeated`. A link to one that
    another class folder has, in any split, is an error: the same picture would have two labels or be in two splits.
    """

    def __init__(self) -> None:
        self.others = 0  # files that are no pictures by their extension
        self.repeated = 0
        self._folders: dict[str, tuple[Path, Path]] = {}  # real path -> (path as listed, class folder)
        self._links: dict[str, tuple[Path, Path]] = {}  # the same for the targets of linked pictures
        self._problems: list[Problem] = []

    def pictures(self, class_folder: Path) -> list[Path]:
        """Return all pictures below `class_folder`, at any depth, in the order of their names. Hidden files are ignored."""
        paths: list[Path] = []
        waiting = [class_folder]
        while waiting:
            folder = waiting.pop()
            if self._is_new(self._folders, os.path.realpath(folder), folder, class_folder):
                inner = list(self._entries(folder, class_folder, paths))
                waiting += reversed(inner)
        links = {path for path, owner in self._links.values() if owner == class_folder}
        doubled = {path for path in links if self._owner_of_target(path) == class_folder}
        self.repeated += len(doubled)
        return [path for path in paths if path not in doubled]

    def raise_problems(self) -> None:
        """Raise OptbenchError for all problems found; call it when every class folder is listed."""
        for path, owner in self._links.values():
            other = self._owner_of_target(path)
            if other is not None and other != owner:
                self._refuse(path, Path(os.path.realpath(path)))
        raise_first(self._problems, "path")

    def _entries(self, folder: Path, class_folder: Path, paths: list[Path]) -> Iterator[Path]:
        """Add the pictures in `folder` to `paths`; yield its folders."""
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
            elif not entry.is_symlink() or self._is_new(
                self._links, os.path.realpath(path), path, class_folder
            ):
                paths.append(path)

    def _is_new(self, known: dict[str, tuple[Path, Path]], real: str, path: Path, class_folder: Path) -> bool:
        first, owner = known.setdefault(real, (path, class_folder))
        if first == path and owner == class_folder:
            return True
        if owner == class_folder:
            self.repeated += 1
        else:
            self._refuse(path, first)
        return False

    def _owner_of_target(self, link: Path) -> Path | None:
        """The class folder that lists the file itself, which `link` points to."""
        folder, name = os.path.split(os.path.realpath(link))
        if not _is_picture(name) or name.startswith("."):
            return None
        return self._folders[folder][1] if folder in self._folders else None

    def _refuse(self, path: Path, same: Path) -> None:
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
