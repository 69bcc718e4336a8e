"""Table of published and measured values: one row per claim, with its verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from optbench.analysis.verdicts import WORDS
from optbench.report.cells import Column, text_column
from optbench.report.document import Block, Report, Section, Table
from optbench.report.text import clean, count, number, seconds

CAPTION = "Published and measured values"
TITLES = {
    "epochs_to_target": "epochs to target",
    "steps_to_target": "steps to target",
    "samples_to_target": "samples to target",
    "seconds_to_target": "seconds to target",
    "final_metric": "final metric",
    "memory_overhead": "memory overhead",
    "sensitivity": "sensitivity",
    "training_bytes": "memory",
    "seconds_per_update": "cost of an update",
    "loss_rises": "noise of the loss",
    "convergence": "convergence",
    "best_use": "best use",
}


#: second measure of a claim about sensitivity, after its title
MEASURES = {"rate_sensitivity": " (loss of score)"}


def published_blocks(verdicts: pd.DataFrame) -> list[Block]:
    """Return one block per workload and source. `verdicts`: the rows of one suite (`analysis.published.verdicts_frame`)."""
    several = verdicts["workload"].nunique() > 1
    groups = verdicts.groupby(["workload", "source"], sort=False)
    return [_block(table, f" on {workload}" if several else "") for (workload, _), table in groups]


def published_report(title: str, verdicts: pd.DataFrame) -> Report:
    """Return a report with the verdicts only."""
    blocks = tuple(published_blocks(verdicts))
    section = Section(clean(title), "", blocks)
    return Report((section,), verdicts, pd.DataFrame(columns=["suite", "workload", "kind", "message"]))


def _block(table: pd.DataFrame, on: str) -> Block:
    first = table.iloc[0]
    verdict, reasons = verdict_column(table)
    scope = f"measured there on {first['scope']}" if first["scope"] else ""
    columns = (
        text_column("optimizer"),
        Column("claim", _claim, text=True),
        Column("published", _published),
        Column("measured", _measured),
        verdict,
    )
    return Block(
        heading=f"Published{on}",
        facts=source_facts(first, scope, f"here: {first['measured_on']}"),
        tables=(Table.of(CAPTION, columns, table),),
        notes=(*reasons, *_notes(table)),
    )


def _claim(row: Mapping[Any, Any]) -> str:
    title = f"{TITLES[row['column']]}{MEASURES.get(row['measure'], '')}"
    return f"{title} %" if row["unit"] == "fraction" else title


def _published(row: Mapping[Any, Any]) -> str:
    margin = row["margin"]
    if math.isnan(margin) or not margin or row["kind"] not in ("numeric", "deterministic"):
        return clean(row["published"])
    if row["unit"] == "fraction":
        return f"{_share(row['value'])} ± {100 * margin:g}"
    return f"{clean(row['published'])} ± {margin:g}"


def _measured(row: Mapping[Any, Any]) -> str:
    if math.isnan(row["measured"]):
        return "–"
    column, low, high = row["column"], row["measured_low"], row["measured_high"]
    if column == "memory_overhead":
        return f"{row['measured']:.2f}x"
    if column == "training_bytes":  # counted
        return f"{number(row['measured'] / 1e3, 4)} kB"
    shown = None if row["measure"] == "rate_sensitivity" else _SHOWN.get(column)
    show, unit = shown or (_BY_UNIT.get(row["unit"], count), "")
    text = f"{show(row['measured'])}{unit}"
    if math.isnan(low):
        return text
    return f"{text} ({show(low)}–{show(high) if math.isfinite(high) else ''})"


def _share(value: float) -> str:
    return f"{100 * value:.2f}"


#: format of a measured value, and its unit
_SHOWN: dict[str, tuple[Callable[[float], str], str]] = {
    "seconds_to_target": (seconds, ""),
    "sensitivity": (lambda value: f"{value:.2f}", ""),
    "seconds_per_update": (lambda value: number(value * 1e3), " ms"),
    "loss_rises": (lambda value: number(100 * value), " % rising"),
}
_BY_UNIT: dict[str, Callable[[float], str]] = {"fraction": _share, "nats": lambda value: number(value, 4)}


def verdict_column(table: pd.DataFrame) -> tuple[Column, list[str]]:
    """Return the column of verdicts, with the number of the note that has the reason, and these notes."""
    reasons = [reason for reason in dict.fromkeys(table["reason"]) if reason]
    column = Column("verdict", lambda row: _verdict(row, reasons), text=True)
    return column, [f"({n}) {clean(reason)}." for n, reason in enumerate(reasons, start=1)]


def source_facts(first: pd.Series, *more: str) -> str:
    """Return source and protocol of the published rows of a table, of which `first` is the first, and further facts."""
    source = f"Source: {first['source']}{', ' + first['url'] if first['url'] else ''}"
    protocol = f"protocol: {first['protocol']}" if first["protocol"] else ""
    return clean("; ".join(filter(None, (source, *more[:1], protocol, *more[1:]))))


def _verdict(row: Mapping[Any, Any], reasons: list[str]) -> str:
    return f"{row['verdict']} ({reasons.index(row['reason']) + 1})" if row["reason"] else str(row["verdict"])


def verdict_notes(table: pd.DataFrame) -> list[str]:
    """Return the definitions of the verdicts in a table."""
    found = [word for word in WORDS if (table["verdict"] == word).any()]
    rule = {
        "reproduced": "Reproduced: the 95 % interval (of bytes, the value) lies within the margin, or the order is significant.",
        "contradicted": "Contradicted: the interval lies entirely outside, or the order is significantly reversed.",
        "no difference": "No difference: the interval of a claimed difference lies within the margin around 0.",
        "inconclusive": "Inconclusive: neither, or too few seeds.",
        "not tested here": "Not tested here: different data, model or budget, or not run.",
        "not testable as stated": "Not testable as stated: the claim names no quantity.",
    }
    return [" ".join(rule[word] for word in found)] if found else []


def _notes(table: pd.DataFrame) -> list[str]:
    notes = verdict_notes(table)
    if (table["kind"] == "ordering").any():
        notes.append(
            "Orders: each is one claim stated before the runs, tested at 5 % and not adjusted over other pairs, unlike the "
            "p values of the comparison tables."
        )
    if (table["column"] == "memory_overhead").any():
        notes.append(
            "Memory overhead: bytes of optimizer state over bytes of the parameters, after real steps."
        )
    measures = set(table.loc[table["measured"].notna(), "measure"])
    if "basin_width" in measures:
        notes.append("Measured sensitivity: width of the learning rate's basin in decades.")
    if "rate_sensitivity" in measures:
        notes.append("Loss of score: mean over three decades around the best learning rate.")
    return notes
