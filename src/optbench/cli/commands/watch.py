"""Follow a run in another process or on another machine, by reading its files.

Shows the same display as the run, and prints the table when the run has finished. Writes nothing; Ctrl-C does not
affect the run. Waits for a run that has not started, and for a killed run to be resumed. In a folder with several
results, the suite that is running is followed.

Examples:
  optbench watch
  optbench watch results/digits
  optbench watch /mnt/cluster/results --every 10 | tee log.txt

Exit codes:
  0    the run has finished
  2    invalid input, or results of a newer optbench
  130  stopped with Ctrl-C; the run continues
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from optbench.cli.live.display import glyphs_here, is_live, machine
from optbench.cli.live.follow import Follower, Look, new_events
from optbench.cli.live.glyphs import Glyphs
from optbench.cli.live.lines import Lines
from optbench.cli.live.plan import count
from optbench.cli.live.screen import Screen
from optbench.cli.live.times import duration
from optbench.cli.live.view import Line, Surroundings, frame
from optbench.cli.options import argument, option
from optbench.cli.printing import print_tables
from optbench.cli.signals import say
from optbench.report.text import clean
from optbench.store import read

PLACE = "Compare optimizers", 6


def watch(
    path: Annotated[
        Path,
        argument("[RESULTS]", "A results folder, or a folder that contains results. Default: ./results."),
    ] = Path("results"),
    every: Annotated[float, option("SECONDS", "Seconds between two reads of the files.", min=0.1)] = 1.0,
) -> None:
    raise typer.Exit(follow_run(path, every))


_COST = 20  # looking takes at most one part of so many of the time


def follow_run(path: Path, every: float) -> int:
    """Follow a run until it ends, then print its table. Return the exit code. Raises `OptbenchError` for results of a newer optbench."""
    watcher = _Watcher(Follower(path), every, path)
    try:
        if is_live():
            with Screen(watcher.draw):
                last = watcher.until_over()
        else:
            watcher.lines = True
            last = watcher.until_over()
    except KeyboardInterrupt:
        say("Stopped watching. The run is not affected")
        return 130
    _close(last)
    return 0


@dataclass
class _Watcher:
    follower: Follower
    every: float
    path: Path
    lines: bool = False
    glyphs: Glyphs = field(default_factory=glyphs_here)
    now: Look | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _teller: Lines | None = None
    _said: str = ""

    def until_over(self) -> Look:
        """What there is at the end: of a run that was seen, or whose trials are all done."""
        was_running = False
        while True:
            began = time.monotonic()
            look = self.follower.look()
            if self.lines:
                self._tell(self.now, look)
            with self._lock:
                self.now = look
            if look.held is None and look.trials and (was_running or look.is_complete):
                return look
            if look.held is not None and not look.is_running and look.is_complete:
                return look  # killed after its last trial
            was_running = (was_running or look.is_running) and (look.held is None or look.is_running)
            time.sleep(max(self.every, _COST * (time.monotonic() - began)))

    def draw(self, width: int, height: int) -> list[Line]:
        with self._lock:
            look = self.now
            footer = "Ctrl-C stops watching; the run continues"
            if look is None or look.board is None:
                lines = [f"Watching {self.path}", _state(look, self.path), footer]
                return [[(self.glyphs.fit(clean(line), width), "")] for line in lines][:height]
            around = Surroundings(clean(_heading(look)), clean(_state(look, self.path)), footer)
            return frame(look.board, around, width, height, self.glyphs)

    def _tell(self, before: Look | None, now: Look) -> None:
        """Plain lines: how it stands, then what is new."""
        if now.board is not None:
            if self._teller is None or before is None or before.folder != now.folder or before.board is None:
                self._teller = Lines(now.board, sys.stderr)
                say(clean(f"{_heading(now)}; {now.board.done} done"))
            else:
                self._teller.board = now.board
                untold = {
                    key: text
                    for key, (_, text) in now.board.troubles.items()
                    if key not in before.board.troubles
                }
                for trial, event in new_events(before, now):
                    own = sorted(key for key in untold if key[0] == trial.id)
                    self._teller.tell(trial, event, [untold.pop(key) for key in own])
        state = _state(now, self.path, briefly=True)
        if state != self._said:
            self._said = state
            say(clean(f"{time.strftime('%H:%M:%S')} {state}"))


def _heading(look: Look) -> str:
    return f"{look.name}: {count(look.trials)}{machine(look.environment)}"


def _state(look: Look | None, path: Path, *, briefly: bool = False) -> str:
    """Who is running it, or what is waited for."""
    if look is None or (look.board is None and look.held is None):
        return f"No results in {path} yet: waiting for a run to start"
    if look.is_running:
        quiet = _seconds_since_last_record(look)
        silent = f"; no new records for {duration(quiet)}" if not briefly and quiet > 120 else ""
        return f"Run by {look.held}{silent}" + ("" if look.board else ": preparing the data")
    if look.is_complete:
        return "All trials are complete"
    again = f", for example with: {look.command}" if look.command else ""
    if look.held is not None:
        return f"{str(look.held).capitalize()} ended unexpectedly, probably killed: waiting for the run to be resumed{again}"
    return f"Not running: waiting for the run to be resumed{again}"


def _seconds_since_last_record(look: Look) -> float:
    last = max((log.path.stat().st_mtime for log in look.logs.values() if log.path.exists()), default=0.0)
    return time.time() - max(last, look.held.since if look.held else 0.0)


def _close(last: Look) -> None:
    """Print the table on standard output; where the files are, and how to resume, on standard error."""
    if any(log.evaluations or log.is_complete for log in last.logs.values()):
        print_tables(read([last.folder]))
    left = sum(trial.id not in last.logs or not last.logs[trial.id].is_complete for trial in last.trials)
    if left:
        again = f". To resume: {last.command}" if last.command else ""
        say(f"The run ended with {left} unfinished trial{'s' * (left != 1)}{again}")
    say(f"\nResults: {last.folder}{os.sep}")
