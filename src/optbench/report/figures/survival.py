"""Kaplan-Meier curves: share of seeds that have not reached the target, with a pointwise band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.report.figures import Drawing
from optbench.report.figures._groups import Group, Material, file_stem, seeds_text
from optbench.report.figures._lines import FEW
from optbench.report.figures._sheet import DOUBLE, SINGLE, Entry, line_handles, plain_log, sheet, strokes
from optbench.report.outcomes import WORST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SPAN = 12.0
_UNITS = ("epochs", "steps", "seconds", "gradient_evaluations")


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        survival = group.of(material.survival)
        for number, target in enumerate(group.targets, start=1):
            own = survival[(survival["target"] == str(target)) & survival["unit"].isin(_UNITS)]
            if len(own) and (own["events"] > 0).any():
                name = file_stem("survival", f"target{number}" if len(group.targets) > 1 else "", group.stem)
                yield _drawing(name, group, str(target), own)


def _drawing(name: str, group: Group, target: str, survival: pd.DataFrame) -> Drawing:
    columns = ["config_id", "unit", "time", "at_risk", "events", "survival", "low", "high"]
    content = (f"{group.title}: time to {target}", survival[columns], group.entries_in(survival))
    caption = f"Share of seeds of {group.title} that have not reached {target} (Kaplan-Meier)"
    return Drawing(name, caption, group.suite.name, draw, content)


def draw(title: str, survival: pd.DataFrame, entries: Sequence[Entry]) -> Figure:
    known_units = [unit for unit in _UNITS if (survival["unit"] == unit).any()]
    units = [unit for unit in known_units if unit != "steps" or "epochs" not in known_units]
    size = (DOUBLE if len(units) > 1 else SINGLE, 1.9)
    banded = len(entries) <= FEW and survival["low"].notna().any()
    figure, panels = sheet(
        title,
        list(_notes(survival, units[0], entries, banded=bool(banded))),
        line_handles(entries, size[0] - 0.8),
        panels=len(units),
        size=size,
    )
    for axes, unit in zip(panels, units, strict=True):
        own = survival[survival["unit"] == unit]
        _draw(axes, own, entries, banded=bool(banded))
        axes.set_xlabel(f"{unit} of training" if unit == "seconds" else unit.replace("_", " "))
        axes.set_ylim(-0.03, 1.03)
        if axes is panels[0]:
            axes.set_ylabel("share not at target")
        else:
            axes.tick_params(axis="y", labelleft=False)
    return figure


def _draw(axes: Axes, survival: pd.DataFrame, entries: Sequence[Entry], *, banded: bool) -> None:
    ends = survival.groupby("config_id")["time"].max()
    first = survival.loc[survival["time"] > 0, "time"].min()
    is_log = bool(ends.min() > 0 and ends.max() / ends.min() > _SPAN)
    start = float(first) / 2 if is_log else 0.0
    for place, entry in enumerate(entries):
        own = survival[survival["config_id"] == entry.key]
        if own.empty:
            continue
        at = np.array([start, *own["time"]])
        height = np.array([1.0, *own["survival"]])
        look = strokes(entry.style, place) | {"drawstyle": "steps-post", "zorder": 3}
        axes.plot(at, height, markevery=np.flatnonzero(np.diff(height, prepend=1.0)).tolist(), **look)
        if banded:
            corners = np.repeat(at, 2)[1:]  # each band from its moment to the next
            low, high = (np.repeat([np.nan, *own[end]], 2)[:-1] for end in ("low", "high"))
            axes.fill_between(corners, low, high, color=entry.style.light, alpha=0.1, linewidth=0)
        censored = own[(own["survival"] > 0) & (own["time"] == own["time"].max())]
        axes.plot(
            censored["time"],
            censored["survival"],
            linestyle="none",
            marker="|",
            markersize=7,
            markeredgewidth=1.2,
            color=entry.style.light,
            zorder=4,
        )
    if is_log:
        axes.set_xscale("log")
        axes.set_xlim(start, float(ends.max()) * 1.05)
        plain_log(axes.xaxis)
    else:
        axes.set_xlim(0, float(ends.max()) * 1.02)


def _notes(survival: pd.DataFrame, unit: str, entries: Sequence[Entry], *, banded: bool) -> Iterator[str]:
    own = survival[survival["unit"] == unit]
    of = own.groupby("config_id")
    seeds = of["at_risk"].max()
    counts = survival.groupby(["config_id", "unit"])["at_risk"].max()
    yield f"Kaplan-Meier, {seeds_text(counts)} per entry; markers: evaluations at which seeds reached the target."
    if banded:
        yield "Band: 95\u00a0%, pointwise (log-log)."
    missed = int((seeds - of["events"].sum()).sum())
    if missed:
        yield (
            f"Vertical ticks: censored at the budget, as are trials that {WORST}: {missed} of {int(seeds.sum())} trials."
        )
    if len(entries) > FEW:
        yield f"Bands are omitted for more than {FEW} entries."
