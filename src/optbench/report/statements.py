"""Table of published statements: one row per test, with its verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from optbench.report.cells import Cell, Column
from optbench.report.document import Block, Table
from optbench.report.published import verdict_notes
from optbench.report.text import clean, number

CAPTION = "Statements and measurements"


def statement_blocks(statements: pd.DataFrame) -> list[Block]:
    """Return one block per source. `statements`: the rows of one suite (`analysis.statements.statements_frame`)."""
    return [_block(table) for _, table in statements.groupby("source", sort=False)]


def _block(table: pd.DataFrame) -> Block:
    first = table.iloc[0]
    reasons = [reason for reason in dict.fromkeys(table["reason"]) if reason]
    several = table["workload"].nunique() > 1
    facts = [f"Source: {first['source']}{', ' + first['url'] if first['url'] else ''}"]
    facts += [f"protocol: {first['protocol']}" if first["protocol"] else ""]
    columns = (
        Column("statement", lambda row: Cell(clean(_statement(row))), text=True),
        *((Column("workload", lambda row: Cell(clean(row["workload"])), text=True),) if several else ()),
        *(
            (Column("condition", lambda row: Cell(clean(row["when"]) or "–"), text=True),)
            if any(table["when"])
            else ()
        ),
        Column("measured", lambda row: Cell(clean(_measurement(row))), text=True),
        Column("expected", lambda row: Cell(clean(row["expected"])), text=True),
        Column("result", lambda row: Cell(measured_text(row))),
        Column("verdict", lambda row: Cell(_verdict(row, reasons)), text=True),
    )
    rows = tuple(tuple(column.cell(row) for column in columns) for row in table.to_dict("records"))
    notes = (
        *(f"({n}) {clean(reason)}." for n, reason in enumerate(reasons, start=1)),
        *verdict_notes(table),
        "Results are means over seeds with a 95 % interval; differences and ratios are paired by seed, shares are of trials.",
    )
    return Block(
        heading="Statements",
        facts=clean("; ".join(fact for fact in facts if fact)),
        tables=(Table(CAPTION, columns, rows),),
        notes=notes,
        warnings=(),
        measured_on="",
    )


def _statement(row: Mapping[Any, Any]) -> str:
    return f"{row['claim']}: {row['says']}" if row["claim"] else str(row["says"])


def measurement(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Return what was measured, and of which trials ("" for all)."""
    name = str(row["quantity"]).replace("_", " ")
    kind = f", {row['measurement']}" if row["measurement"] != "value" else ""
    return f"{name}{kind}", str(row["trials"]) if row["trials"] != "all" else ""


def _measurement(row: Mapping[Any, Any]) -> str:
    kind, trials = measurement(row)
    return f"{kind} ({trials})" if trials else kind


def measured_text(row: Mapping[Any, Any]) -> str:
    """Return a measured value with its interval; "–" if there is none."""
    value, low, high = row["measured"], row["measured_low"], row["measured_high"]
    if math.isnan(value):
        return "–"
    if math.isnan(low) or low == high:
        return number(value, 3)
    return f"{number(value, 3)} ({number(low, 3)} to {number(high, 3) if math.isfinite(high) else 'unknown'})"


def _verdict(row: Mapping[Any, Any], reasons: list[str]) -> str:
    return f"{row['verdict']} ({reasons.index(row['reason']) + 1})" if row["reason"] else str(row["verdict"])
