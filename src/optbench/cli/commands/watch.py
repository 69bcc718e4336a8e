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
from optbench.cli.live.follow import Follower, Snapshot, new_events
from optbench.cli.live.glyphs import Glyphs
from optbench.cli.live.lines import Lines
from optbench.cli.live.plan import count
from optbench.cli.live.screen import Screen
from optbench.cli.live.times import duration
from optbench.cli.live.view import FrameText, Line, frame
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


_PAUSE = 20  # minimum pause between two reads, as a multiple of the time of a read


def follow_run(path: Path, every: float) -> int:
    """Follow a run until it ends, then print its table. Return the exit code. Raises `OptbenchError` for results of a newer optbench."""
    watcher = _Watcher(Follower(path), every, path)
    try:
        if is_live():
            with Screen(watcher.draw):
                last = watcher.wait_for_end()
        else:
            watcher.lines = True
            last = watcher.wait_for_end()
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
    now: Snapshot | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _printer: Lines | None = None
    _last_state: str = ""

    def wait_for_end(self) -> Snapshot:
        """Return the last snapshot of a run, once it has ended or all trials are complete."""
        was_running = False
        while True:
            began = time.monotonic()
            snapshot = self.follower.snapshot()
            if self.lines:
                self._print_changes(self.now, snapshot)
            with self._lock:
                self.now = snapshot
            if snapshot.held is None and snapshot.trials and (was_running or snapshot.is_complete):
                return snapshot
            if snapshot.held is not None and not snapshot.is_running and snapshot.is_complete:
                return snapshot  # killed after its last trial
            was_running = (was_running or snapshot.is_running) and (
                snapshot.held is None or snapshot.is_running
            )
            time.sleep(max(self.every, _PAUSE * (time.monotonic() - began)))

    def draw(self, width: int, height: int) -> list[Line]:
        with self._lock:
            snapshot = self.now
            footer = "Ctrl-C stops watching; the run continues"
            if snapshot is None or snapshot.board is None:
                lines = [f"Watching {self.path}", _state(snapshot, self.path), footer]
                return [[(self.glyphs.fit(clean(line), width), "")] for line in lines][:height]
            text = FrameText(clean(_heading(snapshot)), clean(_state(snapshot, self.path)), footer)
            return frame(snapshot.board, text, width, height, self.glyphs)

    def _print_changes(self, before: Snapshot | None, now: Snapshot) -> None:
        """Print the state as a line, then what is new."""
        if now.board is not None:
            if self._printer is None or before is None or before.folder != now.folder or before.board is None:
                self._printer = Lines(now.board, sys.stderr)
                say(clean(f"{_heading(now)}; {now.board.done} done"))
            else:
                self._printer.board = now.board
                new_warnings = {
                    key: text
                    for key, (_, text) in now.board.warnings.items()
                    if key not in before.board.warnings
                }
                for trial, event in new_events(before, now):
                    own = sorted(key for key in new_warnings if key[0] == trial.id)
                    self._printer.report(trial, event, [new_warnings.pop(key) for key in own])
        state = _state(now, self.path, briefly=True)
        if state != self._last_state:
            self._last_state = state
            say(clean(f"{time.strftime('%H:%M:%S')} {state}"))


def _heading(snapshot: Snapshot) -> str:
    return f"{snapshot.name}: {count(snapshot.trials)}{machine(snapshot.environment)}"


def _state(snapshot: Snapshot | None, path: Path, *, briefly: bool = False) -> str:
    """Return which process runs the suite, or what the command waits for."""
    if snapshot is None or (snapshot.board is None and snapshot.held is None):
        return f"No results in {path} yet: waiting for a run to start"
    if snapshot.is_running:
        quiet = _seconds_since_last_record(snapshot)
        silent = f"; no new records for {duration(quiet)}" if not briefly and quiet > 120 else ""
        return f"Run by {snapshot.held}{silent}" + ("" if snapshot.board else ": preparing the data")
    if snapshot.is_complete:
        return "All trials are complete"
    again = f", for example with: {snapshot.command}" if snapshot.command else ""
    if snapshot.held is not None:
        return f"{str(snapshot.held).capitalize()} ended unexpectedly, probably killed: waiting for the run to be resumed{again}"
    return f"Not running: waiting for the run to be resumed{again}"


def _seconds_since_last_record(snapshot: Snapshot) -> float:
    last = max((log.path.stat().st_mtime for log in snapshot.logs.values() if log.path.exists()), default=0.0)
    return time.time() - max(last, snapshot.held.since if snapshot.held else 0.0)


def _close(last: Snapshot) -> None:
    """Print the table on standard output, and the results folder and how to resume on standard error."""
    if any(log.evaluations or log.is_complete for log in last.logs.values()):
        print_tables(read([last.folder]))
    left = sum(
        trial.id not in last.logs or not last.logs[trial.id].has_ended(trial.rung) for trial in last.trials
    )
    if left:
        again = f". To resume: {last.command}" if last.command else ""
        say(f"The run ended with {left} unfinished trial{'s' * (left != 1)}{again}")
    say(f"\nResults: {last.folder}{os.sep}")
