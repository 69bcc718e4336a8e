"""Panels of curves over training, and the ranges of their axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from optbench.report.plots import FEW, TIMES, Axis, Entry, Line, Mark, Panel, Points, seeds_text

#: an axis is logarithmic where what it has to show spans more than this
_SPAN = 12.0
#: the first part of a curve that an axis need not show
_START = 0.15
_OF_CURVES = ("median", "low", "high", "n", "worst", "lost")  # columns that marks are drawn from


@dataclass(frozen=True)
class XRange:
    """Range of an x axis: from 0, or logarithmic if one entry's run is many times as long as another's."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Return how far along the axis a value is, from 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def x_range(ends: pd.Series, start: float) -> XRange:
    """Return the range for runs with these `ends`; `start`: the minimum of all values."""
    least, most = float(ends.min()), float(ends.max())
    if least > 0 and most / least > _SPAN and start > 0:
        return XRange(start, most * 1.05, True)
    return XRange(0.0, most * 1.02 if most > 0 else 1.0, False)


def times_of(curves: pd.DataFrame) -> list[str]:
    """Return the units of time that the curves have."""
    return [
        time for time, (column, _, _) in TIMES.items() if column in curves and curves[column].notna().any()
    ]


def curve_panels(
    curves: pd.DataFrame,
    entries: Sequence[Entry],
    y: Axis,
    *,
    title: str = "",
    note: str = "",
    only_lead: bool = False,
    more: Callable[[str, XRange], Sequence[Mark]] = lambda time, along: (),
) -> Iterator[Panel]:
    """Yield one panel per unit of time, of the rows of `analysis.curves.curves_frame` of one series.

    `only_lead`: files show only epochs (steps without epochs). `more`: further marks of the panel of a unit.
    """
    times = times_of(curves)
    for time in times:
        column, _, label = TIMES[time]
        known = curves[curves[column].notna()]
        along = x_range(known.groupby("config_id")[column].max(), float(known[column].min()))
        marks: list[Mark] = []
        columns = {name: known[name].to_numpy() for name in {column, *_OF_CURVES}}
        places = known.groupby("config_id", sort=False).indices
        for place, entry in enumerate(entries):
            if entry.key in places:
                here = places[entry.key]
                marks += _curve(place, {name: values[here] for name, values in columns.items()}, column)
        shown = time == times[0] if only_lead else time != "step" or "epoch" not in times
        yield Panel(
            Axis(label, "number", along.low, along.high, along.log),
            y,
            (*marks, *more(time, along)),
            title,
            time=time,
            in_files=shown,
            note=note,
        )


def _curve(place: int, own: Mapping[str, npt.NDArray[Any]], column: str) -> Iterator[Mark]:
    """Yield the marks of one entry. `own`: the columns of its curve, as arrays because there may be thousands of curves."""
    has_band = not pd.isna(own["low"]).all()
    yield Line(
        place,
        tuple(own[column].tolist()),
        tuple(own["median"].tolist()),
        tuple(own["low"].tolist()) if has_band else (),
        tuple(own["high"].tolist()) if has_band else (),
        tuple(own["n"].astype(int).tolist()),
    )
    if (own["worst"] > 0).any():
        fewer = np.flatnonzero(own["lost"] > 0)
        first = fewer[0] if len(fewer) else -1
        yield Points((float(own[column][first]),), (float(own["median"][first]),), place, "x")


def y_axis(
    curves: pd.DataFrame, label: str, format: str, levels: Sequence[float] = (), decades: float = math.inf
) -> tuple[Axis, bool]:
    """Return an axis that shows all curves after their first part and all `levels` (targets), and whether values lie outside.

    Logarithmic if what it has to show spans a large ratio, over at most this many decades; percentages never are.
    """
    few = curves["config_id"].nunique() <= FEW
    first = curves.groupby("config_id")["step"].transform("max") * _START
    later = curves[curves["step"] >= first][["median", "low", "high"] if few else ["median"]]
    values = later.to_numpy(float).ravel()
    values = np.concatenate([values[np.isfinite(values)], list(levels)])
    whole = curves["median"].to_numpy(float)
    low, high = float(values.min()), float(values.max())
    if format == "number" and low > 0 and max(high, whole.max()) / low > _SPAN:
        high = max(high, float(whole.max())) * 1.3
        low = max(low / 1.3, high / 10**decades)
        return Axis(label, format, low, high, True), bool(whole.min() < low)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    return Axis(label, format, low, high), bool(whole.min() < low or whole.max() > high)


def band_note(curves: pd.DataFrame) -> str:
    """Return the note that explains lines and bands."""
    seeds = seeds_text(curves.groupby("config_id")["n"].max())
    kinds: Any = [kind for kind in dict.fromkeys(curves["band"]) if kind]
    if not kinds:
        return f"{seeds} per entry; no band."
    words = {"range": "minimum to maximum", "10-90 %": "10 to 90 % quantiles"}
    return f"Lines: median of {seeds}; band: {' or '.join(words[kind] for kind in kinds)}."
