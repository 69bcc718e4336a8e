"""Show a run as a live table, plain lines or JSON lines, depending on the terminal and options."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optbench.catalog.metric_facts import metric_facts
from optbench.cli.live.board import Board
from optbench.cli.live.glyphs import Glyphs, glyphs_for
from optbench.cli.live.lines import Lines, json_line
from optbench.cli.live.meter import Meter
from optbench.cli.live.plan import count, forecast, stored_logs
from optbench.cli.live.screen import Screen
from optbench.cli.live.view import FrameText, Line, frame
from optbench.cli.signals import say
from optbench.events import Event
from optbench.report.text import clean
from optbench.suite.types import Trial

if TYPE_CHECKING:
    from optbench.runner.observer import Listener, Round

_FOOTER = "Ctrl-C writes a checkpoint and stops; the same command resumes"
_STOPPING = "Stopping: writing a checkpoint (press Ctrl-C again to stop immediately)"


@contextmanager
def display(round: Round, *, as_json: bool) -> Iterator[Listener]:
    """Return a listener that shows events on standard error, or as JSON on standard output."""
    if as_json:
        yield json_line
        return
    wanted, pending, stop = round.job.wanted, round.pending, round.stop
    logs = stored_logs(round.job.stored)
    heading = f"{round.job.loaded.name}: {count(wanted)}{machine(round.environment)}"
    done = sum(logs[trial.id].has_ended(trial.rung) for trial in wanted if trial.id in logs)
    print_folded(f"{heading}; {done} done; {forecast(logs, wanted, pending)}")
    if not pending:
        yield lambda trial, event: None
        return
    facts = metric_facts(round.job.loaded.suite, round.job.loaded.folder)
    fractions = [name for name, of in facts.items() if of.is_fraction]
    board = Board.of(wanted, pending, round.parallel, fractions=fractions)
    for trial in wanted:
        if trial.id in logs:
            board.replay(trial, logs[trial.id])
    if not is_live():
        yield Lines(board, sys.stderr).apply
        return
    meter, glyphs, lock = Meter(str(round.environment.get("device"))), glyphs_here(), threading.Lock()

    def draw(width: int, height: int) -> list[Line]:
        meter.sample()
        footer = _STOPPING if stop.is_requested else _FOOTER
        with lock:
            return frame(board, FrameText(clean(heading), meter.facts, footer), width, height, glyphs)

    def apply(trial: Trial, event: Event) -> None:
        with lock:
            board.apply(trial, event)

    with Screen(draw), stop.shown():
        yield apply


def is_live() -> bool:
    """Return whether standard error is a terminal that supports cursor movement."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")


def glyphs_here() -> Glyphs:
    return glyphs_for(getattr(sys.stderr, "encoding", None))


def machine(here: Mapping[str, Any]) -> str:
    if not here:
        return ""
    n = here.get("threads")
    threads = f", {n} thread{'s' * (n != 1)}" if here.get("device") == "cpu" and n else ""
    return f" on {here.get('device_name', 'an unknown device')}{threads}"


def print_folded(line: str) -> None:
    """Print a message on standard error, wrapped to the width in a terminal."""
    if sys.stderr.isatty():
        import shutil
        import textwrap

        line = textwrap.fill(clean(line), max(20, shutil.get_terminal_size().columns - 1))
    say(line)
