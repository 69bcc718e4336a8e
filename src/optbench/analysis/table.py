"""The comparison: one row for each suite, workload, horizon, target and optimizer, with every number a report shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pandas as pd

from optbench.analysis.censoring import median, median_interval, restricted_difference, restricted_mean
from optbench.analysis.compare import against, all_pairs, top_group
from optbench.analysis.frames import (
    UNITS,
    counts,
    is_worst,
    names_with_axes,
    passages_frame,
    plain_rows,
    worst_value,
)
from optbench.analysis.gradients import GRADIENTS, are_shown, mean_per_step
from optbench.analysis.intervals import holm, t_interval
from optbench.analysis.rows import (
    TableRow,
    batch_size,
    comparable,
    table_rows,
    workload_rows,
)
from optbench.analysis.tuning import TuningVariation, tuning_variation
from optbench.events import Status
from optbench.store import Results, SuiteResults, TrialLog

Record = dict[str, Any]

_PAIRS: WeakKeyDictionary[SuiteResults, dict[tuple[str, ...], pd.DataFrame]] = WeakKeyDictionary()

_OF_PASSAGES = ("reached", *UNITS, *(f"{unit}_low" for unit in UNITS))
_OF_TIME = ("", "_low", "_high", "_min", "_max")
#: columns of workloads in which some entry used other than one gradient per step
GRADIENT_COLUMNS = (
    f"{GRADIENTS}_per_step",
    *(f"{GRADIENTS}_to_target{part}" for part in _OF_TIME),
    *(f"{GRADIENTS}_{name}" for name in ("budget", "restricted_mean")),
)
#: column of tables in which the optimizer state of some entry differs between seeds
MEMORY_MINIMUM = "memory_overhead_min"
#: columns of every table, the most important first; `final_<metric>` follows them
COLUMNS = (
    *("suite", "workload", "horizon", "target", "optimizer", "planned", "trials", "reached"),
    *(f"{unit}_to_target{part}" for unit in ("epochs", "seconds") for part in _OF_TIME),
    *("metric", "metric_unit", "estimand"),
    *("final_metric", "final_metric_low", "final_metric_high", "final_metric_std"),
    *("memory_overhead", "step_peak_overhead", "best_group", "fastest_group", "baseline"),
    *("difference", "difference_low", "difference_high", "difference_p", "difference_n"),
    *("completed", "stopped", "diverged", "out_of_memory", "failed", "missing"),
    *("imputed", "worst_value", "timed"),
    *(f"{unit}_to_target{part}" for unit in ("steps", "samples") for part in _OF_TIME),
    *(f"{unit}_{name}" for unit in UNITS if unit != GRADIENTS for name in ("budget", "restricted_mean")),
    *("restricted_difference", "restricted_difference_p", "restricted_unit"),
    *("interval_note", "memory_note", "train_seconds", "batch_size", "parameters", "config_id"),
)


def comparison(results: Results) -> pd.DataFrame:
    """Return the comparison as a tidy table: plain fractions, multiples and seconds; empty where not reached or unknown.

    suite, workload, the values of the suite's axes by path, horizon, target (empty if there is none), optimizer,
    config_id; baseline (bool);
    planned (seeds), trials (complete ones that count), completed, stopped, diverged, out_of_memory, failed, missing
    (not run, unfinished, or ended by the infrastructure);
    reached; for each unit in epochs, steps, samples, seconds: <unit>_to_target (Kaplan-Meier median), its 95 %
    interval <unit>_to_target_low, _high (open end empty), over seeds _min, _max (empty if one never arrived),
    <unit>_budget (at which those that did not arrive are censored: their median) and <unit>_restricted_mean;
    restricted_difference (restricted mean time minus the baseline's, in restricted_unit: epochs, or the first unit that all
    trials record; empty where neither entry reached the target), restricted_difference_p (permutation test, Holm-adjusted over the
    comparisons with the baseline);
    interval_note; timed (trials whose seconds count); fastest_group;
    metric, metric_unit, estimand, final_metric (mean), final_metric_low, _high (95 % t interval), _std, imputed (trials that count
    as the worst outcome), worst_value (what they count as; empty: the worst value measured); best_group; difference,
    difference_low, difference_high, difference_p (paired with the baseline; Holm-adjusted over all pairs of entries, as the
    groups are), difference_n; final_<metric> again under the metric's own name;
    gradient_evaluations_per_step (mean over trials) and the columns of that unit: only in a table of which some entry used
    other than one gradient per step, and empty in workloads of which none did;
    memory_overhead (greatest optimizer state over parameter bytes), step_peak_overhead (likewise, transient), memory_note
    (what of the state could not be counted: memory_overhead is then a lower limit); memory_overhead_min (least over the
    completed trials: only in a table of which some entry has less there, as with the settings of several tuning studies);
    train_seconds (mean of the timed), batch_size, parameters.

    Groups, differences and restricted means are among entries of one budget: horizons are never compared with each other.

    Groups: True if not significantly worse than any other of the block, False if so, empty if not comparable, or if
    not significantly worse only because some of its trials failed or did not arrive.
    """
    passages = passages_frame(results)
    of_target = dict(tuple(passages.groupby(["suite", "target"], sort=False)))
    records: list[Record] = []
    for suite, workload, block in workload_rows(results):
        metric = block[0].trial.workload.metrics[0]
        variation = tuning_variation(suite, workload, metric)
        of_times = tuning_variation(suite, workload, None)
        shared: dict[str, Record] = {}
        for alike in comparable(block):
            shared |= _final_records(alike, metric, variation, final_pairs(suite, alike))
        units = [unit for unit in UNITS if unit != GRADIENTS]
        if are_shown(block):
            units.append(GRADIENTS)
            for row in block:
                shared[row.config_id][GRADIENT_COLUMNS[0]] = mean_per_step(row)
        targets = dict.fromkeys(str(target) for row in block for target in row.trial.workload.target)
        for target in targets or [""]:
            times = of_target.get((suite.name, target), passages[:0])
            reached: dict[str, Record] = {}
            for alike in comparable(block):
                reached |= _target_records(alike, times, units, of_times)
            for row in block:
                keys = names_with_axes(row) | {"target": target}
                records.append(keys | shared[row.config_id] | reached[row.config_id])
    axes = dict.fromkeys(path for row in table_rows(results) for path in row.trial.axes)
    known = {*COLUMNS, *GRADIENT_COLUMNS, MEMORY_MINIMUM, *axes}
    finals = dict.fromkeys(name for record in records for name in record if name not in known)
    gradients = GRADIENT_COLUMNS if any(GRADIENT_COLUMNS[0] in record for record in records) else ()
    has_range = any(record[MEMORY_MINIMUM] < record["memory_overhead"] for record in records)
    memory = (MEMORY_MINIMUM,) if has_range else ()
    table = pd.DataFrame(records, columns=[*COLUMNS[:2], *axes, *COLUMNS[2:], *finals, *gradients, *memory])
    return table.astype({"best_group": "boolean", "fastest_group": "boolean"})


def final_values(rows: list[TableRow], metric: str) -> pd.DataFrame:
    """Return the final metric, one row per seed and one column per config_id, with worst outcomes imputed; missing trials are NaN."""
    worst = worst_value(rows, metric)
    columns = {}
    for row in rows:
        values = {
            log.trial["seed"]: _final(log, row.estimand, metric, worst) for log in row.logs if counts(log)
        }
        columns[row.config_id] = pd.Series(values, dtype=float)
    return pd.DataFrame(columns)


def _final(log: TrialLog, estimand: str, metric: str, worst: float) -> float:
    assert log.finished is not None
    if is_worst(log):
        return worst
    value = log.finished.final.get(estimand, {}).get(metric)
    if value is None:
        return math.nan
    return value if math.isfinite(value) else worst


def final_pairs(suite: SuiteResults, block: list[TableRow]) -> pd.DataFrame:
    """Return `all_pairs` of the final metric of comparable rows. Cached while the suite is referenced, because two frames need it."""
    known = _PAIRS.setdefault(suite, {})
    key = tuple(row.config_id for row in block)
    if key not in known:
        trial = block[0].trial
        metric = trial.workload.metrics[0]
        variation = tuning_variation(suite, trial.workload_name, metric)
        values = variation.independent(final_values(block, metric))
        known[key] = all_pairs(values, shared_variances=variation.shared(block))
    return known[key]


def _final_records(
    block: list[TableRow], metric: str, variation: TuningVariation, pairs: pd.DataFrame
) -> dict[str, Record]:
    """Return by config_id everything that does not depend on a target."""
    values = final_values(block, metric)
    facts = block[0].facts(metric)
    within = least, greatest = facts.range
    independent, shared = variation.independent(values), variation.shared(block)
    best = top_group(pairs, higher_is_better=facts.higher_is_better)
    baseline = next((row.config_id for row in block if row.baseline), block[0].config_id)
    differences = {pair["a"]: pair for pair in plain_rows(against(pairs, baseline))}
    records = {}
    for row in block:
        seen = values[row.config_id].dropna().tolist()
        imputed = sum(is_worst(log) for log in row.logs)
        final = t_interval(seen, within=within, shared_variance=shared[row.config_id])
        if row.trial.label in variation.labels:
            of_studies = independent[row.config_id].dropna().tolist()
            means = t_interval(of_studies, within=within, shared_variance=shared[row.config_id])
            final = replace(means, std=final.std)
        group = best.get(row.config_id)
        if imputed:  # a mean of measured and imputed values is not normal: no interval, not in the group
            final = replace(final, low=math.nan, high=math.nan)
            group = False if group is False else None
        record = _counts(row) | _costs(row)
        record |= {
            "baseline": row.config_id == baseline,
            "metric": metric,
            "metric_unit": facts.unit,
            "worst_value": math.nan if facts.worst is None else facts.worst,
            "estimand": row.estimand,
            "final_metric": final.mean,
            "final_metric_low": final.low,
            "final_metric_high": final.high,
            "final_metric_std": final.std,
            "imputed": imputed,
            "best_group": group,
            f"final_{metric}": final.mean,
        }
        if (pair := differences.get(row.config_id)) is not None:
            whole = not imputed and not any(
                is_worst(log) for other in block if other.baseline for log in other.logs
            )
            record |= {
                "difference": pair["difference"],
                "difference_low": max(pair["low"], least - greatest) if whole else math.nan,
                "difference_high": min(pair["high"], greatest - least) if whole else math.nan,
                "difference_p": pair["p_holm"],
                "difference_n": pair["n"],
            }
        records[row.config_id] = record
    return records


def _counts(row: TableRow) -> Record:
    ended = [log.finished.status for log in row.logs if log.finished is not None and log.is_complete]
    planned = len(set(row.seeds) | {log.trial["seed"] for log in row.logs})
    statuses: tuple[Status, ...] = ("completed", "stopped", "diverged", "out_of_memory", "failed")
    return {
        "planned": planned,
        "trials": sum(counts(log) for log in row.logs),
        **{status: ended.count(status) for status in statuses},
        "missing": planned - len(ended),
    }


def memory_multiple(row: TableRow) -> float:
    """Return the maximum of optimizer state over parameter bytes; NaN if no trial recorded it."""
    return max(_memory_multiples(row.logs), default=math.nan)


def _memory_multiples(logs: Sequence[TrialLog]) -> list[float]:
    """Return the optimizer state over parameter bytes of each trial that recorded it."""
    return [
        log.finished.state_bytes / log.started.parameter_bytes
        for log in logs
        if log.started is not None and log.started.parameter_bytes
        if log.finished is not None and log.finished.state_bytes is not None
    ]


def memory_note(row: TableRow) -> str:
    """Return what of the optimizer's state could not be counted; empty if `memory_multiple` is exact."""
    return next((log.finished.state_note for log in row.logs if log.finished and log.finished.state_note), "")


