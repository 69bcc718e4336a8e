"""Data frames of the measurements: trials, evaluations, and times to target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite, isnan, nan
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from optbench.analysis.gradients import per_step
from optbench.analysis.rows import KEYS, TableRow, all_rows, axis_values, batch_size, sweep_rows, table_rows
from optbench.events import Evaluated
from optbench.store import Results, SuiteResults, TrialLog
from optbench.suite.types import Target

UNITS = ("epochs", "steps", "samples", "seconds", "gradient_evaluations")
_FIELDS = [name for name in Evaluated.__struct_fields__ if name != "metrics"]


def trials_frame(results: Results) -> pd.DataFrame:
    """Return one row per trial, including planned trials that have not run and excluding superseded ones.

    Columns: suite, workload, horizon, optimizer, config_id (the table's row), seed, trial_id, planned (bool);
    status ("not run" without a file, "unfinished" without an end), at_fault, detail, complete (bool: nothing is left
    to run), worst (bool: the outcome counts as the worst); epochs, steps, samples, train_seconds, cpu_seconds,
    evaluation_seconds, setup_seconds (all at the end of training); timings_interrupted (bool), resumed (times);
    attempt (number of the one that counts), attempts (total), disturbed (bool: other load disturbed the timing of all attempts);
    parameters, parameter_bytes, state_bytes, step_peak_bytes, peak_memory_bytes; batch_size, threads, device,
    precision, initial_weights; <estimand>_<metric> of the test split for each estimand (last, best_validation).
    """
    return pd.DataFrame([record for row in table_rows(results) for record in _row_records(row)])


def sweep_trials_frame(results: Results) -> pd.DataFrame:
    """Return one row per swept trial, with the columns of `trials_frame`."""
    return pd.DataFrame([record for row in sweep_rows(results) for record in _row_records(row)])


def evaluations_frame(results: Results) -> pd.DataFrame:
    """Return one row per evaluation, ordered by trial and step; a trial that ended before its first evaluation has a row at step 0.

    Columns: those that name the trial, status and at_fault (how it ended; "unfinished" if it has not), then step, epoch,
    samples, train_seconds, cpu_seconds, evaluation_seconds (cumulative), train_loss, learning_rate, gradient_norm,
    clipped_steps, skipped_steps, <split>_<metric> (of the test split only at the last step, where it is read once, and
    never of swept trials); of sweeps also point_<hyperparameter>, empty in timed trials.
    """
    trials = [
        _TrialColumns.of(row, log)
        for row in all_rows(results)
        for log in row.logs
        if log.evaluations or log.finished
    ]
    if not trials:
        clocks = ["step", "epoch", "samples", "train_seconds"]
        return pd.DataFrame(columns=[*KEYS, "seed", "trial_id", "status", "at_fault", *clocks])
    columns: dict[str, pd.Series[Any]] = {}
    for name in dict.fromkeys(chain.from_iterable(trial.columns() for trial in trials)):
        values = list(chain.from_iterable(trial.column(name) for trial in trials))
        counted = {int, type(None)} <= set(map(type, values))  # numbers that would turn into fractions
        columns[name] = pd.Series(values, dtype=object if counted else None)
    return pd.DataFrame(columns, copy=False)


def passages_frame(results: Results) -> pd.DataFrame:
    """Return one row per complete trial and target, with the time of the first evaluation at which the target held.

    Columns: those that name the trial, target (text), reached (bool) and, for each unit in epochs, steps, samples,
    seconds and gradient_evaluations (empty where not recorded): <unit> (the evaluation at which it held; where it never
    did, the whole budget: the trial is censored there, also if it diverged earlier) and <unit>_low (the evaluation
    before). The passage lies in (low, unit].
    Trials that the infrastructure ended, or that are not complete, are missing, not censored. Seconds are empty
    where the clock was carried over a restart, and where a trial ended too early to extrapolate the time of its budget.
    """
    records = [record for suite in results.suites for record in _passages(suite)]
    columns = [*KEYS, "seed", "trial_id", "target", "reached"]
    columns += [name for unit in UNITS for name in (unit, f"{unit}_low")]
    return pd.DataFrame(records, columns=columns)


def plain_rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return one dict of plain Python values per row: as `to_dict("records")`, but faster for few rows and many columns."""
    columns = []
    for _, column in frame.items():
        values = column.tolist()
        if column.dtype == object:
            values = [value.item() if isinstance(value, np.generic) else value for value in values]
        columns.append(values)
    names = list(frame.columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def counts(log: TrialLog) -> bool:
    """Return whether the trial is evidence about its optimizer: it completed, or the optimizer caused its end (decision 9)."""
    return log.finished is not None and log.is_complete and (log.finished.status != "failed" or is_worst(log))


def is_worst(log: TrialLog) -> bool:
    """Return whether the trial diverged, ran out of memory or raised in the optimizer step: the worst outcome (decision 9)."""
    if log.finished is None or not log.is_complete:
        return False
    status = log.finished.status
    return status in ("diverged", "out_of_memory") or (
        status == "failed" and log.finished.at_fault == "optimizer"
    )


def worst_value(rows: Sequence[TableRow], metric: str) -> float:
    """Return what a trial that diverged counts as: the value that the metric states, else the worst value measured in `rows`."""
    if not rows:
        return nan
    facts = rows[0].facts(metric)
    if facts.worst is not None:
        return float(facts.worst)
    seen = [
        value
        for row in rows
        for log in row.logs
        for values in _every_value(log, metric)
        for value in values
        if isfinite(value)
    ]
    return min(seen, default=nan) if facts.higher_is_better else max(seen, default=nan)


def _every_value(log: TrialLog, metric: str) -> Iterator[Iterable[float]]:
    """Yield the values of a metric on each split, at evaluations and at the end."""
    for split in log.evaluations.metrics():
        yield log.evaluations.metric(split, metric)
    if log.finished is not None:
        yield (of.get(metric, nan) for of in log.finished.final.values())


def names_with_axes(row: TableRow) -> dict[str, Any]:
    """Return what names a row, with the values of its axes by path after the workload."""
    names: dict[str, Any] = row.names
    return {name: names[name] for name in KEYS[:2]} | axis_values(row) | names


def _row_records(row: TableRow) -> list[dict[str, Any]]:
    by_seed = {log.trial["seed"]: log for log in row.logs}
    seeds = [*row.seeds, *(seed for seed in by_seed if seed not in row.seeds)]
    return [
        names_with_axes(row)
        | {"seed": seed, "planned": seed in row.seeds}
        | _trial_record(row, by_seed.get(seed))
        for seed in seeds
    ]


def _trial_record(row: TableRow, log: TrialLog | None) -> dict[str, Any]:
    if log is None:
        return {"status": "not run", "complete": False, "worst": False}
    record: dict[str, Any] = {
        "trial_id": log.id,
        "status": log.finished.status if log.finished else "unfinished",
        "complete": log.is_complete,
        "worst": is_worst(log),
        "resumed": len(log.resumed),
        "timings_interrupted": log.timings_interrupted,
        "attempt": log.attempt,
        "attempts": log.attempts,
        "disturbed": log.disturbed,
        "batch_size": batch_size(row),
    }
    if log.evaluations:
        record |= {
            name: log.evaluations.column(of)[-1]
            for name, of in (("epochs", "epoch"), ("steps", "step"), ("samples", "samples"))
        }
        record |= {name: log.evaluations.column(name)[-1] for name in ("train_seconds", "cpu_seconds")}
    if log.started is not None:
        facts = log.started
        record |= {"parameters": facts.parameters, "parameter_bytes": facts.parameter_bytes}
        record |= {"precision": facts.precision, "initial_weights": facts.initial_weights}
        record |= {name: facts.environment.get(name) for name in ("device", "device_name", "threads")}
    if log.finished is not None:
        end = log.finished
        names = ("at_fault", "detail", "train_seconds", "cpu_seconds", "evaluation_seconds", "setup_seconds")
        sizes = ("state_bytes", "step_peak_bytes", "peak_memory_bytes")
        record |= {name: getattr(end, name) for name in (*names, *sizes)} | {"steps": end.step}
        for estimand, metrics in end.final.items():
            record |= {f"{estimand}_{metric}": value for metric, value in metrics.items()}
    return record


@dataclass(frozen=True)
class _TrialColumns:
    """The evaluations of one trial, by column: a million rows at once would take gigabytes."""

    names: dict[str, Any]  # the same in all rows
    metrics: dict[str, tuple[str, str]]  # split and metric, by column
    final: dict[str, float]  # known at the last step only, by column
    log: TrialLog

    @classmethod
    def of(cls, row: TableRow, log: TrialLog) -> _TrialColumns:
        end = log.finished
        names = names_with_axes(row) | {"seed": log.trial["seed"], "trial_id": log.id}
        names |= {"status": end.status if end else "unfinished", "at_fault": end.at_fault if end else ""}
        names |= {f"point_{key}": value for key, value in row.trial.point.items()}
        named = (log.evaluations.metrics() or {"validation": list(row.trial.workload.metrics)}).items()
        is_swept = bool(row.trial.point)  # tuning never uses the test split
        metrics = {
            f"{split}_{metric}": (split, metric)
            for split, known in named
            for metric in known
            if split != "test" or not is_swept
        }
        last_step = log.evaluations.column("step")[-1] if log.evaluations else None
        last = end.final.get("last", {}) if end and end.step == last_step and not is_swept else {}
        return cls(names, metrics, {f"test_{metric}": value for metric, value in last.items()}, log)

    def columns(self) -> Iterator[str]:
        yield from self.names
        yield from _FIELDS
        yield from self.metrics
        yield from self.final

    def column(self, name: str) -> Sequence[Any]:
        events = self.log.evaluations
        if name in self.names:
            return [self.names[name]] * max(1, len(events))
        if not events:
            return [0 if name == "step" else None]
        if name in _FIELDS:
            return self.log.gradient_evaluations if name == "gradient_evaluations" else events.column(name)
        values = events.metric(*self.metrics[name]) if name in self.metrics else [nan] * len(events)
        return [*values[:-1], self.final[name]] if name in self.final else values


_PASSAGES: WeakKeyDictionary[SuiteResults, list[dict[str, Any]]] = WeakKeyDictionary()


def _passages(suite: SuiteResults) -> list[dict[str, Any]]:
    """Return the passages of a suite, cached while the suite is referenced because several frames use them."""
    if suite not in _PASSAGES:
        _PASSAGES[suite] = [
            names | {"seed": log.trial["seed"], "trial_id": log.id, "target": text} | _passage(log, target)
            for row in table_rows(Results((suite,)))
            for names in [names_with_axes(row)]
            for target in row.trial.workload.target
            for text in [str(target)]
            for log in row.logs
            if counts(log)
        ]
    return _PASSAGES[suite]


def _passage(log: TrialLog, target: Target) -> dict[str, Any]:
    first = first_holding(log, target)
    zero = dict.fromkeys(UNITS, 0.0)
    if first is None:
        whole = _budget(log, _clocks(log, -1) if log.evaluations else zero)
        return {"reached": False} | whole | {f"{unit}_low": whole[unit] for unit in UNITS}
    before = _clocks(log, last) if (last := _last_with(log, target, first)) is not None else zero
    return {"reached": True} | _clocks(log, first) | {f"{unit}_low": before[unit] for unit in UNITS}


def first_holding(log: TrialLog, target: Target) -> int | None:
    """Return the index of the first evaluation at which the target is reached; None if there is none."""
    values = np.asarray(log.evaluations.metric(target.split, target.metric), dtype=float)
    meets = values >= target.value if target.at_least is not None else values <= target.value
    held = meets & np.isfinite(values)
    index = int(held.argmax()) if len(held) else 0
    return index if len(held) and held[index] else None


def _last_with(log: TrialLog, target: Target, end: int) -> int | None:
    """Return the index of the last evaluation before `end` that has the target's metric: imported logs may have others."""
    values = np.asarray(log.evaluations.metric(target.split, target.metric)[:end], dtype=float)
    known = np.flatnonzero(~np.isnan(values))
    return int(known[-1]) if len(known) else None


def _clocks(log: TrialLog, index: int) -> dict[str, float]:
    epochs, steps, samples, seconds = (
        log.evaluations.column(name)[index] for name in ("epoch", "step", "samples", "train_seconds")
    )
    if not log.seconds_count:
        seconds = float("nan")
    count = log.gradient_evaluations[index]
    gradients = nan if count is None else float(count)
    return {
        "epochs": epochs,
        "steps": steps,
        "samples": samples,
        "seconds": seconds,
        "gradient_evaluations": gradients,
    }


def _budget(log: TrialLog, last: dict[str, float]) -> dict[str, float]:
    """Return the whole budget in each unit, where a trial is censored; seconds are extrapolated from the pace of the trial."""
    assert log.finished is not None
    facts = log.started
    if facts is None or facts.steps is None or log.finished.step >= facts.steps:
        seconds = log.finished.train_seconds if log.seconds_count else float("nan")
        return last | {"seconds": seconds}
    steps, step = facts.steps, log.finished.step
    pace = log.finished.train_seconds / step if step and log.seconds_count else float("nan")
    samples = facts.splits.get("train", 0) * steps / facts.steps_per_epoch
    gradients = per_step(log)
    if isnan(gradients) and log.finished.gradient_evaluations is not None:
        gradients = 1.0  # it ended within its first step: every step takes at least one
    return {
        "epochs": steps / facts.steps_per_epoch,
        "steps": steps,
        "samples": round(samples),
        "seconds": steps * pace,
        "gradient_evaluations": steps * gradients,
    }
