"""Find suites by path, or by the name of a suite or a folder of suites shipped with the package."""

from __future__ import annotations

import re
from pathlib import Path

from optbench.errors import OptbenchError, nearest


def find(text: str | Path) -> Path:
    """Return the path of a suite: an existing file, or a shipped suite (`digits`). Raises `OptbenchError` with the nearest name."""
    return _find(text, tuple(shipped()))


def _find(text: str | Path, names: tuple[str, ...]) -> Path:
    """Return the path of a suite; `names` are those that an error compares with."""
    path = Path(text).expanduser()
    try:
        if path.is_file():
            return path
        is_folder = path.is_dir()
    except (OSError, ValueError):
        raise OptbenchError(f"no suite '{text}': not a usable path") from None
    known = shipped()
    if str(text) in known:
        return known[str(text)]
    if is_folder:
        raise OptbenchError(f"expected a suite file; found the folder '{text}'")
    if path.parent != Path() or path.suffix:
        beside = sorted(str(path.parent / file.name) for file in path.parent.glob("*.y*ml"))
        known_files = (
            nearest(str(path), beside) if beside else f"shipped suites: {', '.join(known) or 'none'}"
        )
        raise OptbenchError(f"no suite file '{text}'; {known_files}")
    raise OptbenchError(f"no suite '{text}': neither a file nor a shipped suite; {nearest(str(text), names)}")


def find_all(text: str | Path) -> tuple[str, list[Path]]:
    """Return the suites of a folder with the folder's name, or one suite with "".

    A folder is given by its path or as the name of a shipped one (`claims`). Its suites are ordered by name, with numbers in names
    compared as numbers. Raises `OptbenchError` as `find` does.
    """
    known = shipped()
    folders = (Path(text).expanduser(), *_shipped_folders(str(text))) if str(text) not in known else ()
    is_folder = False
    for folder in folders:
        try:
            suites = sorted(folder.glob("*.yaml"), key=_natural) if folder.is_dir() else []
            is_folder |= folder.is_dir()
        except (OSError, ValueError):
            suites = []
        if suites:
            return folder.resolve().name, suites
    if is_folder:
        raise OptbenchError(f"the folder '{text}' contains no suites: expected files named *.yaml")
    return "", [_find(text, (*known, *shipped_folders()))]


def shipped() -> dict[str, Path]:
    """Return the paths of the shipped suites by name: in the installed package, or at the top of a checkout."""
    return {path.stem: path for folder in _shipped() for path in sorted(folder.glob("*.yaml"))}


def shipped_folders() -> list[str]:
    """Return the names of the folders of suites that are shipped."""
    return sorted({path.parent.name for folder in _shipped() for path in folder.glob("*/*.yaml")})


def _shipped_folders(name: str) -> list[Path]:
    return [folder / name for folder in _shipped()] if re.fullmatch(r"\w+", name) else []


def _shipped() -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    known = (package / "suites", package.parents[1] / "suites")
    return [folder for folder in known if folder.is_dir()][:1]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a sort key by which P2 precedes P10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.stem)]
