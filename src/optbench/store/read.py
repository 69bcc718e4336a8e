"""Read results. Reading never changes the folders, also during a run."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.store.archive import record_names
from optbench.store.attempts import settled
from optbench.store.cache import Cache, Stamp, read_before, stamp_of
from optbench.store.folder import Plan, SuiteFolder
from optbench.store.log import TrialLog, read_log, shared
from optbench.store.records import NewerFormat
from optbench.suite_folders import ARCHIVE, has_results, suite_folders

__all__ = ["Results", "StoredSuite", "SuiteResults", "TrialLog", "read", "read_log"]


@dataclass(frozen=True, eq=False)
class SuiteResults:
    name: str
    path: Path
    plan: Plan | None
    logs: tuple[TrialLog, ...]  # by file name; one per trial id: of several attempts the one that counts
    warnings: tuple[Problem, ...] = ()
    all_seeds: bool = False  # show the results of seeds that are not planned


@dataclass(frozen=True)
class Results:
    suites: tuple[SuiteResults, ...]


def read(paths: Sequence[Path], *, all_seeds: bool = False) -> Results:
    """Read suites' folders and roots that hold several of them; a folder met twice counts once.

    With `all_seeds`, tables also show the results of seeds that the plan does not have.
    Raises `OptbenchError` with every path that has nothing, and for files of a newer optbench. A damaged
    file is left out, with a warning that names its line.
    """
    folders: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            found = suite_folders(path)
            if not found:
                problems.append(Problem(_no_results(path), file=str(path)))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            problems.append(Problem(f"cannot be read: {reason}", file=str(path)))
            continue
        folders += [
            folder for folder in found if folder.resolve() not in {known.resolve() for known in folders}
        ]
    if problems:
        raise OptbenchError(*problems)
    with _without_collector():
        suites = [replace(_read_suite(folder), all_seeds=all_seeds) for folder in folders]
    return Results(tuple(_unique_names(suites)))


class StoredSuite:
    """A suite's folder that one process reads repeatedly: files that have not changed are not parsed again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._memory: dict[str, tuple[Stamp, TrialLog]] = {}
        self._parts: dict[Any, Any] = {}  # what the logs have in common
        self._last: Results | None = None
        self._plan: tuple[Stamp | None, Plan | None, tuple[Problem, ...]] | None = None

    def read(self) -> Results:
        """Return the current content, also of a folder without results. Raises `OptbenchError` for files of a newer optbench.

        Returns the same object again if nothing has changed.
        """
        with _without_collector():
            stamp = stamp_of(self._path / "plan.json", self._path / ARCHIVE)
            if self._plan is None or self._plan[0] != stamp or stamp is None:
                self._plan, self._last = (stamp, *_read_plan(self._path)), None
            with read_before(self._path, self._memory) as cache:
                logs, warnings = _read_logs(self._path / "trials", cache, self._parts)
                is_unchanged = cache.is_unchanged
            if self._last is None or not is_unchanged:
                suite = _suite(self._path, self._plan[1], logs, [*self._plan[2], *warnings])
                self._last = Results((suite,))
            return self._last


def _read_suite(path: Path) -> SuiteResults:
    plan, problems = _read_plan(path)
    with read_before(path) as cache:
        logs, warnings = _read_logs(path / "trials", cache, {})
    return _suite(path, plan, logs, [*problems, *warnings])


def _suite(
    path: Path, plan: Plan | None, logs: Iterable[TrialLog], warnings: Sequence[Problem]
) -> SuiteResults:
    return SuiteResults(plan.suite if plan else path.name, path, plan, settled(logs), tuple(warnings))


def _read_plan(path: Path) -> tuple[Plan | None, tuple[Problem, ...]]:
    try:
        return SuiteFolder(path).read_plan(), ()
    except NewerFormat:
        raise
    except OptbenchError as error:
        return None, error.problems


def _read_logs(folder: Path, cache: Cache, parts: dict[Any, Any]) -> tuple[Iterable[TrialLog], list[Problem]]:
    """Return the logs of all files, one for each attempt at a trial, and the problems of files that cannot be read."""
    logs: dict[tuple[str, int], TrialLog] = {}
    warnings: list[Problem] = []

    def parse(file: Path) -> TrialLog:
        return shared(read_log(file), parts)

    for name in record_names(folder.parent):
        try:
            log = cache.log(name) or cache.read(name, parse)
        except NewerFormat:
            raise
        except OptbenchError as error:
            warnings += [
                replace(problem, message=f"{problem.message}; file skipped") for problem in error.problems
            ]
            continue
        same = logs.get((log.id, log.attempt))
        if same is not None:
            best = max(same, log, key=lambda each: (each.is_complete, len(each.evaluations)))
            message = f"the same trial as {same.name}; only {best.name} is used"
            warnings.append(Problem(message, file=str(folder / name)))
            log = best
        logs[log.id, log.attempt] = log
    return logs.values(), warnings


def _unique_names(suites: list[SuiteResults]) -> Iterator[SuiteResults]:
    names = [suite.name for suite in suites]
    for suite in suites:
        twice = names.count(suite.name) > 1
        yield replace(suite, name=f"{suite.path.resolve().parent.name}/{suite.name}") if twice else suite


def _no_results(path: Path) -> str:
    expected = "expected a folder written by `optbench run`"
    if not path.exists():
        hint = f"; '{path.parent}' has results" if path.parent.is_dir() and suite_folders(path.parent) else ""
        return f"no such folder: {expected}{hint}"
    if path.is_file():
        return f"a file: {expected}"
    for near in (path.parent, path.parent.parent):
        if has_results(near):
            return f"no results here: {expected}; did you mean '{near}'?"
    below = [child for child in sorted(path.iterdir()) if child.is_dir() and suite_folders(child)]
    hint = f"; did you mean '{below[0]}'?" if below else ""
    return f"no results here: {expected}{hint}"


@contextmanager
def _without_collector() -> Iterator[None]:
    """Disable garbage collection: it would scan a million new objects, none of them in a cycle, repeatedly."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
