"""Compress the records of finished suites into one file per folder.

The plan and the records of all trials move into `records.tar.xz`, a tar file, at about a tenth of their size. Reports, figures and
`suite.yaml` stay. Every command reads packed folders. A run that adds or repeats trials unpacks its folder first, and `--unpack` does
the same. Records that were added to a packed folder are included by packing it again. The files are removed only after the archive
was read back.

Examples:
  optbench pack results/zoo
  optbench pack results
  optbench pack results/zoo --unpack

Exit codes:
  0  packed or unpacked, or nothing to do
  2  an error, for example a run or a worker uses a folder: its records are unchanged
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from optbench.cli import completion
from optbench.cli.options import argument, flag
from optbench.console import wrapped
from optbench.errors import OptbenchError, Problem
from optbench.plurals import counted
from optbench.runner.shared_work import refuse_held
from optbench.store import SuiteFolder
from optbench.store.archive import Packed
from optbench.store.archive import pack as pack_records
from optbench.store.archive import unpack as unpack_records
from optbench.suite_folders import ARCHIVE, suite_folders

PLACE = "Import and share", 4


def pack(
    paths: Annotated[
        list[Path],
        argument("RESULTS...", "Results folders, or folders that contain them.", completion.results),
    ],
    unpack: Annotated[bool, flag("--unpack", "Restore one file per trial.")] = False,
) -> None:
    for folder in _folders(paths):
        suite = SuiteFolder(folder)
        with suite.lock():
            refuse_held(suite)
            done = unpack_records(folder) if unpack else pack_records(folder)
        print(wrapped(f"{folder}: {_summary(done, unpack=unpack)}", indent=2))


def _folders(paths: list[Path]) -> list[Path]:
    """Return the suites' folders. Raises `OptbenchError` with each path that contains none."""
    by_path = {path: suite_folders(path) for path in paths}
    problems = [
        Problem("no results here: expected a folder written by `optbench run`", file=str(path))
        for path, folders in by_path.items()
        if not folders
    ]
    if problems:
        raise OptbenchError(*problems)
    return list(dict.fromkeys(folder for folders in by_path.values() for folder in folders))


def _summary(done: Packed | None, *, unpack: bool) -> str:
    if done is None:
        return f"no {ARCHIVE}, so there is nothing to unpack" if unpack else "already packed"
    files, archive = f"{_megabytes(done.file_bytes)} in single files", f"{_megabytes(done.archive_bytes)}"
    if unpack:
        return f"{counted(done.trials, 'trial')} unpacked, {files} ({ARCHIVE} had {archive})"
    return f"{counted(done.trials, 'trial')} packed in {ARCHIVE}, {archive} (before: {files})"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 50_000 else f"{count / 1e3:.1f} kB"
