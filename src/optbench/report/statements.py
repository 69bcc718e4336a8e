"""Table of published statements: one row per test, with its verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from optbench.report.cells import Column, text_column
from optbench.report.document import Block, Table
from optbench.report.published import source_facts, verdict_column, verdict_notes
from optbench.report.text import amount, clean

CAPTION = "Statements and measurements"
#: quantities whose names need more words
_NAMES = {
    "state_multiple": "optimizer state over parameters",
    "loss_rises": "share of updates whose loss rises",
    "clipped_steps": "share of steps that are clipped",
    "reached": "share of runs that reach the target",
    "completed": "share of runs that complete",
    "diverged": "share of runs that diverge",
    "failed_to_train": "share of runs that fail",
    "rate_drops": "drops of the learning rate",
    "gradient_variance_start": "variance of the gradient",
    "gradient_variance_end": "variance of the gradient",
    "gradient_norm_first": "gradient norm of the first steps",
    "gradient_norm_growth": "growth of the gradient norm",
    "gradient_norm_max": "largest gradient norm",
    "gradient_evaluations_to_target": "passes to the minimum",
    "embedding_norm_max": "largest norm of a row",
    "flops_per_update": "operations per update",
    "training_bytes": "bytes of parameters, gradients, state and activations",
    "peak_memory_bytes": "peak memory of a GPU",
}


def statement_blocks(statements: pd.DataFrame) -> list[Block]:
    """Return one block per source. `statements`: the rows of one suite (`analysis.statements.statements_frame`)."""
    return [_block(table) for _, table in statements.groupby("source", sort=False)]


def _block(table: pd.DataFrame) -> Block:
    verdict, reasons = verdict_column(table)
    several = table["workload"].nunique() > 1
    columns = (
        Column(
            "statement",
            lambda row: clean(f"{row['claim']}: {row['says']}" if row["claim"] else str(row["says"])),
            text=True,
        ),
        *((text_column("workload"),) if several else ()),
        *(
            (Column("condition", lambda row: clean(row["when"]) or "–", text=True),)
            if any(table["when"])
            else ()
        ),
        Column("measured", lambda row: clean(_measurement(row)), text=True),
        Column("expected", lambda row: clean(expected_text(row)), text=True),
        Column("result", measured_text),
        verdict,
    )
    notes = (
        *reasons,
        *verdict_notes(table),
        "Results are means over seeds with a 95 % interval; differences and ratios are paired by seed, shares are of trials.",
    )
    return Block(
        heading="Statements",
        facts=source_facts(table.iloc[0]),
        tables=(Table.of(CAPTION, columns, table),),
        notes=notes,
    )


def conditions(statements: pd.DataFrame) -> list[str]:
    """Return the condition of each test: in words, or the trials; with claim, workload and trials where tests would be equal without."""
    texts = pd.Series(
        [row["when"] or row["trials"] for row in statements.to_dict("records")],
        statements.index,
        dtype=object,
    )
    names = statements["claim"] if statements["claim"].nunique() > 1 else pd.Series("", statements.index)
    for column in ("workload", "trials", "against"):
        repeated = pd.DataFrame({"claim": names, "text": texts}).duplicated(keep=False)
        several = repeated & (statements.groupby([names, texts], sort=False)[column].transform("nunique") > 1)
        prefixes = statements[column].map(lambda value: f"{value}, " if value else "")
        texts = texts.mask(several, prefixes + texts)
    return [": ".join(filter(None, pair)) for pair in zip(names, texts, strict=True)]


def measurement(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Return what was measured, in words, and of which trials ("" for all)."""
    trials = str(row["trials"]) if row["trials"] != "all" else ""
    name, kind = _name(row), str(row["measurement"])
    if found := re.fullmatch(r"(\w+), largest (\w+)", kind):
        reached = _NAMES[row["quantity"]].removeprefix("share of runs that ")
        words = f"largest {found[2]} at which runs {reached}"
        return words if found[1] == "value" else f"{words}, {found[1]}", trials
    if found := re.fullmatch(r"share above (\S+) for (.*)", kind):
        return f"share of runs with {name} above {found[1]} that are {found[2]}", trials
    words = (
        kind.replace("between values of", "over")
        .replace("for not reached", "for missing the target")
        .replace("_", " ")
    )
    return name if kind == "value" else f"{name}, {words}", trials


def _name(row: Mapping[Any, Any]) -> str:
    """Return the name of a quantity in words: `final accuracy`, `mean validation distance`."""
    name = str(row["quantity"])
    if row["metric"]:
        name = name.replace("_metric", f" {row['metric']}")
    words = _NAMES.get(name) or name.replace(".", " ").replace("_", " ")
    return re.sub(r"\b(rmse|mae|mase)\b", lambda found: found[0].upper(), words)


def _measurement(row: Mapping[Any, Any]) -> str:
    kind, trials = measurement(row)
    return f"{kind} ({trials})" if trials else kind


def measured_text(row: Mapping[Any, Any]) -> str:
    """Return a measured value with its unit and interval, differences with their sign; "–" if there is none."""
    is_difference = str(row["measurement"]).startswith("difference")
    ends = float(row["measured_low"]), float(row["measured_high"])
    return amount(float(row["measured"]), str(row["unit"]), *ends, is_signed=is_difference)


def expected_text(row: Mapping[Any, Any]) -> str:
    """Return what is claimed with its unit: `at least 16x`, `above clip=norm 1 (no difference: ± 1 point)`."""
    unit, margin, comparison = str(row["unit"]), float(row["margin"]), str(row["comparison"])
    within = f"± {amount(margin, unit)}" if margin > 0 else ""
    if comparison in ("above", "below"):
        return f"{comparison} {row['against'] or 'all'}" + (f" (no difference: {within})" if within else "")
    if comparison == "same_as":
        return f"same as {row['against'] or 'all'} {within}"
    if comparison == "equals":
        return f"{amount((row['expected_low'] + row['expected_high']) / 2, unit)} {within}"
    bound = row["expected_low"] if comparison == "at_least" else row["expected_high"]
    return f"{comparison.replace('_', ' ')} {amount(float(bound), unit)}"
