"""Published statements: the measured value of each test with its interval, on the region in which the statement holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from optbench.report.colours import style
from optbench.report.figures import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.plots import Axis, Entry, Interval, Label, Mark, Panel, Plot, Points, Row, value_text
from optbench.report.statements import CAPTION, measurement
from optbench.report.text import clean

_SYMBOLS = {"reproduced": "✓ ", "contradicted": "✗ "}


def drawings(material: Material) -> Iterator[Drawing]:
    frame = material.statements
    measured = frame[frame["measured"].notna()]
    for suite, of_suite in measured.groupby("suite", sort=False):
        for place, (source, own) in enumerate(of_suite.groupby("source", sort=False)):
            stem = file_stem(
                "statements", str(suite) if material.several_suites else "", str(place + 1) if place else ""
            )
            rows: list[Any] = own.to_dict("records")
            names = list(dict.fromkeys(map(_name, rows)))
            entries = tuple(Entry(name, name, style(0)) for name in names)
            kinds = own.apply(lambda row: measurement(row)[0], axis=1)
            panels = tuple(
                _panel(str(kind), of.to_dict("records"), names) for kind, of in own.groupby(kinds, sort=False)
            )
            notes = (
                "Shade: values for which the statement holds. Mark and line: measured, with its 95\u00a0% interval; then the verdict.",
            )
            caption = f"{CAPTION}: {source}"
            yield Drawing(
                stem, caption, str(suite), Plot(str(suite), CAPTION.lower(), notes, panels, entries)
            )


def _name(row: Mapping[Any, Any]) -> str:
    parts = (row["claim"], row["when"] or row["trials"])
    return clean(": ".join(filter(None, parts)))


def _panel(kind: str, rows: list[dict[Any, Any]], names: list[str]) -> Panel:
    ends = [
        float(row[name])
        for row in rows
        for name in ("measured", "measured_low", "measured_high", "expected_low", "expected_high")
        if isfinite(row[name])
    ]
    low, high = min(ends), max(ends)
    pad = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - pad, high + pad
    marks = tuple(
        mark
        for place, row in enumerate(rows)
        for mark in _marks(place, names.index(_name(row)), row, low, high)
    )
    labelled = tuple(Row(names.index(_name(row)), _name(row), tuple(_facts(row))) for row in rows)
    return Panel(Axis(kind, "number", low, high), Axis(""), marks, kind, labelled)


def _marks(place: int, entry: int, row: Mapping[Any, Any], low: float, high: float) -> Iterator[Mark]:
    yield Interval(max(row["expected_low"], low), min(row["expected_high"], high), place, look="shade")
    ends = float(row["measured_low"]), float(row["measured_high"])
    if isfinite(ends[0]) and ends[0] < ends[1]:
        yield Interval(ends[0], min(ends[1], high), place, entry)
    value = float(row["measured"])
    yield Points((value,), (float(place),), entry)
    yield Label(place, f"{_SYMBOLS.get(row['verdict'], '')}{row['verdict']}", value)


def _facts(row: Mapping[Any, Any]) -> Iterator[tuple[str, str, str]]:
    low, high = float(row["measured_low"]), float(row["measured_high"])
    ends = (low, high) if isfinite(low) and isfinite(high) and low < high else ()
    yield "measured", value_text(float(row["measured"]), "number", *ends), f"n = {row['n']}"
    yield "claimed", clean(row["expected"]), ""
    yield "verdict", row["verdict"], clean(row["reason"])
