"""What a person sees while trials run: a live table in a terminal, plain lines when piped, JSON lines for programs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from optbench.events import Evaluated, Event, Finished, Progressed, Resumed, Started
from optbench.store import SuiteFolder
from optbench.suite.load import Loaded
from optbench.suite.types import Trial

Listener = Callable[[Trial, Event], None]


def show_plan(loaded: Loaded, wanted: Sequence[Trial], folder: SuiteFolder) -> None:
    """What `run` would do: rows, trials, done so far, time as far as it is known."""
    done = {
        trial.id
        for trial in wanted
        if folder.trial_path(trial).exists() and _seconds_of(folder, trial) is not None
    }
    pending = [trial for trial in wanted if trial.id not in done]
    print(
        f"{loaded.name}: {_count(wanted)}; {len(done)} done, {len(pending)} to run; {_forecast(folder, wanted, pending)}"
    )
    rows: dict[_Key, list[Trial]] = {}
    for trial in wanted:
        rows.setdefault(_key(trial), []).append(trial)
    for (workload, label, budget, swept), trials in rows.items():
        first = trials[0]
        if swept:
            points = len({trial.config_id for trial in trials})
            done_of = sum(trial.id in done for trial in trials)
            print(
                f"  {workload} | {label}: sweep of {', '.join(first.point)}, {points} points, {budget}; {done_of} of {len(trials)} done"
            )
            continue
        uses = " + ".join(rule.use for rule in first.entry.rules)
        schedule = first.entry.schedule.name if first.entry.schedule else "constant"
        finished = sum(trial.id in done for trial in trials)
        facts = f"{uses}, {schedule}, {budget}, batch {first.batch_size}"
        print(f"  {workload} | {label}: {facts}; {finished} of {len(trials)} seeds done")


#: a row of the display: workload, label, budget, and whether it is a sweep
_Key = tuple[str, str, str, bool]


def _key(trial: Trial) -> _Key:
    return trial.workload_name, trial.label, str(trial.workload.budget), bool(trial.point)


def _at(trial: Trial) -> str:
    return "".join(f" {name}={value:g}" for name, value in trial.point.items())


def _count(trials: Sequence[Trial]) -> str:
    swept = sum(bool(trial.point) for trial in trials)
    if 0 < swept < len(trials):
        timed = [trial for trial in trials if not trial.point]
        return f"{_count(timed)} and {swept} trial{'s' * (swept != 1)} of a sweep"
    cells = [len({getattr(trial, name) for trial in trials}) for name in ("workload_name", "label", "seed")]
    words = [
        f"{n} {word}{'s' * (n != 1)}"
        for n, word in zip(cells, ("workload", "optimizer", "seed"), strict=True)
    ]
    horizons = len(
        {str(trial.workload.budget) for trial in trials if trial.workload_name == trials[0].workload_name}
    )
    if horizons > 1:
        words.insert(2, f"{horizons} horizons")
    shown = words[1:] if cells[0] == 1 else words
    return f"{len(trials)} trial{'s' * (len(trials) != 1)} ({' x '.join(shown)})"


def _seconds_of(folder: SuiteFolder, trial: Trial) -> float | None:
    """Wall time that a complete trial took in all; None if it is not complete."""
    from optbench.errors import OptbenchError
    from optbench.store.read import read_log

    try:
        log = read_log(folder.trial_path(trial))
    except OptbenchError:
        return None
    end = log.finished
    if not log.is_complete or end is None:
        return None
    return end.train_seconds + end.evaluation_seconds + end.setup_seconds


def _forecast(folder: SuiteFolder, wanted: Sequence[Trial], pending: Sequence[Trial]) -> str:
    """Time for the pending trials from those that are complete: of the same row if there are any, else of all."""
    if not pending:
        return "nothing to do"
    known: dict[str, list[float]] = {}
    for trial in wanted:
        if folder.trial_path(trial).exists() and (seconds := _seconds_of(folder, trial)) is not None:
            known.setdefault(trial.config_id, []).append(seconds)
    return (
        f"about {_duration(seconds)}"
        if (seconds := _expected(known, pending))
        else "the time it takes is known once a trial has finished"
    )


def _expected(known: dict[str, list[float]], pending: Sequence[Trial]) -> float | None:
    every = [seconds for row in known.values() for seconds in row]
    if not every:
        return None
    rows = [known.get(trial.config_id) or every for trial in pending]
    return sum(sum(row) / len(row) for row in rows)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


@dataclass
class _Row:
    """One optimizer of one workload, as the display knows it."""

    name: str
    planned: int = 0
    done: int = 0
    reached: int = 0
    has_target: bool = False
    epoch: float = 0.0
    epochs: float | None = None
    latest: float | None = None
    best: float | None = None
    pace: float | None = None  # samples a training second
    status: str = "waiting"
    hit: bool = False


@dataclass
class Board:
    """Everything a display shows, brought up to date by events."""

    folder: SuiteFolder
    planned: int
    done: int
    rows: dict[_Key, _Row]
    durations: dict[str, list[float]] = field(default_factory=dict)
    pending: list[Trial] = field(default_factory=list)
    fraction: float = 0.0  # of the current trial
    steps: int | None = None
    steps_per_epoch: int = 1
    train: int = 0  # samples in the training split
    since: float = field(default_factory=time.monotonic)

    def take(self, trial: Trial, event: Event) -> None:
        row = self.rows[_key(trial)]
        if isinstance(event, (Started, Resumed)):
            row.status, row.hit = "running", False
            begun = event if isinstance(event, Started) else self._first_start(trial)
            if begun is not None:
                self.steps, self.steps_per_epoch = begun.steps, begun.steps_per_epoch
                self.train = begun.splits.get("train", 0)
        elif isinstance(event, Progressed):
            self._advance(trial, row, event.step, event.train_seconds)
        elif isinstance(event, Evaluated):
            self._advance(trial, row, event.step, event.train_seconds)
            self._evaluated(trial, row, event)
        else:
            self._finished(trial, row, event)

    def _first_start(self, trial: Trial) -> Started | None:
        """What a trial that goes on told when it began."""
        from optbench.store.read import read_log

        return read_log(self.folder.trial_path(trial)).started

    def _advance(self, trial: Trial, row: _Row, step: int, seconds: float) -> None:
        row.epoch = step / self.steps_per_epoch
        row.pace = step * trial.samples_a_step(self.train) / seconds if seconds > 0 else None
        budget = trial.workload.budget
        row.epochs = self.steps / self.steps_per_epoch if self.steps else None
        self.fraction = step / self.steps if self.steps else min(1.0, seconds / budget.value)

    def _evaluated(self, trial: Trial, row: _Row, event: Evaluated) -> None:
        metric = trial.workload.metrics[0]
        row.latest = event.metrics["validation"][metric]
        if event.exploded_steps:
            row.status = f"running; gradients exploded at {event.exploded_steps} steps"
        better = max if metric != "loss" else min
        row.best = row.latest if row.best is None else better(row.best, row.latest)
        targets = trial.workload.target
        if targets and not row.hit and all(t.holds(event.metrics[t.split][t.metric]) for t in targets):
            row.hit = True
            row.reached += 1

    def _finished(self, trial: Trial, row: _Row, event: Finished) -> None:
        self.durations.setdefault(trial.config_id, []).append(time.monotonic() - self.since)
        self.since = time.monotonic()
        self.pending = [other for other in self.pending if other.id != trial.id]
        self.fraction = 0.0
        if event.status != "interrupted":
            row.done += 1
            self.done += 1
        row.status = event.status if row.done == row.planned or event.status != "completed" else "waiting"

    @property
    def seconds_left(self) -> float | None:
        left = _expected(self.durations, self.pending)
        if left is None or not self.pending:
            return left
        share = left / len(self.pending)
        return max(0.0, left - share * self.fraction)


@contextmanager
def display(
    loaded: Loaded,
    wanted: Sequence[Trial],
    pending: Sequence[Trial],
    here: dict[str, Any],
    folder: SuiteFolder,
    as_json: bool,
) -> Iterator[Listener]:
    """A listener for the executor that shows what it hears, on standard error (JSON: on standard output)."""
    board = _board(folder, wanted, pending)
    if as_json:
        yield _json_listener
        return
    console = Console(stderr=True, highlight=False)
    console.print(
        f"{loaded.name}: {_count(wanted)}{_machine(here)}; {board.done} done; {_forecast(folder, wanted, pending)}",
        soft_wrap=True,
        markup=False,
    )
    if not pending:
        yield lambda trial, event: None
    elif console.is_terminal:
        with Live(_View(board), console=console, refresh_per_second=4, transient=True):
            yield board.take
    else:
        yield _Lines(board, console).take


def _machine(here: dict[str, Any]) -> str:
    if not here:
        return ""
    threads = f", {here['threads']} threads" if here["device"] == "cpu" else ""
    return f" on {here['device_name']}{threads}"


def _board(folder: SuiteFolder, wanted: Sequence[Trial], pending: Sequence[Trial]) -> Board:
    waiting = {trial.id for trial in pending}
    several = len({trial.workload_name for trial in wanted}) > 1
    lengths = {(trial.workload_name, str(trial.workload.budget)) for trial in wanted if not trial.point}
    budgets = Counter(workload for workload, _ in lengths)
    rows: dict[_Key, _Row] = {}
    for trial in wanted:
        name = f"{trial.workload_name} | {trial.label}" if several else trial.label
        if trial.point:
            name += " (sweep)"
        elif budgets[trial.workload_name] > 1:
            name += f" ({trial.workload.budget})"
        row = rows.setdefault(
            _key(trial), _Row(name, has_target=bool(trial.workload.target) and not trial.point)
        )
        row.planned += 1
        row.done += trial.id not in waiting
    for row in rows.values():
        if row.done == row.planned:
            row.status = "done before"
    return Board(folder, len(wanted), len(wanted) - len(pending), rows, pending=list(pending))


def _json_listener(trial: Trial, event: Event) -> None:
    line = {
        "event": event.kind,
        "suite": trial.suite,
        "workload": trial.workload_name,
        "optimizer": trial.label,
        "seed": trial.seed,
        "trial": trial.id,
        **({"point": trial.point} if trial.point else {}),
        **asdict(event),
    }
    print(json.dumps(line), flush=True)


class _Lines:
    """One plain line a finished trial, and a sign of life every half minute."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board, self._console = board, console
        self._last = time.monotonic()

    def take(self, trial: Trial, event: Event) -> None:
        self._board.take(trial, event)
        row = self._board.rows[_key(trial)]
        if isinstance(event, Finished):
            self._say(f"{row.name}{_at(trial)} seed {trial.seed}: {event.status}{_result(trial, event)}")
        elif time.monotonic() - self._last > 30:
            latest = "" if row.latest is None else f", {trial.workload.metrics[0]} {row.latest:.4g}"
            self._say(f"{row.name} seed {trial.seed}: epoch {row.epoch:.1f}{latest}")

    def _say(self, text: str) -> None:
        self._last = time.monotonic()
        left = self._board.seconds_left
        tail = "" if left is None else f", about {_duration(left)} left"
        clock = time.strftime("%H:%M:%S")
        self._console.print(
            f"{clock} [{self._board.done}/{self._board.planned}] {text}{tail}", markup=False, soft_wrap=True
        )