def _costs(row: TableRow) -> Record:
    ends = [log.finished for log in row.logs if log.finished is not None]
    starts = [log.started for log in row.logs if log.started is not None]
    size = starts[0].parameter_bytes if starts else 0
    peak = [end.step_peak_bytes for end in ends if end.step_peak_bytes is not None]
    whole = ("completed", "stopped")
    completed = [log for log in row.logs if log.finished is not None and log.finished.status in whole]
    timed = [log.finished.train_seconds for log in completed if log.finished and log.seconds_count]
    return {
        "memory_overhead": memory_multiple(row),
        MEMORY_MINIMUM: min(_memory_multiples(completed), default=math.nan),
        "memory_note": memory_note(row),
        "step_peak_overhead": max(peak) / size if peak and size else math.nan,
        "train_seconds": sum(timed) / len(timed) if timed else math.nan,
        "batch_size": batch_size(row),
        "parameters": starts[0].parameters if starts else math.nan,
    }


def _target_records(
    block: list[TableRow], times: pd.DataFrame, units: Sequence[str], variation: TuningVariation
) -> dict[str, Record]:
    """Return by config_id the time to one target in each of `units`."""
    times = times[times["config_id"].isin([row.config_id for row in block])]
    fastest = _fastest(times, block, variation)
    tau = {unit: times[unit].max() for unit in UNITS}
    columns = {name: times[name].to_numpy() for name in _OF_PASSAGES}
    places = times.groupby("config_id", sort=False).indices
    nowhere = np.array([], dtype=int)
    records = {}
    for row in block:
        here = places.get(row.config_id, nowhere)
        own = {name: column[here] for name, column in columns.items()}
        record: Record = {"reached": int(own["reached"].sum())}
        group = fastest.get(row.config_id)
        if 2 * record["reached"] <= len(here):  # no median: not in the group
            group = False if group is False else None
        record["fastest_group"] = group
        for unit in units:
            record |= _to_target(own, unit, tau[unit])
        record["timed"] = int((~pd.isna(own["seconds"])).sum())
        records[row.config_id] = record
    for config_id, more in _restricted_differences(block, times, variation).items():
        records[config_id] |= more
    return records


