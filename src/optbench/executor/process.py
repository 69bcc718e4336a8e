"""A child process with two pipes: one for messages, and a lifeline. The parent detects each way in which the child can end.

The child leads its own process group, so that killing the group also kills processes that a plug-in forked. When the lifeline closes
(the parent has ended, even if it was killed), the child exits.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from optbench.errors import OptbenchError, first_line
from optbench.executor.api import Ended, StopRequest
from optbench.executor.descendants import children, end_children
from optbench.executor.limits import memory_limits

_PAUSES = (0.1, 0.2, 0.4, 0.8, 0.0)  # seconds after each attempt to start a process
_registry = threading.Lock()
_running: set[int] = set()  # ids of processes that the server started and that have not ended
STOP_SECONDS = 20.0  # time limit for a child to end after a stop request
POLL_SECONDS = 0.2  # maximum delay before a signal takes effect


@dataclass
class Child:
    """A running child process and the parent's ends of its pipes."""

    process: BaseProcess
    connection: Connection
    lifeline: Connection
    stop_asked_at: float | None = None

    def answer(self, stop: bool) -> None:
        """Answer a message: whether to stop. The child waits for it."""
        with contextlib.suppress(OSError):
            self.connection.send(stop)

    def ask_to_stop(self) -> None:
        """Send a stop request through the lifeline, once. The child receives it at any time, also during a long evaluation."""
        if self.stop_asked_at is None:
            self.stop_asked_at = time.monotonic()
            with contextlib.suppress(OSError):
                self.lifeline.send_bytes(b"stop")

    def end(self) -> None:
        """Kill the child and its process group. No effect if it has ended."""
        pid = self.process.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        if self.process.exitcode is None:  # not yet the leader of its group
            self.process.kill()
        self.process.join(10)

    def show_stacks(self) -> None:
        """Make the child print the stack of each thread to its output, to show where it hangs."""
        if self.process.pid is not None and hasattr(signal, "SIGUSR2"):
            for pid in [*children(self.process.pid), self.process.pid]:  # together, their lines would mix
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGUSR2)
                time.sleep(0.25)


@contextlib.contextmanager
def child(target: Callable[..., None], *arguments: Any) -> Iterator[Child]:
    """Run `target(connection, lifeline, *arguments)` in a new process. At the end of the block it has ended, or is killed."""
    context = _context()
    connection, child_connection = context.Pipe()
    child_lifeline, lifeline = context.Pipe(duplex=False)
    process = _start(context, target, (child_connection, child_lifeline, *arguments))
    child_connection.close()
    child_lifeline.close()
    started = Child(process, connection, lifeline)
    try:
        yield started
        connection.close()
        process.join(5)
    finally:
        with _signals_blocked():
            started.end()
            _end_orphans(process)
            lifeline.close()
            connection.close()


def _start(context: Any, target: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
    """Start a process. A server that died is restarted, with increasing pauses: a killed one may still refuse connections.

    Raises `OptbenchError` if all attempts fail.
    """
    for pause in _PAUSES:
        process: BaseProcess = context.Process(target=target, args=arguments, daemon=True)
        try:
            with _registry:
                if context.get_start_method() == "forkserver":
                    with _signals_blocked():  # until the server ignores them itself
                        forkserver.ensure_running()
                with _without_main_script():
                    process.start()
                _running.add(process.pid or 0)
            return process
        except (EOFError, OSError) as error:
            failure = error
        time.sleep(pause)
    reason = first_line(failure) or "the server of worker processes ended while it was starting"
    raise OptbenchError(f"a worker process cannot start: {reason}{memory_limits()}") from failure


@contextlib.contextmanager
def _without_main_script() -> Iterator[None]:
    """Keep new processes from importing the running script, which would run again in each if it has no `if __name__ == "__main__"`."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _end_orphans(process: BaseProcess) -> None:
    """Kill processes that the trial moved to other sessions; the server has adopted them."""
    with _registry:
        _running.discard(process.pid or 0)
        server = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
        if server is not None:
            # not `active_children()`, which polls the children that other threads wait for
            others = {child.pid or 0 for child in set(getattr(multiprocessing.process, "_children", ()))}
            end_children(server, keep=_running | others)


def receive(child: Child, stop: StopRequest, patience: float, stop_patience: float = STOP_SECONDS) -> Any:
    """Return the child's next message, or `Ended` if it has ended, sent nothing for `patience` seconds, or not stopped within
    `stop_patience` seconds of a stop request."""
    began = time.monotonic()
    while True:
        if wait([child.connection, child.process.sentinel], timeout=POLL_SECONDS):
            return read_message(child)
        now = time.monotonic()
        if stop.is_requested:
            child.ask_to_stop()
            if now - (child.stop_asked_at or now) > stop_patience:
                return did_not_stop(stop_patience)
        if now - began > patience:
            return was_silent(patience)


def read_message(child: Child) -> Any:
    """Return the next message of a child whose connection or sentinel is ready, or `Ended`."""
    if not child.connection.poll():
        return _describe_end(child)
    try:
        return child.connection.recv()
    except (EOFError, OSError):
        return _describe_end(child)
    except Exception as error:  # a plug-in may have written to the pipe
        return Ended("died", f"the trial's process sent an invalid message ({type(error).__name__})")


def did_not_stop(seconds: float) -> Ended:
    return Ended("stopped", f"killed: did not stop within {seconds:g} s of the stop request")


def was_silent(seconds: float) -> Ended:
    return Ended("silent", f"killed: no progress reported for {seconds:g} s, considered hung")


def _describe_end(child: Child) -> Ended:
    child.process.join(10)
    code = child.process.exitcode
    if code is None:
        return Ended("died", "killed: the trial's process closed its connection")
    if code < 0:
        return Ended("died", f"the trial's process was killed by {_signal_name(-code)}", -code)
    if code == 255 and _is_alive(child.process.pid):
        return Ended("lost", "the trial was killed because the server that starts its process was killed")
    return Ended("died", f"the trial's process ended with exit code {code} and without a result")


def _is_alive(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except OSError:
        return False
    return True


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals that stop the run, so that repeated Ctrl-C does not keep the child alive."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context() -> Any:
    """Return the context of a fork server that has loaded torch and used no device, so that processes start in milliseconds."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["optbench.executor.preload"])
    return context
