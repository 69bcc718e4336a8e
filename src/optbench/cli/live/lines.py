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

SIGN_OF_LIFE_SECONDS = 30.0


class Lines:
    """Each line has the time of day and how far the run is."""

    def __init__(self, board: Board, stream: TextIO) -> None:
        self.board, self._stream = board, stream
        self._last = time.monotonic()

    def take(self, trial: Trial, event: Event) -> None:
        self.tell(trial, event, self.board.take(trial, event))

    def tell(self, trial: Trial, event: Event, troubles: list[str]) -> None:
        """The same for an event that the board has taken already."""
        row = self.board.rows[key_of(trial)]
        name = f"{row.name}{setting_of(trial)}"
        if isinstance(event, Finished):
            reason = (
                f" ({event.reason})"
                if event.reason and not any(event.reason in text for text in troubles)
                else ""
            )
            self.say(f"{name}: {event.status}{self._result(trial, event)}{reason}")
        elif time.monotonic() - self._last > SIGN_OF_LIFE_SECONDS and row.last is not None:
            latest = "" if row.latest is None else f", {row.metric} {row.latest:.4g}"
            self.say(f"{name}: epoch {row.last.step / row.last.steps_per_epoch:.1f}{latest}")
        for text in troubles:
            self.say(f"! {text}")

    def say(self, text: str) -> None:
        self._last = time.monotonic()
        left = self.board.seconds_left() if self.board.pending else None
        tail = "" if left is None else f", about {duration(left)} left"
        head = f"{time.strftime('%H:%M:%S')} [{self.board.done}/{self.board.planned}]"
        print(f"{head} {clean(text)}{tail}", file=self._stream, flush=True)

    def _result(self, trial: Trial, event: Finished) -> str:
        """Return the final test metric; for a sweep the last validation metric, as tuning never uses the test split."""
        if "last" not in event.final:
            return ""
        metric = trial.workload.metrics[0]
        split, value = "test", event.final["last"][metric]
        if trial.point:
            course = self.board.courses.get(trial.id)
            split, value = "validation", course.curve[-1][1] if course and course.curve else math.nan
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
