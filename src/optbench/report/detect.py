"""Report of the number of seeds needed to detect a difference (`plan --detect`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from optbench.analysis.compare import FEW_SEEDS
from optbench.analysis.power import MOST_SEEDS
from optbench.report.cells import Column, text_column
from optbench.report.document import Block, Report, Section, Table
from optbench.report.text import clean, in_percent, number


def detect_report(name: str, seeds: pd.DataFrame, delta: float) -> Report:
    """Return the report of `seeds`, a frame of `analysis.power.seeds_frame`; `delta` is the difference to detect."""
    blocks = []
    for key, own in seeds.groupby(["workload", "horizon", "baseline"], sort=False):
        workload, horizon, baseline = map(str, key)
        metric, percent = str(own["metric"].iloc[0]), in_percent(own.iloc[0])
        columns = (
            text_column("optimizer"),
            Column("seeds\nso far", lambda row: str(row["n"])),
            Column("std of the\ndifference", partial(_spread, percent)),
            Column("seeds\nneeded", lambda row: _count(row["seeds"])),
            Column("95 %\ninterval", _between),
            Column("to rank\nall pairs", lambda row: _count(row["seeds_holm"])),
        )
        caption = f"Seeds needed to detect a difference of {_shown(delta, percent)} in the final {clean(metric)} from {clean(baseline)}"
        facts = f"{clean(workload)}, {horizon}"
        blocks.append(
            Block("", facts, (Table.of(caption, columns, own),), tuple(_notes(own, clean(baseline))))
        )
    section = Section(clean(name), "", tuple(blocks))
    return Report((section,), seeds, pd.DataFrame(columns=["suite", "workload", "kind", "message"]))


def _notes(seeds: pd.DataFrame, baseline: str) -> list[str]:
    unknown = []
    if not seeds["n"].any():
        unknown = [
            f"No seed has results of an entry and of {baseline}: run at least two seeds of both, or choose another baseline "
            "with --set baseline=LABEL."
        ]
    return [
        *unknown,
        "Seeds so far: those that both the entry and the baseline have.",
        "Needed: for 80 % power of the paired t test at 5 % (noncentral t; about (1.96 + 0.84)² x (std / difference)² + 1.9), "
        "from the standard deviation of the paired differences measured so far.",
        "Interval: the seeds needed at both ends of the 95 % interval of that standard deviation.",
        "To rank all pairs: at 5 % over all pairs of entries, at the strictest step of Holm's adjustment.",
        f"Tables with fewer than {FEW_SEEDS} seeds are labelled preliminary.",
    ]


def _spread(percent: bool, row: Mapping[Any, Any]) -> str:
    return _shown(row["difference_std"], percent)


def _shown(value: float, percent: bool) -> str:
    if math.isnan(value):
        return "–"
    return f"{100 * value:.2f} points" if percent else number(value)


def _count(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"over {MOST_SEEDS:,}" if value >= MOST_SEEDS else f"{value:.0f}"


def _between(row: Mapping[Any, Any]) -> str:
    return "–" if math.isnan(row["seeds"]) else f"{_count(row['seeds_low'])}–{_count(row['seeds_high'])}"