def _restricted_differences(
    block: list[TableRow], times: pd.DataFrame, variation: TuningVariation
) -> dict[str, Record]:
    """Return by config_id the difference from the baseline; trials that did not reach the target count with the longest budget.

    No p where the seeds of one side share the settings of a study: the permutation test needs independent trials.
    """
    baseline = next((row.config_id for row in block if row.baseline), block[0].config_id)
    unit = next((unit for unit in UNITS if times[unit].notna().all()), None)
    if unit is None or times.empty:
        return {}
    tau = float(times[unit].max())
    lengths, reached = times[unit].to_numpy(), times["reached"].to_numpy(dtype=bool)
    places = times.groupby("config_id", sort=False).indices
    sides = {config_id: (lengths[own].tolist(), reached[own].tolist()) for config_id, own in places.items()}
    others = [row.config_id for row in block if row.config_id in sides and row.config_id != baseline]
    if baseline not in sides or not others:
        return {}
    found = [restricted_difference(*sides[config_id], *sides[baseline], tau) for config_id in others]
    tuned = {row.config_id for row in block if row.trial.label in variation.labels}
    known = [
        math.nan if tuned & {config_id, baseline} else of.p
        for config_id, of in zip(others, found, strict=True)
    ]
    return {
        config_id: {"restricted_difference": of.mean, "restricted_difference_p": p, "restricted_unit": unit}
        for config_id, of, p in zip(others, found, holm(known), strict=True)
    }


