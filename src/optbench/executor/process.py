"""One child process and the two lines to it: what it tells, and a lifeline. However it ends, this process finds out and goes on.

The child leads a process group of its own, so that ending it ends also what a plug-in forked. When the lifeline is cut (this process
died, in whatever way) the child ends itself.
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
from typing import Any, Literal

from optbench.errors import OptbenchError, first_line
from optbench.executor.descendants import end_children
from optbench.executor.limits import memory_limits

_PAUSES = (0.1, 0.2, 0.4, 0.8, 0.0)  # seconds after each attempt to start a process
_registry = threading.Lock()
_running: set[int] = set()  # processes that the server has started and that have not ended
STOP_SECONDS = 20.0  # how long a child may take from being asked to stop to its last word
_LOOK_SECONDS = 0.2  # how long a signal may wait for an answer, at most


@dataclass
class StopRequest:
    """Set from a signal handler; the running trial then writes a checkpoint and ends as `interrupted`."""

    signal: int | None = None
    is_shown: bool = False  # a display tells of it, so that nothing else need write on the terminal

    @property
    def asked(self) -> bool:
        return self.signal is not None

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """While the block runs, a display tells a person that a stop was asked for."""
        self.is_shown = True
        try:
            yield
        finally:
            self.is_shown = False


@dataclass(frozen=True)
class Ended:
    """A child that will say no more. `signal` is set if one ended it; `cause` says who did what."""

    cause: Literal["died", "silent", "stopped", "lost"]
    reason: str
    signal: int | None = None


@dataclass
class Child:
    process: BaseProcess
    connection: Connection
    lifeline: Connection
    stop_asked_at: float | None = None

    def answer(self, stop: bool) -> None:
        """What a child waits for after each message."""
        with contextlib.suppress(OSError):
            self.connection.send(stop)

    def ask_to_stop(self) -> None:
        """Once, at any time: also while the child is busy with a long evaluation."""
        if self.stop_asked_at is None:
            self.stop_asked_at = time.monotonic()
            with contextlib.suppress(OSError):
                self.lifeline.send_bytes(b"stop")

    def end(self) -> None:
        """Kill it with all that it started. Does no harm to one that is gone."""
        pid = self.process.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        if self.process.exitcode is None:  # not yet the leader of its group
            self.process.kill()
        self.process.join(10)

    def show_stacks(self) -> None:
        """Ask for the stack of every thread in the child's output: where a silent one hangs."""
        if self.process.pid is not None and hasattr(signal, "SIGUSR2"):
            with contextlib.suppress(OSError):
                os.kill(self.process.pid, signal.SIGUSR2)
                time.sleep(0.5)


@contextlib.contextmanager
def child(target: Callable[..., None], *arguments: Any) -> Iterator[Child]:
    """`target(connection, lifeline, *arguments)` in a process of its own. On the way out it is gone, by force if it must be."""
    context = _context()
    ours, theirs = context.Pipe()
    their_lifeline, our_lifeline = context.Pipe(duplex=False)
    process = _start(context, target, (theirs, their_lifeline, *arguments))
    theirs.close()
    their_lifeline.close()
    started = Child(process, ours, our_lifeline)
    try:
        yield started
        ours.close()
        process.join(5)
    finally:
        with _undisturbed():
            started.end()
            _end_left_behind(process)
            our_lifeline.close()
            ours.close()


def _start(context: Any, target: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
    """Start a process. A server that died is started again, with growing pauses: a killed one may still refuse connections.

    Raises `OptbenchError` if that fails again and again.
    """
    for pause in _PAUSES:
        process: BaseProcess = context.Process(target=target, args=arguments, daemon=True)
        try:
            with _registry:
                if context.get_start_method() == "forkserver":
                    with _undisturbed():  # until the server ignores signals
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
    """Start processes that do not import the running script: they need nothing of it, and a script without
    `if __name__ == "__main__"` would run again in each."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _end_left_behind(process: BaseProcess) -> None:
    """End processes that the trial put into sessions of their own: the server has adopted them."""
    with _registry:
        _running.discard(process.pid or 0)
        server = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
        if server is not None:
            # not `active_children()`, which polls the children that other threads wait for
            others = {child.pid or 0 for child in set(getattr(multiprocessing.process, "_children", ()))}
            end_children(server, keep=_running | others)


def receive(child: Child, stop: StopRequest, patience: float, stop_patience: float = STOP_SECONDS) -> Any:
    """The child's next message, or an `Ended`: it died, said nothing for `patience` seconds, or did not stop when asked to."""
    began = time.monotonic()
    while True:
        ready = wait([child.connection, child.process.sentinel], timeout=_LOOK_SECONDS)
        if child.connection in ready:
            try:
                return child.connection.recv()
            except (EOFError, OSError):
                return _how_it_died(child)
            except Exception as error:  # what a plug-in wrote into our line is no message
                return Ended(
                    "died", f"the trial's process said something unreadable ({type(error).__name__})"
                )
        if ready:
            return _how_it_died(child)
        now = time.monotonic()
        if stop.asked:
            child.ask_to_stop()
            if now - (child.stop_asked_at or now) > stop_patience:
                return Ended(
                    "stopped", f"did not stop within {stop_patience:g} s of being asked to, and was ended"
                )
        if now - began > patience:
            return Ended("silent", f"no sign of life for {patience:g} s: considered hung, and ended")


def _how_it_died(child: Child) -> Ended:
    child.process.join(10)
    code = child.process.exitcode
    if code is None:
        return Ended("died", "the trial's process closed its line, and was ended")
    if code < 0:
        return Ended("died", f"the trial's process was ended by {_signal_name(-code)}", -code)
    if code == 255 and _is_alive(child.process.pid):
        return Ended(
            "lost", "the server that starts the trials' processes was ended, so the trial was ended too"
        )
    return Ended("died", f"the trial's process ended with exit code {code} and said nothing")


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
def _undisturbed() -> Iterator[None]:
    """No Ctrl-C, however often, keeps the child from being ended."""
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
    """Processes that start in milliseconds because torch is loaded once, in a server that has used no device."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["optbench.executor.preload"])
    return context
