"""Published statements: the measured value of each test with its interval, on the region in which the statement holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from optbench.analysis.statements import statements_frame
from optbench.report.colours import style
from optbench.report.figures import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.figures.published import SYMBOLS
from optbench.report.plots import Axis, Entry, Interval, Label, Mark, Panel, Plot, Points, Row
from optbench.report.statements import CAPTION, conditions, expected_text, measured_text, measurement
from optbench.report.text import clean


def drawings(material: Material) -> Iterator[Drawing]:
    frame = material.frame(statements_frame)
    measured = frame[frame["measured"].notna()]
    for suite, of_suite in measured.groupby("suite", sort=False):
        for place, (source, own) in enumerate(of_suite.groupby("source", sort=False)):
            stem = file_stem(
                "statements", str(suite) if material.several_suites else "", str(place + 1) if place else ""
            )
            own = own.assign(condition=[clean(text) for text in conditions(own)])
            names = list(dict.fromkeys(own["condition"]))
            entries = tuple(Entry(name, name, style(0)) for name in names)
            kinds = own.apply(lambda row: (measurement(row)[0], row["unit"]), axis=1)
            panels = tuple(
                _panel(kind, unit, of.to_dict("records"), names)
                for (kind, unit), of in own.groupby(kinds, sort=False)
            )
            notes = (
                "Shade: values for which the statement holds. Mark and line: measured, with its 95\u00a0% interval; then the verdict.",
            )
            plot = Plot(str(suite), CAPTION.lower(), notes, panels, entries, is_list=True)
            yield Drawing(stem, f"{CAPTION}: {source}", str(suite), plot)


def _panel(kind: str, unit: str, rows: list[dict[Any, Any]], names: list[str]) -> Panel:
    ends = [
        float(row[name])
        for row in rows
        for name in ("measured", "measured_low", "measured_high", "expected_low", "expected_high")
        if isfinite(row[name])
    ]
    low, high = min(ends), max(ends)
    pad = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - pad, high + pad
    places = [names.index(row["condition"]) for row in rows]
    marks = tuple(
        mark
        for place, (entry, row) in enumerate(zip(places, rows, strict=True))
        for mark in _marks(place, entry, row, low, high)
    )
    labelled = tuple(
        Row(entry, row["condition"], tuple(_facts(row))) for entry, row in zip(places, rows, strict=True)
    )
    format = {"fraction": "percent", "points": "points", "bytes": "bytes"}.get(unit, "number")
    title = f"{kind} ({unit})" if format == "number" and unit not in ("", "x") else kind
    return Panel(Axis(title, format, low, high), Axis(""), marks, title, labelled)


def _marks(place: int, entry: int, row: Mapping[Any, Any], low: float, high: float) -> Iterator[Mark]:
    yield Interval(max(row["expected_low"], low), min(row["expected_high"], high), place, look="shade")
    ends = float(row["measured_low"]), float(row["measured_high"])
    if isfinite(ends[0]) and ends[0] < ends[1]:
        yield Interval(ends[0], min(ends[1], high), place, entry)
    value = float(row["measured"])
    yield Points((value,), (float(place),), entry)
    yield Label(place, f"{SYMBOLS.get(row['verdict'], '')}{row['verdict']}", value)


def _facts(row: Mapping[Any, Any]) -> Iterator[tuple[str, str, str]]:
    yield "measured", measured_text(row), f"n = {row['n']}"
    yield "claimed", clean(expected_text(row)), ""
    yield "verdict", row["verdict"], clean(row["reason"])
