"""Curves over time as data for the page, thinned to limit its size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from optbench.analysis.thinning import kept
from optbench.report.outcomes import WORST
from optbench.report.page.entries import Group
from optbench.report.page.figures import UNITS, Figure, count_of, format_of, number, numbers
from optbench.report.text import clean

#: maximum of numbers in all curves of a page; with more, curves are thinned
NUMBERS = 90_000
#: minimum points of a thinned curve, and maximum points that a screen can resolve
LEAST_POINTS, MOST_POINTS = 24, 400
_CLOCKS = {"epoch": "epoch", "step": "step", "seconds": "train_seconds", "gradients": "gradient_evaluations"}
_ROOM = {"train_loss": "Training loss", "learning_rate": "Learning rate", "gradient_norm": "Gradient norm"}
_ROOM |= {
    "gradient_norm_median": "Gradient norm, median since the last evaluation",
    "gradient_norm_max": "Gradient norm, maximum since the last evaluation",
}


def curves(
    frame: pd.DataFrame, table: pd.DataFrame, group: Group, most: int
) -> tuple[list[Figure], list[Figure]]:
    """Return the figures of metrics, which share one place, and of training loss, learning rate and gradient norm.

    `most`: maximum points per curve.
    """
    metrics: list[Figure] = []
    others: list[Figure] = []
    for (metric, split), own in frame.groupby(["metric", "split"], sort=False):
        if metric == "learning_rate" and own["median"].nunique() == 1:
            continue  # a constant is in the suite file
        target = table[table["target"].str.startswith(f"{split} {metric} ")] if split else table[:0]
        figure = _curve_figure(str(metric), str(split), own, target, group, most)
        (others if metric in _ROOM else metrics).append(figure)
    first = str(table["metric"].iloc[0]) if len(table) else ""
    metrics.sort(
        key=lambda figure: (figure.content["metric"] != first, figure.content["split"] != "validation")
    )
    return metrics, others


def points_for(frame: pd.DataFrame) -> int:
    """Return the points per curve with which all curves of the page stay within `NUMBERS`."""
    found = len(frame.drop_duplicates(["config_id", "metric", "split"])) if len(frame) else 1
    return max(LEAST_POINTS, min(MOST_POINTS, NUMBERS // (3 * max(found, 1))))


def _curve_figure(
    metric: str, split: str, own: pd.DataFrame, table: pd.DataFrame, group: Group, most: int
) -> Figure:
    series, clocks, thinned = [], [], 0
    for config, rows in own.groupby("config_id", sort=False):
        facts = table[table["config_id"] == config]
        passages = {float(value) for value in facts["steps_to_target"].dropna()}
        always = [int(np.searchsorted(rows["step"].to_numpy(), step)) for step in passages]
        places = kept(rows["median"].to_numpy(dtype=float), most, always)
        thinned += len(places) < len(rows)
        rows = rows.iloc[places]
        clock = {unit: numbers(rows[column]) for unit, column in _CLOCKS.items()}
        clocks.append({unit: values for unit, values in clock.items() if any(v is not None for v in values)})
        entry = group.of(str(config)) | {"c": clocks[-1], "y": numbers(rows["median"])}
        if rows["low"].notna().any() and not rows["low"].equals(rows["high"]):
            entry |= {"lo": numbers(rows["low"]), "hi": numbers(rows["high"])}
        counts = [int(n) for n in rows["n"]]
        entry["k"] = counts[0] if len(set(counts)) == 1 else counts
        marks = [mark for record in facts.to_dict("records") if (mark := _mark(record)) is not None]
        if marks:
            entry["marks"] = marks
        series.append(entry)
    targets = [float(text.rsplit(" ", 1)[1]) for text in dict.fromkeys(table["target"])]
    lost = int(own.groupby("config_id")["lost"].max().sum())
    bands = [band for band in dict.fromkeys(own["band"]) if band]
    band = {"range": "band: range over seeds", "10-90 %": "band: 10 % to 90 % of the seeds"}
    parts = [
        f"Median over seeds ({count_of(own['seeds'])})" if bands else "One seed",
        *(band[each] for each in bands),
        "marks: median time to the target" if any("marks" in entry for entry in series) else "",
        f"{lost} {'seed' if lost == 1 else 'seeds'} {WORST} and {'is' if lost == 1 else 'are'} missing after that"
        if lost
        else "",
        f"thinned to at most {most} evaluations per curve, with extremes kept" if thinned else "",
    ]
    shown = _ROOM.get(metric) or f"{split} {clean(metric)}".strip().capitalize()
    content = {
        "kind": "lines",
        "metric": metric,
        "split": split,
        "y": shown[0].lower() + shown[1:],
        "format": format_of(metric),
        "targets": targets,
        "series": series,
    }
    return Figure(shown, content, "; ".join(part for part in parts if part) + ".")


def _mark(record: dict[Any, Any]) -> dict[str, Any] | None:
    """Return the median time to the target in every unit."""
    found = {unit: number(record.get(f"{many}_to_target")) for unit, many in UNITS.items()}
    known = {unit: value for unit, value in found.items() if value is not None}
    return known | {"y": float(str(record["target"]).rsplit(" ", 1)[1])} if known else None
