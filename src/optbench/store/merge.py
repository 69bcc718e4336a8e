"""Merge results of one suite from several machines into one folder: everything, or nothing with the reason.

The files of trials are copied unchanged. Identical files count once; of a file and its beginning (an earlier state), the longer one
is kept. No existing file is overwritten except the plan, which becomes the union of the plans. Checkpoints are not copied.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from optbench.errors import OptbenchError, Problem
from optbench.store.archive import unpack
from optbench.store.files import explained, folder_name, make_folder, sync_folder
from optbench.store.folder import Plan, SuiteFolder
from optbench.store.input_files import read_file
from optbench.store.merge_checks import (
    Source,
    Trial,
    check_source,
    chosen,
    disagreements,
    joined_plan,
    whole_lines,
)
from optbench.store.read import SuiteResults, read
from optbench.suite_folders import has_results

_STAGE = ".merging-"


@dataclass(frozen=True)
class Merge:
    """One suite: where it goes, the plan of the whole, and the files to be copied there. Making one has changed nothing."""

    name: str
    folder: Path
    sources: tuple[Source, ...]
    plan: Plan | None
    copies: tuple[Trial, ...]
    same: int  # trials that the destination has already, or that are in several sources
    aside: tuple[Path, ...]  # superseded records, copied beside

    @property
    def trials(self) -> int:
        return len(self.copies)


def plan_merge(paths: Sequence[Path], into: Path, *, allow_mixed: bool = False) -> list[Merge]:
    """Return the planned merge of suite folders, or of their parents. Raises `OptbenchError` with all conflicts."""
    if into.exists() and not into.is_dir():
        raise OptbenchError("a file: expected a folder or a new path", file=str(into))
    groups: dict[str, list[SuiteResults]] = {}
    for suite in read(paths).suites:
        groups.setdefault(_name(suite), []).append(suite)
    problems: list[Problem] = []
    merges = []
    for name, suites in groups.items():
        folder = into / folder_name(name)
        try:
            merges.append(_merge(name, suites, folder, allow_mixed=allow_mixed))
        except OptbenchError as error:
            problems += error.problems
    if problems:
        raise OptbenchError(*problems)
    return merges


def apply_merge(merges: Sequence[Merge], into: Path) -> None:
    """Copy all suites to a folder beside their destinations, then move them into place.

    Nothing is moved before everything is copied, so that a file that cannot be read or a full disk leaves the destinations
    unchanged. A new suite's folder appears in one move; into an existing one files are moved one by one, and the plan last. A
    merge that is killed while it moves is finished by repeating the merge. Raises `OptbenchError` if a file cannot be written.
    """
    make_folder(into)
    _sweep(into)
    stage = into / f"{_STAGE}{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    staged = [SuiteFolder(stage / merge.folder.name) for merge in merges]
    try:
        with ExitStack() as locks:
            for merge in merges:
                for source in merge.sources:
                    if source.path.resolve() != merge.folder.resolve():
                        locks.enter_context(_not_running(source.path))
            for merge, folder in zip(merges, staged, strict=True):
                with _explained(merge):
                    _copy(merge, folder)
            for merge, folder in zip(merges, staged, strict=True):
                with _explained(merge):
                    _move(merge, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _explained(merge: Merge) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explained(error, merge.folder) from error


def _name(suite: SuiteResults) -> str:
    """Return the name from the plan or the trials, regardless of the folder's name."""
    if suite.plan is not None:
        return suite.plan.suite
    named = next((log.trial.get("suite") for log in suite.logs), None)
    return str(named) if named else suite.path.name


def _merge(name: str, suites: list[SuiteResults], folder: Path, *, allow_mixed: bool) -> Merge:
    if folder.exists() and not folder.is_dir():
        message = (
            "not a folder; expected the folder of a suite or nothing: move it, or merge into another folder"
        )
        raise OptbenchError(message, file=str(folder))
    there = [suite for suite in suites if suite.path.resolve() == folder.resolve()]
    if not there and has_results(folder):
        there = list(read([folder]).suites)
    ordered = [*there, *(suite for suite in suites if suite not in there)]
    problems: list[Problem] = []
    sources = []
    for suite in ordered:
        try:
            with _not_running(suite.path):
                sources.append(check_source(suite))
        except OptbenchError as error:
            problems += error.problems
    problems += disagreements(sources, allow_mixed=allow_mixed)
    trials, clashes = chosen(sources)
    problems += clashes
    if problems:
        raise OptbenchError(*problems)
    own = {trial.key: trial for trial in sources[0].trials} if there else {}
    copies = tuple(t for t in trials if t.key not in own or own[t.key].path != t.path)
    read_in = sum(len(source.trials) for source in sources[bool(there) :])
    aside = tuple(path for source in sources[bool(there) :] for path in source.aside)
    return Merge(
        name, folder, tuple(sources), joined_plan(name, sources), copies, read_in - len(copies), aside
    )


def _copy(merge: Merge, staged: SuiteFolder) -> None:
    """Write everything missing in the destination to `staged`, synced to disk."""
    staged.create()
    for trial in merge.copies:
        path = staged.trials / trial.name
        path.write_bytes(trial.content())
        _sync(path)
    _copy_aside(merge.aside, staged.path / "superseded")
    if merge.plan is not None:
        staged.write_plan(merge.plan)
    for folder in (staged.trials, staged.path):
        _sync(folder)


def _move(merge: Merge, staged: SuiteFolder) -> None:
    goal = SuiteFolder(merge.folder)
    if not goal.path.exists():
        staged.path.rename(goal.path)
        sync_folder(goal.path.parent)
        return
    goal.create()
    with goal.lock():
        if merge.copies or merge.aside:
            unpack(goal.path)
        _copy_aside(sorted((staged.path / "superseded").glob("*.jsonl")), goal.path / "superseded")
        for trial in merge.copies:
            known = goal.trials / trial.name
            if known.exists() and not trial.content().startswith(read_file(known, goal.path)):
                raise OptbenchError("changed during the merge: merge again", file=str(known))
            (staged.trials / trial.name).rename(known)
        sync_folder(goal.trials)
        if merge.plan is not None and merge.plan != goal.read_plan():
            goal.write_plan(merge.plan)


def _copy_aside(paths: Sequence[Path], aside: Path) -> None:
    """Copy superseded records under the next free number, without duplicates."""
    for path in paths:
        make_folder(aside)
        content, stem = whole_lines(path), path.stem.rpartition("--")[0] or path.stem
        number = 1
        while (goal := aside / f"{stem}--{number}.jsonl").exists() and read_file(
            goal, aside.parent
        ) != content:
            number += 1
        if not goal.exists():
            temporary = goal.with_name(f".{number}.{os.getpid()}.tmp")
            temporary.write_bytes(content)
            temporary.rename(goal)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # file systems that cannot do it
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(into: Path) -> None:
    """Remove the remains of a killed merge."""
    for stage in into.glob(f"{_STAGE}*"):
        pid = stage.name.removeprefix(_STAGE)
        try:
            os.kill(int(pid), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            shutil.rmtree(stage, ignore_errors=True)
        except OSError:
            pass


@contextmanager
def _not_running(folder: Path) -> Iterator[None]:
    """Block runs while files are copied. Writes nothing, as the folder may be read-only."""
    import fcntl

    try:
        descriptor = os.open(folder / "run.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # never run here
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OptbenchError("another run holds the lock: wait for it", file=str(folder)) from None
        except OSError:  # no locks on this file system, so no run either
            pass
        yield
    finally:
        os.close(descriptor)
