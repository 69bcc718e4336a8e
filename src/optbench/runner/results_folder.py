"""The locked results folder of a run. A run that is refused leaves no new folders behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optbench.plurals import counted
from optbench.runner.observer import Observer
from optbench.store import SuiteFolder


@contextmanager
def locked_folder(folder: SuiteFolder) -> Iterator[None]:
    """Create and lock the suite's folder. If nothing was written to it, remove the folders that were created.

    Only folders that this call created are removed, and only empty ones.
    """
    created: list[Path] = []
    try:
        _create(folder, created)
        folder.create()
    except BaseException:
        _remove(created)
        raise
    with folder.lock():
        folder.create()  # another run that was refused may have removed it before this one had the lock
        has_plan = False
        try:
            yield
            has_plan = (folder.path / "plan.json").exists()
        finally:
            if not has_plan:
                inside = [path for path in created if path.parent == folder.path]
                _remove(inside)
                if folder.path in created and not (folder.path / "plan.json").exists():
                    with contextlib.suppress(OSError):
                        (folder.path / "run.lock").unlink(missing_ok=True)
                _remove([path for path in created if path not in inside])


def unpack(folder: SuiteFolder, observer: Observer) -> None:
    """Restore the single files of a packed folder, to which records are about to be added."""
    if trials := folder.unpack():
        observer.message(
            f"Unpacked the records of {counted(trials, 'trial')}: `optbench pack {folder.path}` packs them again"
        )


def _create(folder: SuiteFolder, created: list[Path]) -> None:
    """Create the folders one by one, outermost first, and append those that did not exist to `created`."""
    for path in (*reversed(folder.path.parents), folder.path, folder.trials, folder.checkpoints):
        if os.path.isdir(path):
            continue
        try:
            path.mkdir()
        except FileExistsError:  # another process created it meanwhile
            continue
        except OSError:
            return  # `SuiteFolder.create` raises the error with its reason
        created.append(path)


def _remove(created: list[Path]) -> None:
    for path in reversed(created):
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()
