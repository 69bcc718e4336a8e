"""Changes between two sets of results, per entry and quantity, with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import partial

import pandas as pd

from optbench.analysis.compare import ALPHA, FEW_SEEDS
from optbench.analysis.contrast import Contrast, contrast, size_contrast
from optbench.analysis.frames import passages_frame, worst_value
from optbench.analysis.intervals import holm
from optbench.analysis.matching import EntryPair, Matched, SuitePair, same_records, starts_alike
from optbench.analysis.passages import passage_change
from optbench.analysis.quantities import QUANTITIES, Quantity, by_seed, missing_seeds, worst_seeds
from optbench.analysis.rows import TableRow
from optbench.analysis.table import final_values
from optbench.store import Results

_Times = tuple[pd.DataFrame, pd.DataFrame]  # passages of a suite, before and after


@dataclass(frozen=True)
class Change:
    """One quantity of one entry, after compared with before.

    `change`, `low`, `high`: a difference, or a ratio minus 1 (0.05: 5 % more), with the 95 % interval. `method` is paired,
    welch, exact (sizes that are equal for all seeds), permutation (of restricted means, if seeds did not reach the target), or "" if
    nothing can be compared. `p_holm` is adjusted over the entries of the same quantity and target. `word` is empty unless
    `told_apart`: the adjusted p is below 0.05, the interval, if any, excludes zero, and the change is larger than an evaluation interval.
    """

    suite: str
    workload: str
    horizon: str
    target: str
    optimizer: str
    quantity: str
    metric: str
    metric_unit: str
    ratio: bool
    more_is_worse: bool
    method: str
    n_before: int
    n_after: int
    before: float
    after: float
    change: float
    low: float
    high: float
    p: float
    p_holm: float
    told_apart: bool
    word: str
    preliminary: bool
    note: str


@dataclass(frozen=True)
class Compared:
    """A change with the evidence for gates, over the trials that ended without failure on both sides."""

    change: Change
    evidence: Contrast
    unjudged: str  # why nothing may be concluded from it; "" if something may
    words: tuple[str, str]


def compared(matched: Matched) -> list[Compared]:
    """Return all quantities of the entries that are on both sides, in the order of the first side."""
    found: list[Compared] = []
    for pair in matched.suites:
        times = passages_frame(Results((pair.before,))), passages_frame(Results((pair.after,)))
        found += [item for entry in pair.entries for item in _of_entry(pair, entry, times)]
    adjusted = list(found)
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, item in enumerate(found):
        of = item.change
        groups.setdefault((of.suite, of.workload, of.target, of.quantity), []).append(index)
    for indices in groups.values():
        p = holm([found[index].change.p for index in indices])
        for index, value in zip(indices, p, strict=True):
            adjusted[index] = _with_conclusion(found[index], value)
    return adjusted


def changes_frame(items: Iterable[Compared]) -> pd.DataFrame:
    """Return one row per entry and quantity that some trial recorded, with the columns of `Change`."""
    names = [field.name for field in fields(Change)]
    told = [item.change for item in items if item.change.n_before or item.change.n_after]
    return pd.DataFrame([vars(change) for change in told], columns=names)


def _of_entry(pair: SuitePair, entry: EntryPair, times: _Times) -> list[Compared]:
    paired = starts_alike(entry)
    items = [_measured(entry, quantity, paired) for quantity in QUANTITIES]
    items.append(_final(pair, entry, paired))
    targets = {str(target): target for target in entry.after.trial.workload.target}
    for target in entry.before.trial.workload.target:
        if str(target) in targets:
            for unit in ("epochs", "steps", "seconds"):
                items.append(_to_target(entry, str(target), unit, times, paired))
    told = [item for item in items if item.change.method or item.unjudged or item.change.note]
    reason = _not_judged(entry)
    return [replace(item, unjudged=reason or item.unjudged) for item in told]


def _not_judged(entry: EntryPair) -> str:
    """Return why no gate may pass regardless of the numbers; "" if one may."""
    if same_records(entry):
        return "both sides contain identical records: no new measurement to compare"
    missing = missing_seeds(entry.after)
    if missing:
        return f"AFTER is incomplete: {_seeds(missing)} missing"
    return ""


def _measured(entry: EntryPair, quantity: Quantity, paired: bool) -> Compared:
    before, after = by_seed(entry.before, quantity.of_trial), by_seed(entry.after, quantity.of_trial)
    of_values = size_contrast if quantity.size else partial(contrast, ratio=True)
    found = of_values(before, after, paired=paired)
    worse = quantity.words != ("slower", "faster")
    change = change_of(entry, quantity.name, found, ratio=True, more_is_worse=worse)
    return Compared(change, found, few(found), quantity.words)


def _final(pair: SuitePair, entry: EntryPair, paired: bool) -> Compared:
    """Compare final metrics. Seeds with the worst outcome on both sides are excluded; on one side, they prevent an interval."""
    workload = entry.before.trial.workload
    metric = workload.metrics[0]
    if metric not in entry.after.trial.workload.metrics:
        metric = next((name for name in workload.metrics if name in entry.after.trial.workload.metrics), "")
    higher = bool(metric) and entry.after.facts(metric).higher_is_better
    sides = (entry.before, entry.after)
    # one value for both sides: the worst value of either
    limits = [value for row in sides if math.isfinite(value := worst_value([row], metric))]
    worst = (min if higher else max)(limits, default=math.nan)
    values = [_finals(row, metric) for row in sides]
    bad = [worst_seeds(row) for row in sides]
    well = [{k: v for k, v in of.items() if k not in ends} for of, ends in zip(values, bad, strict=True)]
    found = contrast(well[0], well[1], paired=paired, ratio=False)
    change = change_of(entry, "final_metric", found, ratio=False, more_is_worse=not higher, metric=metric)
    unjudged = few(found)
    notes = []
    if bad[0] or bad[1]:
        notes.append(f"worst outcome: {_seeds(bad[0])} before, {_seeds(bad[1])} after")
    if bad[0] != bad[1]:
        filled = [
            {**of, **dict.fromkeys(ends, worst)} if math.isfinite(worst) else of
            for of, ends in zip(well, bad, strict=True)
        ]
        whole = contrast(filled[0], filled[1], paired=paired, ratio=False)
        change = replace(change, before=whole.before, after=whole.after, change=whole.change)
        change = replace(change, low=math.nan, high=math.nan, p=math.nan, method=whole.method)
        if len(bad[1]) > len(bad[0]):
            unjudged = f"worst outcome only after the change: {_seeds(bad[1] - bad[0])}"
    words = ("worse", "better") if higher else ("better", "worse")
    return Compared(replace(change, note="; ".join(notes)), found, unjudged, words)


def _finals(row: TableRow, metric: str) -> dict[int, float]:
    if not metric:
        return {}
    known = final_values([row], metric)[row.config_id].dropna()
    return dict(zip(known.index.tolist(), known.tolist(), strict=True))


def _to_target(entry: EntryPair, target: str, unit: str, times: _Times, paired: bool) -> Compared:
    ratio = unit == "seconds"
    before, after = (
        of[(of["config_id"] == row.config_id) & (of["target"] == target)]
        for of, row in zip(times, (entry.before, entry.after), strict=True)
    )
    found = passage_change(before, after, unit, paired=paired)
    change = change_of(
        entry, f"{unit}_to_target", found.contrast, ratio=ratio, more_is_worse=True, target=target
    )
    change = replace(change, note=found.note, method=found.method, p=found.p)
    words = ("faster", "slower") if ratio else ("fewer", "more")
    return Compared(change, found.contrast, "", words)


def change_of(
    entry: EntryPair,
    quantity: str,
    found: Contrast,
    *,
    ratio: bool,
    more_is_worse: bool,
    metric: str = "",
    target: str = "",
) -> Change:
    """Return the change, as ratio minus 1 for ratios; without adjustment and word."""
    fewest = min(found.n_before, found.n_after)
    return Change(
        suite=entry.suite,
        workload=entry.workload,
        horizon=entry.horizon,
        target=target,
        optimizer=entry.optimizer,
        quantity=quantity,
        metric=metric,
        metric_unit=entry.after.facts(metric).unit if metric else "",
        ratio=ratio,
        more_is_worse=more_is_worse,
        method=found.method,
        n_before=found.n_before,
        n_after=found.n_after,
        before=found.before,
        after=found.after,
        change=_shown(found.change, ratio),
        low=_shown(found.low, ratio),
        high=_shown(found.high, ratio),
        p=found.p,
        p_holm=math.nan,
        told_apart=False,
        word="",
        preliminary=found.method != "exact" and fewest < FEW_SEEDS,
        note="",
    )


def _shown(value: float, ratio: bool) -> float:
    return value if not ratio else math.inf if value > 700 else math.expm1(value)


def few(found: Contrast) -> str:
    """Return why a contrast has no interval; "" if it has one."""
    if found.has_interval:
        return ""
    fewest = min(found.n_before, found.n_after)
    if fewest == 0:
        return "no value that both sides measured"
    return "only one seed: no interval" if fewest == 1 else "no interval"


def _with_conclusion(item: Compared, p_holm: float) -> Compared:
    change = replace(item.change, p_holm=p_holm)
    apart = p_holm < ALPHA and change.change != 0 and not change.low <= 0 <= change.high
    word = item.words[int(change.change > 0)] if apart else ""
    return replace(item, change=replace(change, told_apart=apart, word=word))


def _seeds(seeds: Iterable[int]) -> str:
    named = sorted(seeds)
    if not named:
        return "no seed"
    shown = ", ".join(map(str, named[:5])) + (", ..." if len(named) > 5 else "")
    return f"seed{'s' * (len(named) > 1)} {shown}"
