"""Published and measured values: each numeric claim with its margin, and the measured value with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.plots import (
    UNITS,
    Axis,
    Entry,
    Interval,
    Label,
    Mark,
    Panel,
    Plot,
    Points,
    Row,
    seeds_text,
    value_text,
)
from optbench.report.published import CAPTION, TITLES
from optbench.report.text import clean
from optbench.suite.published import DETERMINISTIC_MARGIN

_COLUMNS = (
    "final_metric",
    "memory_overhead",
    *(f"{unit}_to_target" for unit in ("epochs", "steps", "samples", "seconds")),
)
#: before the verdicts
SYMBOLS = {"reproduced": "✓ ", "contradicted": "✗ "}


def drawings(material: Material) -> Iterator[Drawing]:
    verdicts = material.verdicts
    if verdicts is None or verdicts.empty:
        return
    numeric = verdicts[
        verdicts["value"].notna() & (verdicts["measured"].notna() | verdicts["measured_low"].notna())
    ]
    numeric = numeric[numeric["column"].isin(_COLUMNS)]
    numeric = numeric.assign(
        margin=numeric["margin"].mask(
            numeric["kind"] == "deterministic", numeric["margin"].fillna(DETERMINISTIC_MARGIN)
        )
    )
    for (suite, workload, source), own in numeric.groupby(["suite", "workload", "source"], sort=False):
        several = numeric.loc[numeric["suite"] == suite, "workload"].nunique() > 1
        sources = numeric.loc[(numeric["suite"] == suite) & (numeric["workload"] == workload), "source"]
        place = list(dict.fromkeys(sources)).index(source) + 1
        stem = file_stem(
            "published",
            str(suite) if material.several_suites else "",
            str(workload) if several else "",
            str(place) if sources.nunique() > 1 else "",
        )
        labels = dict(zip(own["optimizer"], own["entry"], strict=True))
        entries = tuple(material.entry(str(suite), name, label) for name, label in labels.items())
        panels = tuple(_panel(str(column), of, entries) for column, of in own.groupby("column", sort=False))
        plot = Plot(str(workload), CAPTION.lower(), tuple(_notes(str(source), own)), panels, entries)
        caption = f"{CAPTION} on {workload}: {source}"
        yield Drawing(stem, caption, str(suite), plot, source=(str(workload), str(source)))


def _panel(column: str, verdicts: pd.DataFrame, entries: tuple[Entry, ...]) -> Panel:
    format = "percent" if verdicts["unit"].eq("fraction").all() else "number"
    rows: list[Row] = []
    marks: list[Mark] = []
    for place, entry in enumerate(entries):
        own: list[Any] = verdicts[verdicts["optimizer"] == entry.key].to_dict("records")
        rows.append(Row(place, entry.name, tuple(fact for row in own for fact in _facts(row, format))))
        marks += (mark for row in own for mark in _marks(place, row))
    title = TITLES[column] + (" (x)" if column == "memory_overhead" else "")
    return Panel(Axis(title, format), Axis(""), tuple(marks), title, tuple(rows))


def _marks(place: int, row: Mapping[str, Any]) -> Iterator[Mark]:
    value, margin, measured = (float(row[name]) for name in ("value", "margin", "measured"))
    low, high = float(row["measured_low"]), float(row["measured_high"])
    below = place + 0.2
    if margin > 0:
        yield Interval(value - margin, value + margin, place, look="shade")
    yield Points((value,), (place - 0.1,), marker="D", is_open=True)
    if isfinite(low) and isfinite(high):
        yield Interval(low, high, below, place)
    reached = isfinite(measured)
    at = measured if reached else low
    yield Points((at,), (below,), place, "" if reached else ">")
    verdict = str(row["verdict"])
    yield Label(place, f"{SYMBOLS.get(verdict, '')}{verdict}", at)


def _facts(row: Mapping[str, Any], format: str) -> Iterator[tuple[str, str, str]]:
    factor, unit = UNITS[format]
    margin, measured, low, high = (
        float(row[name]) for name in ("margin", "measured", "measured_low", "measured_high")
    )
    yield (
        "published",
        value_text(float(row["value"]), format),
        f"± {factor * margin:g} {unit}".strip() if margin > 0 else "",
    )
    seeds = "" if row["column"] == "memory_overhead" else seeds_text([row["n"]])
    if measured == measured:
        ends = (low, high) if isfinite(low) and isfinite(high) and low < high else ()
        yield "measured", value_text(measured, format, *ends), seeds
    else:
        yield "measured", f"not reached by half of the seeds within {value_text(low, format)}", seeds
    yield "verdict", str(row["verdict"]), clean(str(row["reason"]))


def _notes(source: str, verdicts: pd.DataFrame) -> Iterator[str]:
    if (verdicts["margin"] > 0).any():
        yield f"Diamond and shade: published by {source}, with the margin stated before the runs."
    else:
        yield f"Diamond: published by {source}."
    trained = verdicts[(verdicts["n"] > 0) & (verdicts["column"] != "memory_overhead")]
    seeds = f" ({seeds_text(trained['n'])})" if len(trained) else ""
    widths = (verdicts["measured_high"] - verdicts["measured_low"]).astype(float)
    if (np.isfinite(widths) & (widths > 0)).any():
        yield f"Mark and line below: measured{seeds}, with its 95\u00a0% interval where available; then the verdict."
    else:
        yield f"Mark below: measured{seeds}; then the verdict."
    if (verdicts["column"] == "memory_overhead").any():
        yield "Memory is measured once."
    if verdicts["measured"].isna().any():
        yield "Arrow: at most half of the seeds reached the target within the budget."
