"""Handle Ctrl-C, SIGTERM, SIGHUP and scheduler signals: the first requests a clean stop, the next stops immediately."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

from optbench.cli.streams import discard_messages
from optbench.events import Event
from optbench.executor.api import StopRequest
from optbench.suite.types import Trial

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
_ONE_SECONDS = 0.5  # signals that come together (a closed terminal, a scheduler) are one request
_STOPPING = b"\nstopping: writing a checkpoint (send it again to stop immediately)\n"


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Yield a request that the first signal sets while the block runs; a later signal raises KeyboardInterrupt.

    Signals that are ignored (as nohup ignores SIGHUP) stay ignored.
    """
    stop = StopRequest()
    requested_at = 0.0

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal requested_at
        if stop.is_requested:
            if time.monotonic() - requested_at > _ONE_SECONDS:
                raise KeyboardInterrupt
            return
        stop.signal, requested_at = number, time.monotonic()
        if stop.is_shown:
            return
        try:
            os.write(2, _STOPPING)
        except OSError:
            discard_messages()

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {
        number: signal.signal(number, handle)
        for number in numbers
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignoring_display_errors(listen: Callable[[Trial, Event], None]) -> Callable[[Trial, Event], None]:
    """Return a listener that ignores display errors, so that a closed terminal does not end the run."""

    def quietly(trial: Trial, event: Event) -> None:
        try:
            listen(trial, event)
        except OSError:
            discard_messages()

    return quietly


def say(line: str) -> None:
    """Print a message for a person on standard error."""
    print(line, file=sys.stderr, flush=True)
