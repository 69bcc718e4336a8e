"""Output without a terminal: one line per finished trial or warning, and progress every 30 seconds; or JSON lines."""

from __future__ import annotations

import json
import math
import time
from typing import TextIO

from msgspec import structs

from optbench.cli.live.board import Board, key_of, setting_of
from optbench.cli.live.times import duration
from optbench.events import Evaluated, Event, Finished
from optbench.report.text import clean
from optbench.suite.types import Trial

PROGRESS_SECONDS = 30.0
_MAX_SHARE = 0.02  # of a core, for estimates of the remaining time


class Lines:
    """Prints lines with the time of day and the number of finished trials."""

    def __init__(self, board: Board, stream: TextIO) -> None:
        self.board, self._stream = board, stream
        self._last = time.monotonic()
        self._left: float | None = None
        self._estimate_at = 0.0  # when the remaining time is estimated again

    def apply(self, trial: Trial, event: Event) -> None:
        self.report(trial, event, self.board.apply(trial, event))

    def report(self, trial: Trial, event: Event, warnings: list[str]) -> None:
        """Print an event that the board has already applied."""
        row = self.board.rows[key_of(trial)]
        name = f"{row.name}{setting_of(trial)}"
        if isinstance(event, Finished):
            reason = (
                f" ({event.reason})"
                if event.reason and not any(event.reason in text for text in warnings)
                else ""
            )
            self.print_line(f"{name}: {event.status}{self._result(trial, event)}{reason}")
        elif time.monotonic() - self._last > PROGRESS_SECONDS and row.last is not None:
            latest = "" if row.latest is None else f", {row.metric} {row.latest:.4g}"
            self.print_line(f"{name}: epoch {row.last.step / row.last.steps_per_epoch:.1f}{latest}")
        for text in warnings:
            self.print_line(f"! {text}")

    def print_line(self, text: str) -> None:
        self._last = time.monotonic()
        left = self._seconds_left()
        tail = "" if left is None else f", about {duration(left)} left"
        head = f"{time.strftime('%H:%M:%S')} [{self.board.done}/{self.board.planned}]"
        print(f"{head} {clean(text)}{tail}", file=self._stream, flush=True)

    def _seconds_left(self) -> float | None:
        """Return the estimated remaining time. Of a large study it is computed only now and then."""
        now = time.monotonic()
        if now >= self._estimate_at:
            began = time.thread_time()
            self._left = self.board.seconds_left() if self.board.pending else None
            self._estimate_at = now + (time.thread_time() - began) / _MAX_SHARE
        return self._left

    def _result(self, trial: Trial, event: Finished) -> str:
        """Return the final test metric; for a sweep the last validation metric, as tuning never uses the test split."""
        if "last" not in event.final:
            return ""
        metric = trial.workload.metrics[0]
        split, value = "test", event.final["last"][metric]
        if trial.point:
            latest = self.board.rows[key_of(trial)].latest  # of this trial, whose event was the last one
            split, value = "validation", math.nan if latest is None else latest
        return f", {split} {metric} {value:.4f}, training time {event.train_seconds:.1f} s"


def json_line(trial: Trial, event: Event) -> None:
    """Print the event on standard output; of a swept trial without its metrics on the test split."""
    values = structs.asdict(event)
    if trial.point and isinstance(event, Evaluated):
        values["metrics"] = {split: of for split, of in event.metrics.items() if split != "test"}
    elif trial.point and isinstance(event, Finished):
        values["final"] = {}
    line = {
        "event": event.kind,
        "suite": trial.suite,
        "workload": trial.workload_name,
        "optimizer": trial.label,
        "seed": trial.seed,
        "trial": trial.id,
        **({"point": trial.point} if trial.point else {}),
        **values,
    }
    print(json.dumps(line), flush=True)
