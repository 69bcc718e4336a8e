"""Metric over the first swept hyperparameter (the learning rate) with each entry's basin."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from optbench.analysis.sensitivity import MARGINS
from optbench.analysis.sweep_curves import sweep_curves_frame
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.outcomes import WORST
from optbench.report.plots import FEW, Axis, Interval, Line, Mark, Panel, Plot, Points, format_of, seeds_text
from optbench.report.text import clean, in_percent, with_unit


def drawings(material: Material) -> Iterator[Drawing]:
    for (suite, workload), sweeps in material.frame(sweep_curves_frame).groupby(
        ["suite", "workload"], sort=False
    ):
        names = dict.fromkeys(sweeps["optimizer"])
        entries = tuple(material.entry(str(suite), name) for name in names)
        metric, name = str(sweeps["metric"].iloc[0]), str(sweeps["hyperparameter"].iloc[0])
        marks: list[Mark] = []
        lane = 0
        for place, entry in enumerate(entries):
            own = sweeps[sweeps["optimizer"] == entry.key]
            marks.append(_line(place, own))
            if own["basin_low"].notna().any():
                marks += _basin(place, own.iloc[0], lane)
                lane += 1
        means, few = sweeps["mean"], len(entries) <= FEW
        ends = pd.concat([means, sweeps["low"], sweeps["high"]]).dropna() if few else means
        span = float(means.max() - means.min()) or 1.0
        low = max(float(ends.min()), float(means.min()) - span / 2) - 0.06 * span
        high = min(float(ends.max()), float(means.max()) + span / 2) + 0.06 * span
        x = Axis(
            "learning rate" if name.split(".")[-1] == "lr" else clean(name),
            log=bool((sweeps["value"] > 0).all()),
        )
        unit = str(sweeps["metric_unit"].iloc[0])
        y = Axis(with_unit(f"validation {metric}", unit), format_of(unit), low, high)
        plot = Plot(
            clean(str(workload)),
            f"sensitivity to {clean(name)}",
            tuple(_notes(sweeps, metric)),
            (Panel(x, y, tuple(marks)),),
            entries,
        )
        yield Drawing(
            file_stem("sensitivity", material.stem(str(suite), str(workload))),
            f"Validation {metric} of {workload} over {name}, with basins",
            str(suite),
            plot,
            material.heading(str(suite), str(workload)),
            is_main=True,
        )


def _line(place: int, own: pd.DataFrame) -> Line:
    has_band = own["low"].notna().any()
    low, high = (tuple(own[end].tolist()) if has_band else () for end in ("low", "high"))
    counts = tuple(own["n"].astype(int).tolist())
    return Line(place, tuple(map(float, own["value"])), tuple(own["mean"].tolist()), low, high, counts)


def _basin(place: int, first: pd.Series, lane: int) -> Iterator[Mark]:
    yield Interval(float(first["basin_low"]), float(first["basin_high"]), lane, place, "bar", above=True)
    if first["own"] == first["own"]:
        yield Points((float(first["own"]),), (float(lane),), place, above=True)


def _notes(sweeps: pd.DataFrame, metric: str) -> Iterator[str]:
    yield (
        f"Mean of {seeds_text(sweeps['n'])}, last validation {metric}, at each value the best over the other swept hyperparameters."
    )
    if sweeps["low"].notna().any():
        yield "Band: 95\u00a0% t interval."
    if sweeps["basin_low"].notna().any():
        within = f"{100 * MARGINS['width_1']:g} {'point' if in_percent(sweeps.iloc[0]) else '%'}"
        own = "; marker: the configured value" if sweeps["own"].notna().any() else ""
        yield f"Bars above the frame: each entry's basin, within {within} of its best mean{own}."
    failures = int(sweeps.drop_duplicates("optimizer")["failures"].sum())
    if failures:
        yield f"{failures} trial{'s' * (failures != 1)} {WORST} and count{'s' * (failures == 1)} as the worst outcome."