def _to_target(own: Mapping[str, npt.NDArray[Any]], unit: str, tau: float) -> Record:
    """Return the time to the target of one row. `own`: the columns of its passages, as arrays because there are thousands of rows."""
    known = ~pd.isna(own[unit])
    high, there = own[unit][known], own["reached"][known].astype(bool)
    times, reached = high.tolist(), there.tolist()
    name = f"{unit}_to_target"
    middle = median(times, reached)
    interval = median_interval(own[f"{unit}_low"][known].tolist(), times, reached)
    is_known = not math.isnan(middle)
    record: Record = {
        name: middle,
        f"{name}_low": interval.low if is_known else math.nan,
        f"{name}_high": interval.high if is_known and math.isfinite(interval.high) else math.nan,
        f"{name}_min": high[there].min() if any(reached) else math.nan,
        f"{name}_max": high.max() if reached and all(reached) else math.nan,
        f"{unit}_budget": float(np.median(high[~there])) if not all(reached) else math.nan,
        f"{unit}_restricted_mean": restricted_mean(times, reached, tau) if reached else math.nan,
    }
    return record | ({"interval_note": interval.reason if is_known else ""} if unit == "epochs" else {})


def _fastest(
    times: pd.DataFrame, block: list[TableRow], variation: TuningVariation
) -> dict[str, bool | None]:
    """Return the fastest group by sign-flip tests of restricted times, paired by seed: without the target, the longest budget.

    An imported log may have no epochs: then in steps, or in another unit that it has.
    """
    unit = next((unit for unit in UNITS if times[unit].notna().all()), None)
    if times.empty or unit is None:
        return {}
    lengths, reached = times[unit].to_numpy(dtype=float), times["reached"].to_numpy(dtype=bool)
    seeds, rows = np.unique(times["seed"], return_inverse=True)
    entries, columns = np.unique(times["config_id"].astype(str), return_inverse=True)
    restricted = np.full((len(seeds), len(entries)), math.nan)
    restricted[rows, columns] = np.where(reached, lengths, lengths.max())
    values = pd.DataFrame(restricted, index=seeds, columns=entries)
    intervals = (lengths - times[f"{unit}_low"].to_numpy(dtype=float))[reached]
    grid = float(np.fmax.reduce(intervals, initial=0.0))
    pairs = all_pairs(variation.independent(values), "sign_flip", grid, variation.shared(block))
    return top_group(pairs, higher_is_better=False)
