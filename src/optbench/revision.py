"""The git revision of the repository that a folder is in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

#: files of results folders: the plan, or the archive that contains it (`optbench pack`)
_RESULTS = ("plan.json", "records.tar.xz")


def revision(folder: str) -> dict[str, Any]:
    """Return the git revision of the suite's repository and whether tracked files had uncommitted changes; empty outside of one.

    Results folders (those with a plan or an archive) don't count as changes: a run writes them, and they do not influence results.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", folder or ".", *arguments], capture_output=True, text=True, timeout=5, check=True
        ).stdout

    try:
        top = Path(git("rev-parse", "--show-toplevel").rstrip("\n"))
        changed = git("diff", "--name-only", "--no-renames", "-z", "HEAD").split("\0")
        return {
            "git_revision": git("rev-parse", "HEAD").strip(),
            "git_modified": any(name and not _in_results(top / name, top) for name in changed),
        }
    except (OSError, subprocess.SubprocessError):
        return {}


def _in_results(path: Path, top: Path) -> bool:
    inside = path.relative_to(top).parents
    return any((top / folder / name).is_file() for folder in inside for name in _RESULTS)