def _result(trial: Trial, event: Finished) -> str:
    if "last" in event.final:
        metric = trial.workload.metrics[0]
        return f", test {metric} {event.final['last'][metric]:.4f}, {event.train_seconds:.1f} s of training"
    first = event.detail.strip().splitlines()
    return f" ({first[-1]})" if first else ""


class _View:
    """The live table; calm at 80 columns."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __rich__(self) -> Group:
        board = self._board
        left = board.seconds_left
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(1, board.planned), completed=board.done + board.fraction, width=30),
            Text(f"{board.done}/{board.planned} trials"),
            Text("" if left is None else f"about {_duration(left)} left"),
        )
        return Group(bar, self._table())

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 1), header_style="dim")
        table.add_column("optimizer", max_width=28, overflow="ellipsis", no_wrap=True)
        for name in ("trials", "epoch", "latest", "best", "reached", "samples/s"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for row in self._board.rows.values():
            running = row.status == "running"
            epoch = f"{row.epoch:.1f}" + (f"/{row.epochs:g}" if row.epochs else "") if row.pace else ""
            table.add_row(
                Text(row.name),
                f"{row.done}/{row.planned}",
                epoch,
                _number(row.latest),
                _number(row.best),
                str(row.reached) if row.has_target else "",
                f"{row.pace:,.0f}" if row.pace else "",
                row.status,
                style="bold" if running else "",
            )
        return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
