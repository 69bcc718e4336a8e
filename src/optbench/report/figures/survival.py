"""Kaplan-Meier curves: share of seeds that have not reached the target, with a pointwise band."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy.typing as npt
import pandas as pd

from optbench.analysis.survival import survival_frame
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Group, Material, file_stem
from optbench.report.figures._lines import x_range
from optbench.report.outcomes import WORST
from optbench.report.plots import TIMES, Axis, Line, Mark, Panel, Plot, Points, seeds_text

_OF_CURVES = ("time", "at_risk", "survival", "low", "high")  # columns that marks are drawn from


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        survival = group.of(material.frame(survival_frame))
        for number, target in enumerate(group.targets, start=1):
            own = survival[survival["target"] == str(target)]
            own = own[own["unit"].isin([unit for _, unit, _ in TIMES.values()])]
            if len(own) and (own["events"] > 0).any():
                name = file_stem("survival", f"target{number}" if len(group.targets) > 1 else "", group.stem)
                yield _drawing(name, group, str(target), own)


def _drawing(name: str, group: Group, target: str, survival: pd.DataFrame) -> Drawing:
    entries = group.entries_in(survival)
    places = {entry.key: place for place, entry in enumerate(entries)}
    by_time = {time: survival[survival["unit"] == unit] for time, (_, unit, _) in TIMES.items()}
    by_time = {time: own for time, own in by_time.items() if len(own)}
    panels = []
    for time, own in by_time.items():
        x = x_range(own.groupby("config_id")["time"].max(), float(own.loc[own["time"] > 0, "time"].min()) / 2)
        columns = {name: own[name].to_numpy() for name in _OF_CURVES}
        rows = sorted(own.groupby("config_id", sort=False).indices.items(), key=lambda item: item[1][0])
        marks = [
            mark
            for key, here in rows
            for mark in _marks(
                places[str(key)], {name: values[here] for name, values in columns.items()}, x.low
            )
        ]
        panels.append(
            Panel(
                Axis(TIMES[time][2], "number", x.low, x.high, x.log),
                Axis("share not at target", "share", -0.03, 1.03),
                tuple(marks),
                time=time,
                in_files=time != "step" or "epoch" not in by_time,
            )
        )
    notes = tuple(_notes(survival, next(iter(by_time.values()))))
    plot = Plot(group.title, f"time to {target}", notes, tuple(panels), entries)
    caption = f"Share of seeds of {group.title} that have not reached {target} (Kaplan-Meier)"
    return Drawing(name, caption, group.suite.name, plot, group.heading)


def _marks(place: int, curve: Mapping[str, npt.NDArray[Any]], start: float) -> Iterator[Mark]:
    """Yield the marks of one entry. `curve`: the columns of its rows, as arrays because there may be thousands of curves."""
    has_band = not pd.isna(curve["low"]).all()
    nan = float("nan")
    yield Line(
        place,
        (start, *curve["time"].tolist()),
        (1.0, *curve["survival"].tolist()),
        (nan, *curve["low"].tolist()) if has_band else (),
        (nan, *curve["high"].tolist()) if has_band else (),
        (int(curve["at_risk"][0]), *curve["at_risk"].astype(int).tolist()),
        "at risk",
        steps=True,
    )
    end = (curve["survival"] > 0) & (curve["time"] == curve["time"].max())
    if end.any():
        yield Points(tuple(curve["time"][end].tolist()), tuple(curve["survival"][end].tolist()), place, "|")


def _notes(survival: pd.DataFrame, own: pd.DataFrame) -> Iterator[str]:
    of = own.groupby("config_id")
    seeds = of["at_risk"].max()
    counts = survival.groupby(["config_id", "unit"])["at_risk"].max()
    yield f"Kaplan-Meier, {seeds_text(counts)} per entry; markers: evaluations at which seeds reached the target."
    if survival["low"].notna().any():
        yield "Band: 95\u00a0%, pointwise (log-log)."
    missed = int((seeds - of["events"].sum()).sum())
    if missed:
        yield (
            f"Vertical ticks: censored at the budget, as are trials that {WORST}: {missed} of {int(seeds.sum())} trials."
        )
