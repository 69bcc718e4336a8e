"""Metric over the first swept hyperparameter (the learning rate) with each entry's basin; a map where two are swept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optbench.analysis.sensitivity import MARGINS
from optbench.report.colours import Style
from optbench.report.figures import Drawing
from optbench.report.figures._groups import Material, file_stem, seeds_text
from optbench.report.figures._lines import FEW
from optbench.report.figures._sheet import (
    FAINT,
    INK,
    SINGLE,
    SMALL_SIZE,
    Entry,
    line_handles,
    plain_log,
    sheet,
    strokes,
)
from optbench.report.figures._text import width
from optbench.report.outcomes import WORST
from optbench.report.text import clean, is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LANE = 0.1  # inches, of a basin below the curves


def drawings(material: Material) -> Iterator[Drawing]:
    for (suite, workload), own in material.sweeps.groupby(["suite", "workload"], sort=False):
        stem = _stem(material, own, str(suite), str(workload))
        looks = material.styles_of(str(suite))
        entries = tuple(
            Entry(name, clean(name), _style(looks, name)) for name in dict.fromkeys(own["optimizer"])
        )
        content = (f"{workload}: sensitivity", own.drop(columns=["suite", "workload"]), entries)
        name = str(own["hyperparameter"].iloc[0])
        caption = f"Validation {own['metric'].iloc[0]} of {workload} over {name}, with basins"
        yield Drawing(file_stem("sensitivity", stem), caption, str(suite), draw, content, main=True)
    for (suite, workload, optimizer), own in material.grids.groupby(
        ["suite", "workload", "optimizer"], sort=False
    ):
        stem = _stem(material, own, str(suite), str(workload))
        frame = own.drop(columns=["suite", "workload", "optimizer"])
        caption = f"Validation {own['metric'].iloc[0]} of {optimizer} on {workload} over two hyperparameters"
        yield Drawing(
            file_stem("map", stem, str(optimizer)),
            caption,
            str(suite),
            draw_map,
            (f"{workload}: {optimizer}", frame),
        )


def draw(title: str, sweeps: pd.DataFrame, entries: Sequence[Entry]) -> Figure:
    metric = str(sweeps["metric"].iloc[0])
    scale = 100.0 if is_share(metric) else 1.0
    lanes = [
        entry for entry in entries if sweeps.loc[sweeps["optimizer"] == entry.key, "basin_low"].notna().any()
    ]
    strip = _LANE * len(lanes) + 0.06 if lanes else 0.0
    figure, (axes,) = sheet(
        title, list(_notes(sweeps, entries, metric)), line_handles(entries, 2.3), size=(SINGLE, 1.9 + strip)
    )
    positive = bool((sweeps["value"] > 0).all())
    for place, entry in enumerate(entries):
        own = sweeps[sweeps["optimizer"] == entry.key]
        axes.plot(own["value"], scale * own["mean"], zorder=3, **strokes(entry.style, place))
        if len(entries) <= FEW and own["low"].notna().any():
            ends = (scale * own["low"], scale * own["high"])
            axes.fill_between(own["value"], *ends, color=entry.style.light, alpha=0.13, linewidth=0)
    means = scale * sweeps["mean"]
    low, high = float(means.min()), float(means.max())
    span = (high - low) or 1.0
    # One lane per entry below the curves, in the same coordinates, so that basins do not overlap.
    share = strip / (1.9 + strip)
    floor = low - 0.06 * span
    top = high + 0.06 * span
    bottom = floor - (top - floor) * share / (1 - share)
    axes.set_ylim(bottom, top)
    if positive:
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    _lanes(axes, sweeps, lanes, bottom, floor)
    axes.set_yticks([tick for tick in axes.get_yticks() if floor <= tick <= top])
    axes.set_ylabel(f"validation {metric}" + (" (%)" if scale == 100.0 else ""))
    name = str(sweeps["hyperparameter"].iloc[0])
    axes.set_xlabel("learning rate" if name.split(".")[-1] == "lr" else clean(name))
    return figure


def _lanes(axes: Axes, sweeps: pd.DataFrame, lanes: Sequence[Entry], bottom: float, floor: float) -> None:
    if not lanes:
        return
    axes.axhline(floor, color=FAINT, linewidth=0.5)
    each = (floor - bottom) / len(lanes)
    for place, entry in enumerate(lanes):
        own = sweeps[sweeps["optimizer"] == entry.key].iloc[0]
        at = floor - (place + 0.5) * each
        ends = [own["basin_low"], own["basin_high"]]
        # a basin of a single value is as wide as the line's cap
        cap = "butt" if own["basin_high"] > own["basin_low"] else "projecting"
        axes.plot(ends, [at, at], color=entry.style.light, linewidth=4, alpha=0.45, solid_capstyle=cap)
        if own["own"] == own["own"]:
            axes.plot([own["own"]], [at], marker=entry.style.marker, color=entry.style.light, zorder=4)


def draw_map(title: str, grid: pd.DataFrame) -> Figure:
    from matplotlib.patches import Rectangle

    first = grid.iloc[0]
    metric = str(first["metric"])
    scale = 100.0 if is_share(metric) else 1.0
    table = grid.pivot(index="y", columns="x", values="mean").sort_index() * scale
    shape = table.shape
    note = f"Mean of {seeds_text(grid['n'])} of the last validation {metric}{' (%)' if scale == 100.0 else ''}; lighter is better."
    if grid["own"].any():
        note += " Frame: the configured value."
    if grid["failures"].any():
        note += f" †: trials there {WORST}, and count as the worst outcome."
    figure, (axes,) = sheet(
        title, [note], size=(SINGLE, max(0.8, min(6.0, 0.28 * shape[0]))), left=0.62, right=0.1
    )
    shade = "cividis" if first["higher"] else "cividis_r"
    axes.imshow(table.to_numpy(float), origin="lower", aspect="auto", cmap=shade)
    axes.grid(visible=False)
    values = [f"{value:g}" for value in table.columns]
    widest = max(width(value, SMALL_SIZE + 0.5) for value in values) + 0.06
    every = ceil(widest / ((SINGLE - 0.72) / shape[1]))
    axes.set_xticks(range(0, shape[1], every), values[::every])
    axes.set_yticks(range(shape[0]), [f"{value:g}" for value in table.index])
    axes.set_xlabel(clean(str(first["x_name"])))
    axes.set_ylabel(clean(str(first["y_name"])))
    if shape[1] <= 9:
        failures = grid.pivot(index="y", columns="x", values="failures").sort_index().to_numpy(float)
        _numbers(axes, table, failures, higher=bool(first["higher"]))
    for row in grid[grid["own"]].to_dict("records"):
        corner = (list(table.columns).index(row["x"]) - 0.5, list(table.index).index(row["y"]) - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=1.4, clip_on=False))
    return figure


def _numbers(axes: Axes, table: pd.DataFrame, failures: Any, *, higher: bool) -> None:
    values = table.to_numpy(float)
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if value == value:
                light = (value > middle) == higher
                ink = "#111111" if light else "#ffffff"
                shown = f"{value:.3g}{'†' if failures[y][x] else ''}"
                axes.text(x, y, shown, ha="center", va="center", fontsize=SMALL_SIZE, color=ink)


def _notes(sweeps: pd.DataFrame, entries: Sequence[Entry], metric: str) -> Iterator[str]:
    yield f"Mean of {seeds_text(sweeps['n'])}, last validation {metric}."
    if len(entries) <= FEW and sweeps["low"].notna().any():
        yield "Band: 95\u00a0% t interval."
    if sweeps["basin_low"].notna().any():
        within = f"{100 * MARGINS['width_1']:g} {'point' if is_share(metric) else '%'}"
        own = "; marker: the configured value" if sweeps["own"].notna().any() else ""
        yield f"Bars below: each entry's basin, within {within} of its best mean{own}."
    failures = int(sweeps.drop_duplicates("optimizer")["failures"].sum())
    if failures:
        yield f"{failures} trial{'s' * (failures != 1)} {WORST} and count{'s' * (failures == 1)} as the worst outcome."


def _stem(material: Material, own: pd.DataFrame, suite: str, workload: str) -> str:
    frame: Any = material.sweeps
    several = frame.loc[frame["suite"] == suite, "workload"].nunique() > 1
    return file_stem(suite if material.several_suites else "", workload if several else "")


def _style(looks: Mapping[str, Style], name: str) -> Style:
    """Return the style of an entry; one with several horizons in the timed table gets that of its first."""
    return looks.get(name) or next(look for key, look in looks.items() if key.startswith(name))
