"""Formatting of numbers and names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from optbench.console import clean as clean
from optbench.suite.metric_facts import FRACTION

if TYPE_CHECKING:
    import pandas as pd

#: a number as text
Show = Callable[[float], str]
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))


def in_percent(row: Mapping[Any, Any] | pd.Series[Any]) -> bool:
    """Return whether the metric of a row of a frame is shown in percent."""
    return bool(row["metric_unit"] == FRACTION)


def with_unit(metric: str, unit: str) -> str:
    """Return `elbo (nats)`; a metric without unit, or in percent, as it is."""
    return clean(metric if unit in ("", FRACTION) else f"{metric} ({unit})")


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
    return f"{value:z.{decimals}f}"


def count(value: float) -> str:
    """Return a count such as epochs, with up to two decimals and no trailing zeros."""
    return "–" if math.isnan(value) else f"{value:z.2f}".rstrip("0").rstrip(".")


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


def byte_unit(largest: float) -> tuple[float, str]:
    """Return the unit in which `largest` bytes are shown: its size in bytes, and its name."""
    return next((size, name) for size, name in _BYTES if largest >= size or size == 1.0)


def amount(
    value: float, unit: str, low: float = math.nan, high: float = math.nan, *, is_signed: bool = False
) -> str:
    """Return a value with its unit, and its interval if it has one: `+4.7 points (1.2 to 8.3)`, `2x`, `1.5 ms`.

    `unit`: "fraction" (shown in percent), "points" (a difference of fractions), "seconds", "bytes", "x", "" or any other word. The width
    of the interval determines the decimals; without one, there are three significant digits. A dash for NaN.
    """
    if math.isnan(value):
        return "–"
    has_ends = not math.isnan(low) and not math.isnan(high) and low != high
    factor, name = _shown_unit(unit, max(abs(each) for each in (value, low, high) if math.isfinite(each)))
    half = factor * (high - low) / 2 if has_ends and math.isfinite(high) else math.nan
    decimals = min(6, max(0, 1 - math.floor(math.log10(half)))) if half > 0 else None

    def show(number_: float) -> str:
        if math.isinf(number_):
            return "unknown"
        text = _plain(factor * number_) if decimals is None else f"{factor * number_:.{decimals}f}"
        text = text.removeprefix("-") if not text.strip("-0.") else text
        return f"+{text}" if is_signed and number_ > 0 and text.strip("0.") else text

    shown = show(value) + (
        name.removesuffix("s") if name == " points" and show(value) in ("1", "+1", "-1") else name
    )
    return f"{shown} ({show(low)} to {show(high)})" if has_ends else shown


def _plain(value: float) -> str:
    """Return three significant digits, one below 0.0001, without trailing zeros and without an exponent."""
    if value == 0:
        return "0"
    decimals = max(0, (2 if abs(value) >= 1e-4 else 0) - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shown_unit(unit: str, largest: float) -> tuple[float, str]:
    """Return the factor of the numbers shown and their unit, with the space before it."""
    if unit == "fraction":
        return 100.0, " %"
    if unit == "points":
        return 100.0, " points"
    if unit == "seconds":
        return (
            (1.0, " s")
            if largest >= 0.1 or not largest
            else (1e3, " ms")
            if largest >= 1e-4
            else (1e6, " µs")
        )
    if unit == "bytes":
        size, name = byte_unit(largest)
        return 1 / size, f" {name}"
    return 1.0, unit if unit == "x" else f" {unit}".rstrip()
