"""Charts below the tables in a terminal: each entry's metric against time, one chart per workload."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from optbench.analysis.curves import curves_frame
from optbench.analysis.entries import entry_names
from optbench.analysis.rows import TableRow, higher_is_better, table_rows
from optbench.report.chart import Axes, Line, Series, chart
from optbench.report.colours import styles
from optbench.report.outcomes import WORST
from optbench.report.text import clean, is_share, number
from optbench.store import Results, SuiteResults

_MOST_ENTRIES = 8
_MOST_WORKLOADS = 4
_EARLY = 0.1  # of the way: what lies beyond the values there would flatten all the rest


def curve_charts(
    results: Results, width: int, height: int, *, unicode: bool = True, dark: bool = True
) -> list[list[Line]]:
    """Return the lines of each suite's charts with captions; empty if no trial has two evaluations."""
    frame = curves_frame(results)
    return [
        list(_of_suite(suite, frame[frame["suite"] == suite.name], width, height, unicode=unicode, dark=dark))
        for suite in results.suites
    ]


def _of_suite(
    suite: SuiteResults, frame: pd.DataFrame, width: int, height: int, *, unicode: bool, dark: bool
) -> Iterator[Line]:
    rows = table_rows(Results((suite,)))
    names = {config_id: clean(name) for config_id, name in entry_names(suite).items()}
    looks = styles(names.values())
    workloads = list(dict.fromkeys(row.trial.workload_name for row in rows))
    for workload in workloads[:_MOST_WORKLOADS]:
        own = [row for row in rows if row.trial.workload_name == workload]
        metric = _metric(own[0])
        curves = frame[
            (frame["workload"] == workload) & (frame["metric"] == metric) & (frame["split"] == "validation")
        ]
        by_entry = {row.config_id: curves[curves["config_id"] == row.config_id] for row in own}
        by_entry = {config_id: of for config_id, of in by_entry.items() if len(of) > 1}
        clock, unit = _clock(list(by_entry.values()))
        higher = higher_is_better(suite, own[0].trial.workload, metric)
        shown = _shown(by_entry, higher=higher)
        series = []
        for config_id, of in shown.items():
            look = looks[names[config_id]]
            of = of[of[clock].notna()]
            colour = look.dark if dark else look.light
            series.append(
                Series(names[config_id], of[clock].tolist(), of["median"].tolist(), look.symbol, colour)
            )
        axes = _axes(own[0], metric, unit, series, higher=higher)
        lines = chart(series, axes, width, height, unicode=unicode)
        if lines:
            yield []
            if len(workloads) > 1:
                yield [(clean(workload), "bold")]
            yield from lines
            yield [(_caption(shown, len(by_entry), series, axes, higher=higher), "dim")]
    if len(workloads) > _MOST_WORKLOADS:
        yield [(f"Charts show the first {_MOST_WORKLOADS} of {len(workloads)} workloads.", "dim")]


def _metric(row: TableRow) -> str:
    """Return the metric of the first validation target, else the workload's first metric."""
    targets = [target for target in row.trial.workload.target if target.split == "validation"]
    return targets[0].metric if targets else row.trial.workload.metrics[0]


def _clock(curves: list[pd.DataFrame]) -> tuple[str, str]:
    """Return column and label of the time axis: seconds of training if all entries have them, else epochs, else steps."""
    for column, words in (("train_seconds", "seconds of training"), ("epoch", "epochs")):
        if all(of[column].notna().sum() > 1 for of in curves):
            return column, words
    return "step", "steps"


def _shown(by_entry: dict[str, pd.DataFrame], *, higher: bool) -> dict[str, pd.DataFrame]:
    """Return at most `_MOST_ENTRIES` entries, those with the best final values, in the order of the table."""
    if len(by_entry) <= _MOST_ENTRIES:
        return by_entry
    ends = {config_id: float(of["median"].iloc[-1]) for config_id, of in by_entry.items()}
    kept = set(sorted(ends, key=lambda config_id: ends[config_id], reverse=higher)[:_MOST_ENTRIES])
    return {config_id: of for config_id, of in by_entry.items() if config_id in kept}


def _axes(row: TableRow, metric: str, unit: str, series: list[Series], *, higher: bool) -> Axes:
    targets = [t for t in row.trial.workload.target if t.metric == metric and t.split == "validation"]
    goal = next((t.at_least if t.at_least is not None else t.at_most for t in targets), None)
    early = [_at_share(each, _EARLY) for each in series if len(each.x) > 1]
    ends = [value for each in series for value in each.y]
    low, high = -math.inf, math.inf
    if early and higher:  # the target has as much room below it as there is above
        low = min(early) if goal is None else min(*early, 2 * goal - max(*ends, goal))
    elif early:
        high = max(early) if goal is None else max(*early, 2 * goal - min(*ends, goal))
    share = is_share(metric)
    title = f"validation {clean(metric)}{' %' if share else ''}"
    return Axes(unit, title, goal, low, high, 100.0 if share else 1.0)


def _at_share(series: Series, share: float) -> float:
    until = series.x[0] + share * (series.x[-1] - series.x[0])
    return next(y for x, y in zip(series.x, series.y, strict=True) if x >= until)


def _caption(
    shown: dict[str, pd.DataFrame], entries: int, series: list[Series], axes: Axes, *, higher: bool
) -> str:
    seeds = sorted({int(of["seeds"].max()) for of in shown.values()})
    n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    text = "One seed per entry" if seeds == [1] else f"Lines: median over {n} seeds, without bands"
    if len(shown) < entries:
        text += f"; the {len(shown)} of {entries} entries with the {'highest' if higher else 'lowest'} final values"
    lost = sum(int(of["worst"].max()) for of in shown.values())  # also where the whole curve ends with them
    if lost:
        text += f"; {lost} trial{'s' * (lost != 1)} {WORST} and {'are' if lost != 1 else 'is'} missing from the curves after that"
    values = [value for each in series for value in each.y]
    edge = axes.low if higher else axes.high
    if values and (min(values) < axes.low or max(values) > axes.high):
        shown_edge = f"{axes.scale * edge:.3g}" if axes.scale != 1.0 else number(edge)
        text += f"; values {'below' if higher else 'above'} {shown_edge} are cut off"
    return text + "."
