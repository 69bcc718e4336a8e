"""The files of a suite that travel to other machines with the work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from optbench.suite.types import Trial

_MAX_FILE_BYTES = 10_000_000  # of a file beside a plug-in; larger ones do not travel


def suite_files(trials: Sequence[Trial]) -> dict[str, bytes]:
    """Return the plug-in files of the trials and the files beside them, which they may import or read, by relative path.

    From a package beside a plug-in all Python files are included. Files of more than 10 MB are data, which each node has itself.
    """
    root = Path(trials[0].folder)
    names = {name for trial in trials for name in trial.sources}
    files: dict[str, bytes] = {}
    for name in names:
        folder = (root / name).parent
        packages = [init.parent for init in folder.glob("*/__init__.py")]
        beside = [*folder.iterdir(), *(path for package in packages for path in package.rglob("*.py"))]
        for path in beside:
            if path.is_file() and not path.name.startswith(".") and path.stat().st_size <= _MAX_FILE_BYTES:
                files[os.path.relpath(path, root)] = path.read_bytes()
    return files
