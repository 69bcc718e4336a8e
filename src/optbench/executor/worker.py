"""The worker process of a trial: it trains, sends each event, and waits for the answer.

The answer is whether to stop. Waiting for it keeps records ahead of checkpoints. A stop request may also arrive at any time through the
lifeline, which ends this process when its parent has ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from optbench.catalog.data_sets import load_data
from optbench.errors import OptbenchError, Problem, describe_error
from optbench.executor.api import (
    CannotStack,
    Ended,
    Events,
    Message,
    Place,
    Refused,
    Rendezvous,
    Settings,
    Slot,
    Unit,
)
from optbench.executor.descendants import adopt_orphans, end_children
from optbench.executor.limits import memory_limits
from optbench.suite.resources import Resources
from optbench.suite.types import Trial

_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGTTIN", "SIGTTOU")


class WorkerEnded(Exception):
    """A training process ended without a result, for the reason in `ended`."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.reason)
        self.ended = ended


def train_alone(unit: Unit, slot: Slot, place: Place, should_stop: Callable[[], bool]) -> Iterator[Events]:
    """Train the unit in this process on the slot's device. Each item must be stored before the next is requested."""
    with startup_errors():
        training = load_training()
        device = training.set_up(unit.settings, slot, place.suite_folder)
    yield from training.train_unit(unit, device, place, should_stop)


def load_training() -> ModuleType:
    """Import torch and the engine, which only workers load."""
    from optbench.executor import training

    return training


def work(
    connection: Connection,
    lifeline: Connection,
    unit: Unit,
    slot: Slot,
    place: Place,
    train: Callable[[Unit, Slot, Place, Callable[[], bool]], Iterator[Events | Rendezvous]] = train_alone,
) -> None:
    """Entry point of the process of a unit: send each event, or list of events of a stack, and read whether to stop.

    The last message says that the unit has finished, that its trials cannot be stacked, or the problems because of which no other unit
    can run either (a full disk).
    """
    stop = start_worker(lifeline, place.output)

    def send(content: Any) -> bool:
        return exchange(connection, Message(unit.name, unit.execution, content))

    last: Refused | CannotStack | Ended = Ended("finished")
    try:
        for events in train(unit, slot, place, stop.is_set):
            if send(events):
                stop.set()
    except WorkerEnded as end:
        last = end.ended
    except Exception as error:
        last = _describe_failure(error, unit)
    send(last)
    flush_and_exit()


def _describe_failure(error: Exception, unit: Unit) -> Refused | CannotStack:
    """Return what the run must do about an error of the engine. Raises the error again if the engine should have recorded it."""
    if isinstance(error, OptbenchError) and not unit.is_stack:
        return Refused(error.problems)
    if not unit.is_stack:
        raise error
    training = load_training()
    if isinstance(error, training.NoSpace):
        return Refused(error.problems)
    return CannotStack(str(error), "smaller" if training.is_out_of_memory(error) else "plain")


def prepare(
    connection: Connection,
    lifeline: Connection,
    trials: Sequence[Trial],
    device: str,
    settings: Settings,
    data_root: Path,
) -> None:
    """Entry point of the process that runs first: load each data set of the trials once, so that downloads and decoding are not timed.

    Sends lines of text, then the environment that the trials will record on each device by its name, or the problems that prevent
    them.
    """
    isolate_process(lifeline)
    os.dup2(2, 1)  # standard output is for results
    logging.getLogger("optbench.data").addHandler(_LogForwarder(connection))
    logging.getLogger("optbench.data").setLevel(logging.INFO)
    problems: list[Problem] = []
    try:
        with startup_errors():
            training = load_training()
            devices = training.select_devices(device)
            training.set_up(settings, Slot("", str(devices[0])), trials[0].folder)
            environments = _suitable(
                {str(one): training.environment(one, trials[0].folder) for one in devices}, settings.resources
            )
        for trial in {(t.workload.data.model_dump_json(), t.folder): t for t in trials}.values():
            where = f"data of workload '{trial.workload_name}'"
            try:
                splits = load_data(trial.workload.data, data_root, trial.folder)
                for note in splits.notes:
                    exchange(connection, f"note: {where}: {note}")
            except OSError as error:
                problems.append(Problem(f"cannot be read: {error}", where=where))
            except OptbenchError as error:
                problems += [replace(problem, where=problem.where or where) for problem in error.problems]
        answer: Any = tuple(problems) or environments
    except OptbenchError as error:
        answer = error.problems
    exchange(connection, answer)
    flush_and_exit()


