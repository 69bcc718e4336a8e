"""Data of a trial for exports: settings, one point per evaluation, status."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optbench.analysis.rows import TableRow, all_rows
from optbench.events import Evaluated
from optbench.store import Results, TrialLog

#: fields of `Evaluated` that are not exported as series
_NOT_SERIES = ("metrics", "step")


@dataclass(frozen=True)
class Point:
    """One evaluation. `values` by name, as in `optbench records` (metrics as validation/accuracy); may hold NaN and infinities."""

    step: int
    train_seconds: float
    values: dict[str, float]


@dataclass(frozen=True)
class Run:
    """A trial as a run. `name` is that of its file, unique within the suite; `settings` are flat, by dotted path."""

    id: str
    name: str
    suite: str
    workload: str
    optimizer: str
    seed: int
    settings: dict[str, str | int | float | bool]
    points: tuple[Point, ...]
    final: dict[str, float]  # estimand/metric of the test split, and sizes and seconds recorded at the end
    status: str  # how the trial ended, or "unfinished"
    detail: str
    started_at: float  # seconds since the epoch; 0 if unknown

    @property
    def is_successful(self) -> bool:
        return self.status in ("completed", "stopped")

    @property
    def digest(self) -> str:
        """Return a hash of all fields, by which an existing export is recognised."""
        return hashlib.sha256(repr(self).encode("utf-8", "backslashreplace")).hexdigest()[:16]


@dataclass(frozen=True)
class Written:
    """Runs by what became of them in an export."""

    new: int = 0
    same: int = 0
    replaced: int = 0


def runs_of(results: Results) -> list[Run]:
    """Yield each trial that `optbench records` shows, and those that ended before their first evaluation."""
    runs: list[Run] = []
    known: dict[str, int] = {}
    for row in all_rows(results):
        for log in row.logs:
            known[log.id] = known.get(log.id, 0) + 1
            again = f"-{known[log.id]}" if known[log.id] > 1 else ""  # the same trial in two results folders
            runs.append(_run(row, log, log.id + again))
    return runs


def _run(row: TableRow, log: TrialLog, name: str) -> Run:
    started = log.started.environment.get("started_at") if log.started else None
    return Run(
        id=name,
        name=log.path.stem,
        suite=row.suite,
        workload=row.trial.workload_name,
        optimizer=row.trial.label,
        seed=log.trial["seed"],
        settings=dict(_settings(log)),
        points=tuple(_points(log)),
        final=_final(log),
        status=log.finished.status if log.finished else "unfinished",
        detail=log.finished.detail if log.finished else "",
        started_at=_seconds_since_epoch(started),
    )


def _points(log: TrialLog) -> Iterator[Point]:
    names = [name for name in Evaluated.__struct_fields__ if name not in _NOT_SERIES]
    last, is_swept = len(log.evaluations) - 1, bool(log.trial.get("point"))
    for index, event in enumerate(log.evaluations):
        values = {name: getattr(event, name) for name in names}
        for split, metrics in event.metrics.items():
            if split != "test" or not is_swept:
                values |= {f"{split}/{metric}": value for metric, value in metrics.items()}
        if index == last and log.finished is not None and log.finished.step == event.step and not is_swept:
            metrics_at_end = log.finished.final.get("last", {})
            values |= {f"test/{metric}": value for metric, value in metrics_at_end.items()}
        yield Point(event.step, event.train_seconds, {k: v for k, v in values.items() if v is not None})


def _final(log: TrialLog) -> dict[str, float]:
    end = log.finished
    if end is None:
        return {}
    final = {} if log.trial.get("point") else end.final  # tuning never uses the test split
    found: dict[str, float] = {
        f"{estimand}/{metric}": value for estimand, of in final.items() for metric, value in of.items()
    }
    sizes = ("state_bytes", "step_peak_bytes", "peak_memory_bytes", "train_seconds", "setup_seconds")
    found |= {name: value for name in sizes if (value := getattr(end, name)) is not None}
    return found


def _settings(log: TrialLog) -> Iterator[tuple[str, str | int | float | bool]]:
    yield "trial_id", log.id
    if log.attempt > 1:
        yield "attempt", log.attempt
    yield from _flat("", {key: value for key, value in log.trial.items() if key != "sources"})
    if log.started is not None:
        yield "precision_as_run", log.started.precision
        yield "parameters", log.started.parameters
        yield from _flat("environment", log.started.environment)


def _flat(path: str, value: Any) -> Iterator[tuple[str, str | int | float | bool]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for index, item in enumerate(value):
            yield from _flat(f"{path}.{index}", item)
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value))
    elif isinstance(value, (str, int, float, bool)):
        finite = not isinstance(value, float) or math.isfinite(value)
        yield path, value if finite else str(value)


def _seconds_since_epoch(text: Any) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
