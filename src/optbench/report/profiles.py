"""Summary over several workloads: performance profiles and speedups, or the leaderboard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from optbench.analysis.leaderboard import leaderboard, rules_of, trial_times
from optbench.analysis.profiles import RESAMPLES, Profiles, suite_profiles
from optbench.report.cells import Column, text_column
from optbench.report.document import Block, Table
from optbench.report.leaderboard import leaderboard_block
from optbench.report.text import clean
from optbench.store import SuiteResults

#: with fewer runs in total, bootstrap bands are too narrow
_FEW_RUNS = 20


def summary_block(suite: SuiteResults) -> Block | None:
    """Return the leaderboard if the plan has a competition's rules, else profiles and speedups.

    None for fewer than two workloads with targets, or fewer than two entries.
    """
    if suite.plan is not None and "leaderboard" in suite.plan.provenance:
        times = trial_times(suite)
        return None if times.empty else leaderboard_block(suite, leaderboard(times, rules_of(suite)))
    found = suite_profiles(suite)
    return _block(found) if found else None


def _block(found: list[Profiles]) -> Block:
    first = found[0]
    workloads = int(first.summary["workloads"].iloc[0])
    left_out = (
        [f"excluded, as not measured for all entries: {', '.join(first.left_out)}"] if first.left_out else []
    )
    few = (
        [f"preliminary: bands from {first.runs} runs in total are too narrow"]
        if first.runs < _FEW_RUNS
        else []
    )
    return Block(
        heading="All workloads",
        facts=f"{workloads} workloads; scores depend on the set of entries",
        tables=tuple(_table(profiles) for profiles in found),
        notes=tuple(_notes(found)),
        warnings=tuple(clean(message) for message in left_out + few),
        numbers=pd.concat([each.summary.assign(unit=each.unit) for each in found], ignore_index=True),
    )


def _table(found: Profiles) -> Table:
    columns = (
        text_column("optimizer"),
        Column("profile\nscore", lambda row: _band(row, "score", 3)),
        Column(f"speedup over\n{clean(found.baseline)}", lambda row: _speedup(row, found.baseline)),
        Column("workloads\nreached", lambda row: f"{row['reached']}/{row['workloads']}"),
    )
    return Table.of(f"By {found.unit.replace('_', ' ')} to target", columns, found.summary)


def _speedup(row: Mapping[Any, Any], baseline: str) -> str:
    if row["optimizer"] == baseline or math.isnan(row["speedup"]):
        return "–"
    if row["speedup_bound"]:
        return f"{'<=' if row['speedup_bound'] == 'at most' else '>='} {row['speedup']:.2f}x"
    return _band(row, "speedup", 2, "x")


def _band(row: Mapping[Any, Any], name: str, digits: int, unit: str = "") -> str:
    text = f"{row[name]:.{digits}f}{unit}"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return text if math.isnan(low) else f"{text} ({low:.2f}–{high:.2f})"


def _notes(found: list[Profiles]) -> list[str]:
    bounded = any((profiles.summary["speedup_bound"] != "").any() for profiles in found)
    notes = [
        "Profile score: area under the performance profile (Dolan and Moré), the share of workloads whose time to target (median "
        "over seeds) is within a multiple of the fastest entry's, from 1 to 4, divided by its width; 1: fastest on every workload.",
        "Speedup: geometric mean over workloads of the baseline's time over the entry's.",
        "<= and >=: bounds, as the budget is used for a target that was not reached." if bounded else "",
        f"In brackets: 95 % bands from {RESAMPLES:,} bootstrap samples of the seeds, within each workload and entry.",
    ]
    return [note for note in notes if note]