def _suitable(environments: Mapping[str, dict[str, Any]], resources: Resources) -> dict[str, dict[str, Any]]:
    """Return the environments that have what the suite requires, by device. Raises `OptbenchError` if none of them has."""
    suitable = {name: of for name, of in environments.items() if resources.are_met_by(of)}
    if not suitable:
        found = ", ".join(dict.fromkeys(str(of.get("device_name")) for of in environments.values()))
        message = f"the suite requires {resources}; found {found}: use another machine, or change `resources` in the suite"
        raise OptbenchError(Problem(message, where="resources"))
    return suitable


@contextlib.contextmanager
def startup_errors() -> Iterator[None]:
    """Raise `OptbenchError` if PyTorch cannot be loaded or used: no other trial can run either."""
    try:
        yield
    except OptbenchError:
        raise
    except Exception as error:
        reason = describe_error(error)
        raise OptbenchError(f"a worker process cannot start: {reason}{memory_limits()}") from error


class _LogForwarder(logging.Handler):
    """Sends log messages of the data sets about downloads and decoding to the parent."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        exchange(self._connection, record.getMessage())


def exchange(connection: Connection, message: Any) -> bool:
    """Send a message and return the answer: whether to stop. Ends this process if the parent has ended."""
    try:
        connection.send(message)
        return bool(connection.recv())
    except (EOFError, OSError):
        _end_all()  # the parent has ended; the records sent before are on disk


def start_worker(lifeline: Connection, output: Path) -> threading.Event:
    """Isolate this process, send what it prints to a file, and print stacks there on a crash or SIGUSR2.

    Return the event that is set when a stop is requested.
    """
    stop = isolate_process(lifeline)
    redirect_output(output)
    faulthandler.enable()
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR2, all_threads=True)
    return stop


def isolate_process(lifeline: Connection) -> threading.Event:
    """Move this process to its own process group, ignore signals, and return an event that is set by a stop request.

    Only the parent handles signals. When it ends, this process and all processes that it started are killed.

    The process does not get its own session: Linux divides processors among sessions before threads (autogroups), and could leave all
    threads of a trial on one core while another program uses the other, which is 90 times as slow if the threads wait for each other.
    """
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # loaders of torch have child processes
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    ignore_signals()
    adopt_orphans()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # if memory runs out, the kernel kills this process and not the run
    stop = threading.Event()

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            while lifeline.recv_bytes():
                stop.set()
        _end_all()

    threading.Thread(target=watch, daemon=True, name="lifeline").start()
    return stop


def ignore_signals() -> None:
    """Ignore signals that ask a program to stop: the run receives and handles them."""
    numbers = {getattr(signal, name) for name in _IGNORED if hasattr(signal, name)}
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # they were blocked until now


def _end_all() -> NoReturn:
    """Kill this process and all processes that it started."""
    end_children(os.getpid())
    if os.getpgid(0) == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def redirect_output(path: Path) -> None:
    """Redirect the output of plug-ins to a file, not to the live display; to the null device if the file cannot be created."""
    try:
        path.parent.mkdir(exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        file = os.open(
            path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644
        )  # does not follow links or wait for a FIFO
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def flush_and_exit() -> None:
    """Flush the output and exit without the interpreter's slow teardown of torch."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a plug-in may have closed it
            stream.flush()
    os._exit(0)
