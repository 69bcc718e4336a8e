"""Figures of the page as data for its script. All numbers are computed in `optbench.analysis`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from optbench.analysis.parts import MEMORY_PARTS, TIME_PARTS
from optbench.report.cells import none_worse
from optbench.report.outcomes import WORST, worst_text, worst_value_text
from optbench.report.page.entries import Group
from optbench.report.published import CAPTION, TITLES
from optbench.report.text import clean, is_share
from optbench.suite.published import DETERMINISTIC_MARGIN

#: keys of a map's cell -> columns: position, value, interval, seeds, and failed trials
_MAP = {"x": "x", "y": "y", "z": "mean", "lo": "low", "hi": "high", "k": "n", "failed": "failures"}
UNITS = {"epoch": "epochs", "step": "steps", "seconds": "seconds", "gradients": "gradient_evaluations"}


@dataclass(frozen=True)
class Figure:
    """A figure with its `content` for the script. Several figures can share one place, with a list to choose from."""

    title: str
    content: dict[str, Any]
    note: str


def survival(frame: pd.DataFrame, group: Group) -> list[Figure]:
    """Return one figure per target: share of seeds that have not reached it."""
    figures = []
    for target, of_target in frame.groupby("target", sort=False):
        series = []
        for config, own in of_target.groupby("config_id", sort=False):
            units = {}
            for unit, many in UNITS.items():
                rows = own[own["unit"] == many]
                if len(rows):
                    columns = {"x": "time", "y": "survival", "lo": "low", "hi": "high", "k": "at_risk"}
                    units[unit] = {key: numbers(rows[column]) for key, column in columns.items()}
            if units:
                rows = own[own["unit"] == own["unit"].iloc[0]]
                counts = {"n": int(rows["at_risk"].iloc[0]), "r": int(rows["events"].sum())}
                series.append(group.of(str(config)) | {"u": units} | counts)
        n = count_of(entry["n"] for entry in series)
        left = sum(entry["n"] - entry["r"] for entry in series)
        figures.append(
            Figure(
                f"Share of seeds not at {clean(str(target))}",
                {"kind": "survival", "y": "share of seeds", "format": "share", "series": series},
                f"Kaplan–Meier with its pointwise 95 % interval, where available. {n} per entry; "
                f"{left} {'seed' if left == 1 else 'seeds'} censored at the budget, as are those that {WORST}.",
            )
        )
    return figures


def finals(frame: pd.DataFrame, table: pd.DataFrame, group: Group) -> Figure | None:
    """Return the final metric with one dot per seed, the mean and its interval."""
    if frame.empty:
        return None
    metric = str(frame["metric"].iloc[0])
    first = table.drop_duplicates("config_id").set_index("config_id")
    rows = []
    for config, own in frame.groupby("config_id", sort=False):
        seen = own[~own["imputed"]]
        facts = first.loc[config]
        top = facts["best_group"]
        rows.append(
            group.of(str(config))
            | {
                "seeds": [int(seed) for seed in seen["seed"]],
                "v": numbers(seen["value"]),
                "mean": number(facts["final_metric"]),
                "lo": number(facts["final_metric_low"]),
                "hi": number(facts["final_metric_high"]),
                "lost": int(own["imputed"].sum()),
                "ended": worst_text(facts.to_dict()),
                "top": None if pd.isna(top) else bool(top),
            }
        )
    n = count_of(len(row["v"]) + row["lost"] for row in rows)
    lost = sum(row["lost"] for row in rows)
    tops = [row["top"] for row in rows]
    several = True in tops and False in tops
    tied = "No entry is significantly worse than another." if len(tops) > 1 and none_worse(first) else ""
    marked = "◆: not significantly worse than any other." if several else tied
    has_interval = any(row["lo"] is not None for row in rows)
    drawn = "Line: mean with its 95 % t interval" if has_interval else "Line: mean, without an interval"
    drawn += ", omitted where trials failed." if lost and has_interval else "."
    failed = (
        f"{lost} {'trial' if lost == 1 else 'trials'} {WORST} and {'has' if lost == 1 else 'have'} no dot: in the table's mean "
        f"{'it counts' if lost == 1 else 'they count'} as {worst_value_text(metric)}, and the mean is not marked."
        if lost
        else ""
    )
    for row in rows:
        row["top"] = bool(row["top"]) and several
    return Figure(
        f"Final {clean(metric)}, one dot per seed",
        {"kind": "dots", "format": format_of(metric), "y": clean(metric), "rows": rows},
        " ".join(part for part in (drawn, f"{n} per entry.", marked, failed) if part),
    )


def memory(frame: pd.DataFrame, group: Group) -> Figure | None:
    """Return the training memory by part, as stacked bars."""
    looks = ("solid", "light", "own", "hatch", "dots")
    note = (
        "Maximum over seeds, measured in real steps. The step peak and the activations are not allocated at the same time, "
        "so training never needs the whole bar at once."
    )
    return _bars(
        "Memory", "bytes", "bytes", "memory", frame, group, dict(zip(MEMORY_PARTS, looks, strict=True)), note
    )


def time(frame: pd.DataFrame, group: Group) -> Figure | None:
    """Return the time of a trial by part, as stacked bars."""
    looks = ("own", "hatch", "solid", "light")
    n = f" ({count_of(frame['n'])})" if len(frame) else ""
    note = f"Mean over trials without interruptions{n}. Times in tables and curves count training only."
    parts = dict(zip(TIME_PARTS, looks, strict=True))
    return _bars("Time breakdown", "seconds", "number", "seconds per trial", frame, group, parts, note)


def sensitivity(frame: pd.DataFrame, group: Group) -> list[Figure]:
    """Return one figure per hyperparameter: the last validation metric over the grid."""
    figures = []
    for name, own in frame.groupby("hyperparameter", sort=False) if len(frame) else ():
        metric = str(own["metric"].iloc[0])
        columns = {"x": "value", "y": "mean", "lo": "low", "hi": "high", "k": "n"}
        series = []
        for optimizer, rows in own.groupby("optimizer", sort=False):
            entry = group.named(clean(str(optimizer)))
            entry |= {key: numbers(rows[column]) for key, column in columns.items()}
            entry["own"] = number(rows["own"].iloc[0])
            if rows["basin_low"].notna().any():
                entry["basin"] = numbers(rows[["basin_low", "basin_high"]].iloc[0])
            series.append(entry)
        content = {"kind": "sweep", "format": format_of(metric), "x": clean(str(name)), "series": series}
        failures = int(own.drop_duplicates("optimizer")["failures"].sum())
        failed = (
            f" {failures} {'trial' if failures == 1 else 'trials'} {WORST}, and {'counts' if failures == 1 else 'count'} as the "
            "worst outcome."
            if failures
            else ""
        )
        interval = " with its 95 % t interval" if own["low"].notna().any() else ""
        basins = own["basin_low"].notna().any()
        thick = " Thick: within 1 point (or percent) of the entry's best value." if basins else ""
        ring = " Ring: the configured value." if own["own"].notna().any() else ""
        note = (
            f"Mean over seeds ({count_of(own['n'])}){interval}, at each value the best over the other swept hyperparameters."
            f"{thick}{ring}{failed}"
        )
        title = f"Sensitivity to {clean(str(name))}"
        figures.append(Figure(title, content | {"y": f"last validation {clean(metric)}"}, note))
    return figures


def maps(frame: pd.DataFrame, group: Group) -> list[Figure]:
    """Return one figure per pair of hyperparameters, with one panel per entry on a common scale."""
    figures = []
    for (x, y), own in frame.groupby(["x_name", "y_name"], sort=False) if len(frame) else ():
        metric = clean(str(own["metric"].iloc[0]))
        series = []
        for optimizer, cells in own.groupby("optimizer", sort=False):
            entry = group.named(clean(str(optimizer)))
            entry |= {key: numbers(cells[name]) for key, name in _MAP.items()}
            written = cells["own"].to_numpy(bool)
            series.append(entry | ({"own": int(written.argmax())} if written.any() else {}))
        content: dict[str, Any] = {"kind": "maps", "format": format_of(metric), "series": series}
        content |= {"x": clean(str(x)), "y": clean(str(y)), "higher": bool(own["higher"].iloc[0])}
        failed = f" †: trials there {WORST}, and count as the worst outcome." if own["failures"].any() else ""
        note = (
            f"Mean over seeds ({count_of(own['n'])}) of the last validation {metric}; hover over a cell for its 95 % t interval. "
            f"One scale for all entries: lighter is better. Frame: the configured value.{failed}"
        )
        title = f"Sensitivity to {content['x']} and {content['y']}: last validation {metric}"
        figures.append(Figure(title, content, note))
    return figures


def published(frame: pd.DataFrame, group: Group) -> list[Figure]:
    """Return one figure per kind of numeric claim, with one row per claim. `frame`: verdicts of one workload and source."""
    numeric = frame["kind"].isin(["numeric", "deterministic"])
    known = frame["measured"].notna() | frame["measured_low"].notna()
    figures = []
    for column, own in frame[numeric & known].groupby("column", sort=False):
        rows = [_claim(row, group) for row in own.to_dict("records")]
        title = TITLES[str(column)]
        content = {
            "kind": "claims",
            "format": "percent" if own["unit"].eq("fraction").all() else "number",
            "y": "multiple of the parameters' bytes" if column == "memory_overhead" else title,
            "rows": rows,
        }
        has_interval = any(
            row["lo"] is not None and row["hi"] is not None and row["lo"] < row["hi"] for row in rows
        )
        seeds = "" if column == "memory_overhead" else f" ({count_of(own['n'])})"
        seeds += ", with its 95 % interval where available" if seeds and has_interval else ""
        censored = (
            " Arrow: at most half of the seeds reached the target within the budget."
            if own["measured"].isna().any()
            else ""
        )
        source = clean(str(own["source"].iloc[0]))
        has_margin = any(row["margin"] for row in rows)
        published_by = (
            f"Diamond and shade: published by {source}, with the margin stated before the runs."
            if has_margin
            else f"Diamond: published by {source}."
        )
        mark = "Mark and line" if has_interval else "Mark"
        note = f"{published_by} {mark} below it: measured{seeds}.{censored}"
        figures.append(Figure(f"{CAPTION}: {title}", content, note))
    return figures


def _claim(row: dict[Any, Any], group: Group) -> dict[str, Any]:
    default = DETERMINISTIC_MARGIN if row["kind"] == "deterministic" else 0.0
    entry = clean(str(row["entry"]))
    longest = [name for name in group.places if name == entry or name.startswith(f"{entry} (")]
    return {
        "o": group.places[longest[-1]] if longest else 0,
        "n": clean(str(row["optimizer"])),
        "value": number(row["value"]),
        "margin": number(default if pd.isna(row["margin"]) else row["margin"]),
        "mean": number(row["measured"]),
        "lo": number(row["measured_low"]),
        "hi": number(row["measured_high"]),
        "k": 0 if row["column"] == "memory_overhead" else int(row["n"]),
        "verdict": str(row["verdict"]),
        "reason": clean(str(row["reason"])),
    }


def profile(frame: pd.DataFrame, group: Group) -> Figure | None:
    """Return the performance profile; None without data."""
    if frame.empty:
        return None
    series = []
    for optimizer, own in frame.groupby("optimizer", sort=False):
        units = {
            unit: {"x": numbers(rows["ratio"]), "y": numbers(rows["share"])}
            for unit, many in UNITS.items()
            if len(rows := own[own["unit"] == many])
        }
        series.append(group.named(clean(str(optimizer))) | {"u": units})
    return Figure(
        "Performance profile",
        {"kind": "profile", "format": "share", "y": "share of workloads", "series": series},
        f"Share of the {int(frame['workloads'].iloc[0])} workloads on which the time to target (median over seeds; "
        f"{int(frame['runs'].iloc[0])} trials in total) is within a multiple of the fastest entry's. Depends on the set of entries; "
        "bands of the scores are in the table.",
    )


def _bars(
    title: str,
    column: str,
    format: str,
    label: str,
    frame: pd.DataFrame,
    group: Group,
    looks: dict[str, str],
    note: str,
) -> Figure | None:
    there = set(frame.loc[frame[column] > 0, "part"])
    kinds = [part for part in looks if part in there]
    if not kinds:
        return None
    wide = frame.pivot(index="config_id", columns="part", values=column).reindex(columns=kinds)
    rows = [
        group.of(str(config)) | {"parts": numbers(wide.loc[config])}
        for config in dict.fromkeys(frame["config_id"])
    ]
    content = {"kind": "bars", "format": format, "y": label, "kinds": kinds, "rows": rows}
    return Figure(title, content | {"looks": [looks[kind] for kind in kinds]}, note)


def numbers(values: Iterable[Any]) -> list[float | int | None]:
    return [number(value) for value in values]


def number(value: Any) -> float | int | None:
    """Return the number rounded to five significant digits; None if it is unknown or not finite."""
    if value is None or pd.isna(value) or not math.isfinite(value):
        return None
    short = float(f"{float(value):.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def format_of(metric: str) -> str:
    return "percent" if is_share(metric) else "number"


def count_of(counts: Iterable[int] | Sequence[int]) -> str:
    """Return the number of seeds as text, such as "5 seeds" or "3 to 5 seeds"."""
    found = [int(count) for count in counts]
    least, most = (min(found), max(found)) if found else (0, 0)
    return f"{least} seed{'s' * (least != 1)}" if least == most else f"{least} to {most} seeds"
