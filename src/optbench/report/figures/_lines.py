"""Curves over training with bands and markers, and the ranges of their axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optbench.report.figures._sheet import Entry, plain_log, strokes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: with more entries bands and marks would hide each other
FEW = 8
#: an axis is logarithmic where what it has to show spans more than this
_SPAN = 12.0
#: the first part of a curve that an axis need not show
_START = 0.15

TITLES = {"epoch": "epochs", "step": "steps", "train_seconds": "seconds of training"}
TITLES |= {"gradient_evaluations": "gradient evaluations"}


def lead(curves: pd.DataFrame) -> str:
    """Return the column of the x axis: epochs, or steps if an imported log has no epochs."""
    return "epoch" if curves["epoch"].notna().any() else "step"


def draw_curves(
    axes: Axes, curves: pd.DataFrame, entries: Sequence[Entry], x: str, scale: float = 1.0
) -> None:
    """Draw the rows of `analysis.curves.curves_frame` of one series; `scale` is 100 for percent."""
    for place, entry in enumerate(entries):
        own = curves[(curves["config_id"] == entry.key) & curves[x].notna()]
        if own.empty:
            continue
        at, middle = own[x].to_numpy(float), scale * own["median"].to_numpy(float)
        every = max(1, len(own) // 5)
        marks = (min(place % every, len(own) - 1), every)
        axes.plot(at, middle, markevery=marks, zorder=3, **strokes(entry.style, place))
        if len(entries) <= FEW and own["low"].notna().any():
            low, high = scale * own["low"].to_numpy(float), scale * own["high"].to_numpy(float)
            axes.fill_between(at, low, high, color=entry.style.light, alpha=0.13, linewidth=0, zorder=2)
        if own["worst"].max() > 0:
            fewer = own[own["lost"] > 0]
            first = fewer.iloc[0] if len(fewer) else own.iloc[-1]
            axes.plot(
                [first[x]],
                [scale * first["median"]],
                marker="x",
                markersize=6,
                markeredgewidth=1.2,
                color=entry.style.light,
                zorder=5,
            )


def set_x(axes: Axes, curves: pd.DataFrame, x: str) -> None:
    """Set the x axis: from 0, or logarithmic if one entry's run is many times as long as another's."""
    low, high, is_log = x_range(curves, x)
    axes.set_xlabel(TITLES[x])
    if is_log:
        axes.set_xscale("log")
    axes.set_xlim(low, high)
    if is_log:
        plain_log(axes.xaxis)


def x_range(curves: pd.DataFrame, x: str) -> tuple[float, float, bool]:
    """Return both ends of the axis, and whether it is logarithmic."""
    known = curves[curves[x].notna()]
    ends = known.groupby("config_id")[x].max()
    start = float(known[x].min())
    least, most = float(ends.min()), float(ends.max())
    if least > 0 and most / least > _SPAN and start > 0:
        return start, most * 1.05, True
    return 0.0, most * 1.02 if most > 0 else 1.0, False


@dataclass(frozen=True)
class Range:
    """Range of a y axis. `cuts`: some early values lie outside of it."""

    low: float
    high: float
    is_log: bool
    cuts: bool

    def set(self, axes: Axes) -> None:
        if self.is_log:
            axes.set_yscale("log")
        axes.set_ylim(self.low, self.high)
        if self.is_log:
            plain_log(axes.yaxis)


def y_range(curves: pd.DataFrame, scale: float, levels: Sequence[float] = (), *, log: bool) -> Range:
    """Return a range with all curves after their first part and all `levels` (targets); `log` allows a logarithmic axis."""
    few = curves["config_id"].nunique() <= FEW
    first = curves.groupby("config_id")["step"].transform("max") * _START
    later = curves[curves["step"] >= first][["median", "low", "high"] if few else ["median"]]
    values = scale * later.to_numpy(float).ravel()
    values = np.concatenate([values[np.isfinite(values)], list(levels)])
    whole = scale * curves["median"].to_numpy(float)
    low, high = float(values.min()), float(values.max())
    if log and low > 0 and max(high, whole.max()) / low > _SPAN:
        return Range(low / 1.3, max(high, float(whole.max())) * 1.3, True, False)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    return Range(low, high, False, bool(whole.min() < low or whole.max() > high))


def band_note(curves: pd.DataFrame, entries: int) -> str:
    """Return the note that explains lines and bands."""
    from optbench.report.figures._groups import seeds_text

    seeds = seeds_text(curves.groupby("config_id")["n"].max())
    kinds: Any = [kind for kind in dict.fromkeys(curves["band"]) if kind]
    if not kinds:
        return f"{seeds} per entry; no band."
    words = {"range": "minimum to maximum", "10-90 %": "10 to 90 % quantiles"}
    band = "band: " + " or ".join(words[kind] for kind in kinds)
    if entries > FEW:
        band = f"bands are omitted for more than {FEW} entries"
    return f"Lines: median of {seeds}; {band}."
