"""The functions of the Python API: load a suite, run it, compare optimizers, read results."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Any

from optbench.api.class_source import reference_to
from optbench.api.study import Study
from optbench.catalog.check import examine
from optbench.catalog.data_root import data_root
from optbench.errors import OptbenchError, Problem, nearest
from optbench.events import Event
from optbench.executor.api import StopRequest
from optbench.runner.final_reports import write_reports
from optbench.runner.job import create_job
from optbench.runner.observer import Listener, Round
from optbench.runner.options import DEFAULT_RERUNS, RunOptions
from optbench.runner.suite_run import run_job
from optbench.store import read as read_store
from optbench.suite.find import find
from optbench.suite.load import Loaded
from optbench.suite.types import Suite, Trial, Workload
from optbench.suite.value_formatting import describe
from optbench.suite.yaml_source import from_data

Paths = str | PathLike[str] | Sequence[str | PathLike[str]]


def load_suite(
    suite: str | PathLike[str] | Mapping[str, Any],
    *,
    name: str = "suite",
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    data: str | PathLike[str] | None = None,
) -> Loaded:
    """Load and check a suite, as `optbench check` does.

    `suite` is a path, the name of a shipped suite, or a dict with the keys of a suite file. The suite of a dict is called `name`,
    and relative paths in it start from the working folder. `overrides` are `KEY=VALUE` texts as of `--set`, `seeds` replaces the
    suite's seeds by 0 to N-1, `data` is the data folder (default: $OPTBENCH_DATA, or the user cache folder).

    Raises `OptbenchError` with all problems.
    """
    if isinstance(suite, Mapping):
        path, source = Path(f"{name}.yaml"), from_data(suite, name)
    else:
        path, source = find(str(suite)), None
    loaded, problems = examine(path, tuple(overrides), seeds, data_root(data), source=source)
    if problems or loaded is None:
        raise OptbenchError(*problems)
    return loaded


def run(
    suite: Loaded | str | PathLike[str] | Mapping[str, Any],
    *,
    results: str | PathLike[str] = "results",
    only: Sequence[str] = (),
    device: str = "auto",
    threads: int | None = None,
    data: str | PathLike[str] | None = None,
    fresh: bool = False,
    allow_mixed: bool = False,
    jobs: int | None = None,
    reruns: int | None = None,
    on_event: Callable[[Trial, Event], None] | None = None,
    on_message: Callable[[str], None] | None = None,
) -> Study:
    """Run the trials of a suite, or resume them, and return the results. Arguments are those of `optbench run`.

    `suite` is what `load_suite` returns or accepts. `on_event(trial, event)` is called after each stored event, `on_message(text)`
    with lines about the run as a whole. Each trial runs in its own process. An interrupt (Ctrl-C, or the stop button of a
    notebook) writes a checkpoint and raises `KeyboardInterrupt`; calling `run` again resumes.

    Raises `OptbenchError` for an invalid suite, unusable data, device or results folder.
    """
    loaded = suite if isinstance(suite, Loaded) else load_suite(suite, data=data)
    options = RunOptions(
        only=tuple(only),
        results=Path(results),
        device=device,
        threads=threads,
        data=str(data) if data is not None else None,
        fresh=fresh,
        allow_mixed=allow_mixed,
        jobs=jobs,
        reruns=DEFAULT_RERUNS if reruns is None else reruns,
        command=_call(
            suite, results=str(results), only=tuple(only), device=device, threads=threads, reruns=reruns
        ),
    )
    job = create_job(loaded, options)
    message = on_message or (lambda text: None)
    with _stop_on_interrupt() as stop:
        end = run_job(job, options, stop, _Observer(message, on_event))
    if end.results is not None:
        write_reports(end.results, job.folder, message)
    if stop.is_requested or end.results is None:
        raise KeyboardInterrupt(f"{end.trials_left} trials left; call run again to resume")
    return Study(end.results)


def _call(suite: Loaded | str | PathLike[str] | Mapping[str, Any], **arguments: Any) -> str:
    """Return the text of a call of `run`, without defaults; "" for a suite that is not named, which no text can repeat."""
    if not isinstance(suite, (str, PathLike)):
        return ""
    defaults = signature(run).parameters
    shown = [f"{name}={value!r}" for name, value in arguments.items() if value != defaults[name].default]
    return f"optbench.run({', '.join([repr(str(suite)), *shown])})"


def compare(
    optimizers: Mapping[str, Any],
    workload: Mapping[str, Any],
    *,
    name: str = "compare",
    seeds: int | Sequence[int] = 5,
    suite: Mapping[str, Any] | None = None,
    results: str | PathLike[str] = "results",
    **options: Any,
) -> Study:
    """Compare optimizers on one workload, and return the results.

    `optimizers` maps labels to an optimizer class, a name as in `use:`, or a dict with `use` (a class or a name) and the keys of a
    suite's entry: `{"mine": {"use": MyOpt, "lr": 1e-3}, "Adam": torch.optim.Adam}`. A class that is defined in a notebook or
    script is copied to a file below the results, with the imports and functions that it uses. `workload` has the keys of a
    suite's `workload:`, `suite` its other keys: `suite={"schedule": "cosine", "tuning": {"trials": 20}}`. `options` are those of `run`.

    Raises `OptbenchError` for an invalid suite or option, and for a class whose source cannot be copied.
    """
    for key, value in (("optimizers", optimizers), ("workload", workload), ("suite", suite or {})):
        if not isinstance(value, Mapping):
            example = "{'Adam': torch.optim.Adam}" if key == "optimizers" else "{'batch_size': 64}"
            raise OptbenchError(f"expected a dict, such as {example}; found {describe(value)}", where=key)
    _check_options(options)
    folder = Path(results) / name / "plugins"
    entries = {}
    for label, given in optimizers.items():
        entry = dict(given) if isinstance(given, Mapping) else {"use": given}
        if not isinstance(entry.get("use"), (str, list, type(None))):
            try:
                entry["use"] = reference_to(entry["use"], folder)
            except OptbenchError as error:
                where = f"optimizers.{label}"
                raise OptbenchError(*(replace(each, where=where) for each in error.problems)) from None
        entries[label] = entry
    whole = {
        "workload": dict(workload),
        "seeds": seeds if isinstance(seeds, int) else list(seeds),
        "optimizers": entries,
        **(suite or {}),
    }
    loaded = load_suite(whole, name=name, data=options.get("data"))
    return run(loaded, results=results, **options)


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise `OptbenchError` for options of `compare` that neither it nor `run` has."""
    known = [name for name in signature(run).parameters if name != "suite"]
    problems = []
    for name in options:
        if name in known:
            continue
        if name in Suite.model_fields:
            message = f"no such option: a key of the suite is passed as suite={{'{name}': ...}}"
        elif name in Workload.model_fields:
            message = f"no such option: a key of the workload is passed as workload={{'{name}': ...}}"
        else:
            names = [*known, *(each for each in signature(compare).parameters if each != "options")]
            message = f"no such option: {nearest(name, names)} Keys of the suite are passed as suite={{...}}"
        problems.append(Problem(message, where=name))
    if problems:
        raise OptbenchError(*problems)


def read(results: Paths = "results", *, all_seeds: bool = False) -> Study:
    """Read results: a suite's folder, a folder that contains such folders, or several of them. Needs no torch.

    `all_seeds` includes results of seeds that are stored but not planned, for example from an earlier run of other seeds.
    Raises `OptbenchError` where there are no results.
    """
    paths = [results] if isinstance(results, (str, PathLike)) else list(results)
    return Study(read_store([Path(path) for path in paths], all_seeds=all_seeds))


class _Observer:
    """Passes messages and events to functions."""

    def __init__(
        self, message: Callable[[str], None], on_event: Callable[[Trial, Event], None] | None
    ) -> None:
        self.message = message
        self._on_event = on_event

    @contextmanager
    def round(self, round: Round) -> Iterator[Listener]:
        yield self._on_event or (lambda trial, event: None)


@contextmanager
def _stop_on_interrupt() -> Iterator[StopRequest]:
    """Ask the running trials to write a checkpoint at the first interrupt, and raise at the second. Only the main thread receives
    interrupts.
    """
    stop = StopRequest()

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_requested:
            raise KeyboardInterrupt
        stop.signal = number

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
