"""Results of one suite made on several machines, joined into one folder: all that fits, or nothing and why.

The files of trials are copied as they are; those that are in several places, byte for byte, count once, and a copy of an earlier
state of a file (its beginning) gives way to the later one. Nothing that is there is ever overwritten but the plan, which is the
plans' union. Checkpoints stay where they are.
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
from optbench.store.files import explained, folder_name, make_folder, sync_folder
from optbench.store.folder import Plan, SuiteFolder
from optbench.store.merge_checks import Source, Trial, check_source, chosen, disagreements, joined_plan
from optbench.store.read import SuiteResults, read

_STAGE = ".merging-"


@dataclass(frozen=True)
class Merge:
    """One suite: where it goes, the plan of the whole, and the files to be copied there. Making one has changed nothing."""

    name: str
    folder: Path
    sources: tuple[Source, ...]
    plan: Plan | None
    copies: tuple[Trial, ...]
    same: int  # trials that are there already, or came twice
    aside: tuple[Path, ...]  # superseded records, copied beside

    @property
    def trials(self) -> int:
        return len(self.copies)


def plan_merge(paths: Sequence[Path], into: Path, *, allow_mixed: bool = False) -> list[Merge]:
    """What joining these suites' folders, or roots of several, would do. Raises `OptbenchError` with everything that does not fit."""
    if into.exists() and not into.is_dir():
        raise OptbenchError(
            Problem("a file: expected a folder, or one that is not there yet", file=str(into))
        )
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
    """Copy. A suite that is not there yet appears whole, in one move; into one that is there, files come one by one, whole each,
    and the plan last: what a kill leaves, the same merge finishes. Raises `OptbenchError` if the disk refuses."""
    make_folder(into)
    _sweep(into)
    for merge in merges:
        stage = into / f"{_STAGE}{os.getpid()}"
        try:
            with ExitStack() as stack:
                for source in merge.sources:
                    if source.path.resolve() != merge.folder.resolve():
                        stack.enter_context(_not_running(source.path))
                _copy(merge, stage)
        except OSError as error:
            raise explained(error, merge.folder) from error
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _name(suite: SuiteResults) -> str:
    """As its plan or its trials say, whatever the folder is called now."""
    if suite.plan is not None:
        return suite.plan.suite
    named = next((log.trial.get("suite") for log in suite.logs), None)
    return str(named) if named else suite.path.name


def _merge(name: str, suites: list[SuiteResults], folder: Path, *, allow_mixed: bool) -> Merge:
    there = [suite for suite in suites if suite.path.resolve() == folder.resolve()]
    if not there and _holds_results(folder):
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


def _holds_results(folder: Path) -> bool:
    return (folder / "plan.json").is_file() or any((folder / "trials").glob("*.jsonl"))


def _copy(merge: Merge, stage: Path) -> None:
    staged = SuiteFolder(stage / merge.folder.name)
    shutil.rmtree(stage, ignore_errors=True)
    staged.create()
    for trial in merge.copies:
        (staged.trials / trial.name).write_bytes(trial.content())
    goal = SuiteFolder(merge.folder)
    fresh = not goal.path.exists()
    _copy_aside(merge.aside, (staged if fresh else goal).path / "superseded")
    if fresh:
        if merge.plan is not None:
            staged.write_plan(merge.plan)
        for path in [*staged.trials.iterdir(), staged.trials, staged.path]:
            _sync(path)
        staged.path.rename(goal.path)
        sync_folder(goal.path.parent)
        return
    goal.create()
    with goal.lock():
        for trial in merge.copies:
            staged_file = staged.trials / trial.name
            _sync(staged_file)
            known = goal.trials / trial.name
            if known.exists() and not trial.content().startswith(known.read_bytes()):
                raise OptbenchError(
                    Problem("changed while it was being merged: merge again", file=str(known))
                )
            staged_file.rename(known)
        sync_folder(goal.trials)
        if merge.plan is not None and merge.plan != goal.read_plan():
            goal.write_plan(merge.plan)


def _copy_aside(paths: Sequence[Path], aside: Path) -> None:
    """Superseded records under the next free number; those that are there already once."""
    for path in paths:
        make_folder(aside)
        content, stem = path.read_bytes(), path.stem.rpartition("--")[0] or path.stem
        number = 1
        while (goal := aside / f"{stem}--{number}.jsonl").exists() and goal.read_bytes() != content:
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
    """What a killed merge left."""
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
    """Keep runs out while its files are copied; writes nothing there, as it may be read-only."""
    import fcntl

    try:
        descriptor = os.open(folder / "run.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # never run here
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OptbenchError(
                Problem("another run holds the lock: wait for it", file=str(folder))
            ) from None
        except OSError:  # no locks on this file system, so no run either
            pass
        yield
    finally:
        os.close(descriptor)
