"""Formatting of numbers and names."""

from __future__ import annotations

import math
from collections.abc import Callable

from optbench.analysis.rows import is_share as is_share  # for the whole report
from optbench.console import clean as clean

#: a number as text
Show = Callable[[float], str]


def number(value: float, digits: int = 3) -> str:
    """Return `digits` significant digits, without an exponent from 1e-4 to 1e7; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    rounded = abs(
        float(f"{value:.{digits - 1}e}")
    )  # 99.97 takes as many decimals as the 100 that it is shown as
    decimals = max(0, digits - 1 - math.floor(math.log10(rounded)))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text and decimals > digits - 1 else text


def seconds(value: float, of: float | None = None) -> str:
    """Return one decimal from 1 to 100, none above, two below 1, four below 0.01; with the decimals for `of` if given."""
    if math.isnan(value):
        return "–"
    size = abs(value if of is None else of)
    decimals = 0 if size >= 99.95 else 1 if size >= 0.995 else 2 if size >= 0.00995 else 4
    return f"{value:.{decimals}f}"


def count(value: float) -> str:
    """Return a count such as epochs, with up to two decimals and no trailing zeros."""
    return "–" if math.isnan(value) else f"{value:.2f}".rstrip("0").rstrip(".")


def p_value(p: float) -> str:
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def with_interval(mean: float, low: float, high: float, show: Show, show_half: Show | None = None) -> str:
    """Return "98.7 ± 0.4", or "99.8 (99.1–100.0)" for an interval that is cut at an end of the metric's range, or is open."""
    if math.isnan(mean):
        return "–"
    if math.isnan(low) or low == high:
        return show(mean)
    if math.isinf(high):
        return show(mean) if show(low) == show(mean) else f"{show(mean)} ({show(low)}–)"
    if abs((high - mean) - (mean - low)) > 1e-9 * max(abs(low), abs(high)):
        return f"{show(mean)} ({show(low)}–{show(high)})"
    return f"{show(mean)} ± {(show_half or show)((high - low) / 2)}"
