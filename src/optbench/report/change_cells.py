"""Cells and columns of the tables of `optbench compare`."""

from __future__ import annotations

import math
from typing import Any

from optbench.analysis.gates import Judgement
from optbench.plurals import counted
from optbench.report.cells import Cell, Column, Record, text_column
from optbench.report.text import clean, count, in_percent, number, p_value

_TITLES = {
    "seconds_per_epoch": "seconds\nper epoch",
    "seconds_per_step": "seconds\nper step",
    "samples_per_second": "samples\nper second",
    "seconds_to_target": "seconds\nto target",
    "epochs_to_target": "epochs\nto target",
    "steps_to_target": "steps\nto target",
    "state_bytes": "optimizer\nstate",
    "step_peak_bytes": "peak inside\nthe step",
    "peak_memory_bytes": "peak\nmemory",
}
_METHODS = {
    "welch": "{0} and {1}, Welch",
    "exact": "equal in all seeds",
    "permutation": "{0} and {1}, permutation",
    "": "–",
}


def title_of(row: Record) -> str:
    if row["quantity"] == "final_metric":
        return f"final\n{clean(str(row['metric']))}" + (" (points)" if in_percent(row) else "")
    return _TITLES[row["quantity"]]


def change_cell(row: Record) -> Cell:
    """Return `slower +8.2 % (+5.1 to +11.3)`; the word and the mark only for significant changes."""
    if not row["method"] or math.isnan(row["change"]):
        return Cell("–")
    text = change_text(row).replace(" points", "")  # the column's title says so
    text = f"{row['word']} {text}" if row["word"] else text
    return Cell(text, bool(row["told_apart"]))


def change_text(row: Record) -> str:
    """Return the change with its interval, if there is one of a width above zero."""
    if row["change"] == row["low"] == row["high"] == 0:
        return "same"
    text = _size(row["change"], row)
    if math.isnan(row["low"]) or row["low"] == row["high"]:
        return text
    return f"{text} ({_bare(row['low'], row)} to {_bare(row['high'], row)})"


def _as_multiples(row: Record) -> bool:
    """Return whether the change and its interval are written as multiples, as percentages above 100 are hard to read."""
    return any(row[name] >= 1 for name in ("change", "low", "high"))


def change_columns(several_horizons: bool) -> tuple[Column, ...]:
    """Return the columns of the table with one row per entry and quantity."""
    horizon = (Column("horizon", lambda row: str(row["horizon"]), text=True),) if several_horizons else ()
    return (
        text_column("optimizer"),
        *horizon,
        Column("quantity", _quantity, text=True),
        Column("before", lambda row: _value(row["before"], row)),
        Column("after", lambda row: _value(row["after"], row)),
        Column("change", lambda row: change_text(row) if row["method"] else "–"),
        Column("p (Holm)", lambda row: p_value(row["p_holm"])),
        Column("compared", method_text, text=True),
        text_column("note"),
    )


def method_text(row: Record) -> str:
    if row["method"] == "paired":
        return counted(row["n_before"], "pair")
    return _METHODS[row["method"]].format(row["n_before"], row["n_after"])


def judgement_text(of: Judgement) -> str:
    """Return the reason of a gate's outcome: the quantity and its change, or what was missing."""
    if of.compared is None:
        return of.why
    row: dict[Any, Any] = vars(of.compared.change)
    said = f"{_quantity(row)} {change_text(row)}" if row["method"] else _quantity(row)
    limit = _size(of.gate.threshold, row).lstrip("+")
    if of.outcome == "not judged":
        return f"{_quantity(row)}: {clean(of.why)}"
    ends = {
        "failed": f"beyond {limit}, and so is the whole interval",
        "inconclusive": f"beyond {limit}, but the interval is not",
        "passed": f"within {limit}",
    }
    return f"{said}: {ends[of.outcome]}"


def _quantity(row: Record) -> str:
    if row["quantity"] == "final_metric":
        return f"final {clean(str(row['metric']))}"
    name = str(row["quantity"]).replace("_", " ")
    return f"{name} ({clean(str(row['target']))})" if row["target"] else name


def _size(value: float, row: Record) -> str:
    unit = " %" if row["ratio"] and not _as_multiples(row) else " points" if _points(row) else ""
    return _bare(value, row) + unit


def _bare(value: float, row: Record) -> str:
    if not row["ratio"]:
        if _points(row):
            return f"{100 * value:+z.2f}"
        return f"{'+' if value >= 0 else '-'}{number(abs(value))}"
    if math.isinf(value):
        return "from none" if value > 0 else "-100.0"
    return f"{1 + value:.3g}x" if _as_multiples(row) else f"{100 * value:+z.1f}"


def _points(row: Record) -> bool:
    return bool(row["quantity"] == "final_metric" and in_percent(row))


def _value(value: float, row: Record) -> str:
    if math.isnan(value):
        return "–"
    if _points(row):
        return f"{100 * value:z.2f} %"
    if str(row["quantity"]).endswith("_bytes"):
        return f"{value:,.0f}"
    return count(value) if str(row["quantity"]) in ("epochs_to_target", "steps_to_target") else number(value)
