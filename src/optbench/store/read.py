"""Everything that was measured, read back. Reading changes nothing on disk, also while a run is writing."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.events import Evaluated, Finished, Resumed, Started
from optbench.store.folder import Plan, SuiteFolder
from optbench.store.journal import is_final, read_header
from optbench.store.records import Corrupt, NewerFormat, from_json, to_event


@dataclass(frozen=True)
class TrialLog:
    """One trial's file. `trial` is the resolved trial as plain data."""

    id: str
    config_id: str
    trial: dict[str, Any]
    optbench: str  # version that wrote it
    path: Path
    started: Started | None = None
    evaluations: tuple[Evaluated, ...] = ()
    finished: Finished | None = None  # the last one
    resumed: tuple[Resumed, ...] = ()
    timings_interrupted: bool = False
    """The clock was carried over a restart: its seconds are not those of one undisturbed run."""

    @property
    def is_complete(self) -> bool:
        return is_final(self.finished)


@dataclass(frozen=True)
class SuiteResults:
    name: str
    path: Path
    plan: Plan | None
    logs: tuple[TrialLog, ...]  # by file name; one a trial id
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Results:
    suites: tuple[SuiteResults, ...]


def read(paths: Sequence[Path]) -> Results:
    """Read suites' folders and roots that hold several of them; a folder met twice counts once.

    Raises `OptbenchError` with every path that has nothing, and for files of a newer optbench. A damaged
    file is left out, with a warning that names its line.
    """
    folders: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            found = _suite_folders(path)
            if not found:
                problems.append(Problem(_nothing(path), file=str(path)))
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
        suites = [_read_suite(folder) for folder in folders]
    return Results(tuple(_unique_names(suites)))


def read_log(path: Path) -> TrialLog:
    """One trial's file. A torn last line is skipped. Raises `OptbenchError` if it is damaged or newer."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise OptbenchError(Problem(f"cannot read: {error.strerror}", file=str(path))) from error
    del lines[-1]  # empty, or torn by a kill
    try:
        header = read_header(lines[0] if lines else b"", str(path))
    except Corrupt as error:
        raise OptbenchError(Problem(str(error), file=str(path), line=1)) from None
    log = TrialLog(header["id"], header["config_id"], header["trial"], str(header.get("optbench", "")), path)
    return _filled(log, _events(lines, path))


def _events(lines: list[bytes], path: Path) -> list[Started | Evaluated | Resumed | Finished]:
    try:
        # One call for all lines: half the time of a call a line.
        contents = from_json(b"[" + b",".join(lines[1:]) + b"]")
        if len(contents) == len(lines) - 1:
            return [to_event(content) for content in contents]
    except ValueError:
        pass  # again, line by line, to say where
    events = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            events.append(to_event(from_json(line)))
        except Corrupt as error:
            raise OptbenchError(Problem(f"damaged record ({error})", file=str(path), line=number)) from None
    return events


def _filled(log: TrialLog, events: Iterable[Started | Evaluated | Resumed | Finished]) -> TrialLog:
    started: Started | None = None
    finished: Finished | None = None
    evaluations: list[Evaluated] = []
    resumed: list[Resumed] = []
    interrupted = False
    for event in events:
        if isinstance(event, Evaluated):
            if not evaluations or event.step > evaluations[-1].step:
                evaluations.append(event)
        elif isinstance(event, Resumed):
            resumed.append(event)
            interrupted |= event.step > 0 or bool(evaluations)
        elif isinstance(event, Finished):
            finished = event
        else:
            started = started or event
    return replace(
        log,
        started=started,
        evaluations=tuple(evaluations),
        finished=finished,
        resumed=tuple(resumed),
        timings_interrupted=interrupted,
    )


def _read_suite(path: Path) -> SuiteResults:
    plan: Plan | None = None
    logs: dict[str, TrialLog] = {}
    warnings: list[Problem] = []
    try:
        plan = SuiteFolder(path).read_plan()
    except NewerFormat:
        raise
    except OptbenchError as error:
        warnings += error.problems
    for file in sorted((path / "trials").glob("*.jsonl")):
        try:
            log = read_log(file)
        except NewerFormat:
            raise
        except OptbenchError as error:
            warnings += [
                replace(problem, message=f"{problem.message}; file left out") for problem in error.problems
            ]
            continue
        known = logs.get(log.id)
        if known is not None:
            best = max(known, log, key=lambda each: (each.is_complete, len(each.evaluations)))
            warnings.append(
                Problem(f"the same trial as {known.path.name}; only {best.path.name} counts", file=str(file))
            )
            log = best
        logs[log.id] = log
    return SuiteResults(plan.suite if plan else path.name, path, plan, tuple(logs.values()), tuple(warnings))


def _unique_names(suites: list[SuiteResults]) -> Iterator[SuiteResults]:
    names = [suite.name for suite in suites]
    for suite in suites:
        twice = names.count(suite.name) > 1
        yield replace(suite, name=f"{suite.path.resolve().parent.name}/{suite.name}") if twice else suite


def _suite_folders(path: Path) -> list[Path]:
    if _is_suite_folder(path):
        return [path]
    if not path.is_dir():
        return []
    return sorted(child for child in path.iterdir() if _is_suite_folder(child))


def _is_suite_folder(path: Path) -> bool:
    return (path / "plan.json").is_file() or any((path / "trials").glob("*.jsonl"))


def _nothing(path: Path) -> str:
    expected = "expected a folder written by `optbench run`"
    if not path.exists():
        hint = (
            f"; '{path.parent}' has results" if path.parent.is_dir() and _suite_folders(path.parent) else ""
        )
        return f"no such folder: {expected}{hint}"
    if path.is_file():
        return f"a file: {expected}"
    for near in (path.parent, path.parent.parent):
        if _is_suite_folder(near):
            return f"no results here: {expected}; did you mean '{near}'?"
    below = [child for child in sorted(path.iterdir()) if child.is_dir() and _suite_folders(child)]
    hint = f"; did you mean '{below[0]}'?" if below else ""
    return f"no results here: {expected}{hint}"


@contextmanager
def _without_collector() -> Iterator[None]:
    """A million new objects, none in a cycle: the collector would go over them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
