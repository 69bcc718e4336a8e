"""Draw lines up to four times per second on the terminal's alternate screen. The previous content is restored at the end.

The alternate screen is used because it has no scrollback, so resizing the window leaves no broken lines.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.style import Style

from optbench.cli.live.view import Line
from optbench.cli.streams import discard_messages

SECONDS = 0.25
_MAX_SHARE = 0.04  # maximum share of a core: large tables are drawn less often
_STYLES = {name: Style.parse(name) for name in ("bold", "dim", "green", "red", "yellow")} | {"": Style()}


class Screen:
    """Context manager that draws the lines of `draw(width, height)` in a thread."""

    def __init__(self, draw: Callable[[int, int], list[Line]]) -> None:
        console = Console(stderr=True, highlight=False)
        self._live = Live(
            _Lines(draw),
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._paint, daemon=True, name="display")
        self._before: Any = None

    def __enter__(self) -> Screen:
        with _unless_closed():
            self._live.start()
        if hasattr(signal, "SIGTSTP") and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTSTP, self._suspend)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._before is not None:
            signal.signal(signal.SIGTSTP, self._before)
        with _unless_closed():
            self._live.stop()

    def _paint(self) -> None:
        with _unless_closed():
            while True:
                began = time.thread_time()
                self._live.refresh()
                if self._ended.wait(max(SECONDS, (time.thread_time() - began) / _MAX_SHARE)):
                    return

    def _suspend(self, number: int, _: FrameType | None) -> None:
        """Restore the terminal on Ctrl-Z, and draw the screen again after `fg`."""
        with _unless_closed():
            self._live.stop()
        signal.raise_signal(signal.SIGSTOP)
        with _unless_closed():
            self._live.start()


class _Lines:
    def __init__(self, draw: Callable[[int, int], list[Line]]) -> None:
        self._draw = draw

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = self._draw(console.width, console.height)
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from (Segment(text, _STYLES[style]) for text, style in line)


@contextlib.contextmanager
def _unless_closed() -> Iterator[None]:
    """Ignore errors of a terminal that was closed, and discard further messages."""
    try:
        yield
    except OSError:
        discard_messages()
