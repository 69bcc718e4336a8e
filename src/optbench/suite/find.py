"""Find suites by path, or by the name of a suite shipped with the package."""

from __future__ import annotations

from pathlib import Path

from optbench.errors import OptbenchError, nearest


def find(text: str | Path) -> Path:
    """Return the path of a suite: an existing file, or a shipped suite (`digits`). Raises `OptbenchError` with the nearest name."""
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
    raise OptbenchError(f"no suite '{text}': neither a file nor a shipped suite; {nearest(str(text), known)}")


def shipped() -> dict[str, Path]:
    """Return the paths of the shipped suites by name: in the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "suites", package.parents[1] / "suites"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}
