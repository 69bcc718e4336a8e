"""Blocks about tuning: what was selected, what it cost, and how much the selection flatters it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from pydantic import BaseModel

from optbench.report.cells import Column, text_column
from optbench.report.document import Block, Table
from optbench.report.text import Show, clean, in_percent, number, seconds
from optbench.suite.protocols import protocol
from optbench.suite.quoting import as_text
from optbench.suite.tuning import TIME_TO_TARGET, Tuning

CAPTION = "Tuning"
_SHOWN_AT = (1, 3, 5, 10, 20, 50)  # numbers of trials at which the expected best is shown


def tuning_blocks(tuning: pd.DataFrame, inclusions: pd.DataFrame) -> list[Block]:
    """Return one block per workload. `tuning`: the rows of one suite (`analysis.tuning.tuning_frame`); `inclusions`: its entries that are
    worse than their special cases (`analysis.inclusions.inclusions_frame`).
    """
    several = tuning["workload"].nunique() > 1
    return [
        _block(table, inclusions[inclusions["workload"] == name], str(name) if several else "")
        for name, table in tuning.groupby("workload", sort=False)
    ]


def _block(table: pd.DataFrame, inclusions: pd.DataFrame, workload: str) -> Block:
    metric, show = metric_name(str(table["metric"].iloc[0])), _number
    if in_percent(table.iloc[0]):
        metric, show = f"{metric} %", _percent
    several_studies = bool(table["study"].max() > 1)
    most = int(table["trials"].max())
    shown = [k for k in _SHOWN_AT if k <= most and k < most] + [most]
    columns = (
        text_column("optimizer"),
        *([Column("study", lambda row: str(row["study"]))] if several_studies else []),
        Column("trials", _trials),
        Column("selected", lambda row: _settings(row["best"]), text=True),
        Column(f"tuned {metric}", lambda row: show(row["tuned"])),
        Column("fresh", lambda row: show(row["fresh"])),
        Column("optimism", lambda row: show(row["optimism"])),
        Column("diverged", lambda row: str(row["diverged"])),
        Column("epochs", lambda row: number(row["tuning_epochs"], 3)),
        Column("seconds", lambda row: seconds(row["tuning_seconds"])),
    )
    by_budget = (
        text_column("optimizer"),
        *([Column("study", lambda row: str(row["study"]))] if several_studies else []),
        *(
            Column(f"{k} trial{'s' * (k != 1)}", lambda row, k=k: _expected(row, k, show))  # type: ignore[misc]
            for k in shown
        ),
    )
    records = table.to_dict("records")
    tables = [Table.of(CAPTION, columns, records)]
    if any(row["expected_best"] for row in records):
        caption = f"Expected best {metric} by number of tuning trials"
        tables.append(Table.of(caption, by_budget, records))
    return Block(
        heading=f"Tuning{f' on {clean(workload)}' if workload else ''}",
        facts="",
        tables=tuple(tables),
        notes=tuple(_notes(table)),
        warnings=(*_warnings(table), *_too_small(inclusions)),
    )


def protocol_text(tuning: Tuning, seeds: int) -> str:
    """Return the published protocol of the tuning, and which of its keys the suite overrides; "" without one."""
    if tuning.protocol is None:
        return ""
    published = protocol(tuning.protocol)
    changes = [
        f"{key} {_value(own)} instead of {_value(theirs)}" for key, (theirs, own) in tuning.overrides.items()
    ]
    if published.seeds is not None and seeds != published.seeds:
        changes.append(f"{seeds} seeds instead of {published.seeds}")
    text = f"Protocol: {published.title} ({published.source})"
    if changes:
        text += f", with {', '.join(changes)}"
    return f"{text}. Differences: {published.differs}."


def _value(value: Any) -> str:
    return as_text(value.model_dump() if isinstance(value, BaseModel) else value)


def metric_name(metric: str) -> str:
    """Return the name of the metric of selection, as tables and figures show it."""
    return "steps to target" if metric == TIME_TO_TARGET else clean(metric)


def _trials(row: Mapping[Any, Any]) -> str:
    missing = row["trials"] - row["complete"]
    text = str(row["trials"]) if not missing else f"{row['complete']} of {row['trials']}"
    return f"{text}, {row['pruned']} pruned" if row["pruned"] else text


def _settings(point: Mapping[str, Any]) -> str:
    return clean(", ".join(f"{name}={as_text(value)}" for name, value in point.items())) or "–"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else number(value, 4)


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


def _expected(row: Mapping[Any, Any], k: int, show: Show) -> str:
    curve = row["expected_best"]
    return show(curve[k - 1]) if k <= len(curve) else "–"


def _notes(table: pd.DataFrame) -> Iterator[str]:
    by_time = bool((table["metric"] == TIME_TO_TARGET).all())
    means = (
        "the number of steps to the target on the validation split"
        if by_time
        else "the validation metric at the end of training"
    )
    yield (
        f"Selected: the best trial by {means}; the test split is never used. Tuned: its {'steps' if by_time else 'metric'}, with "
        "the seed of tuning. Fresh: the mean over the seeds of the suite, which tuning did not use. Optimism: by how much tuned is better."
    )
    if table["pruned"].any():
        yield (
            "Pruned: trials that were not continued, since others were better after a part of the budget. Epochs and seconds are those "
            "that were trained, including the first part of the trials that were continued, which start again."
        )
    if any(map(len, table["expected_best"])):
        yield "Expected best: after so many of the trials in random order, by the unbiased estimator of Tang et al. 2020 (2004.13705)."


def _warnings(table: pd.DataFrame) -> Iterator[str]:
    for row in table[table["edge"] != ""].to_dict("records"):
        yield f"the best setting of {_name(row, table)} is at the {clean(row['edge'])} of its space: widen the space and run again"
    if table["trials"].nunique() > 1 or table["complete"].nunique() > 1:
        yield "the entries have different numbers of tuning trials"
    if table["dimensions"].nunique() > 1:
        of_entry = table.drop_duplicates("optimizer")
        sizes = ", ".join(
            f"{clean(row['optimizer'])} {row['dimensions']}" for row in of_entry.to_dict("records")
        )
        yield f"the entries have different numbers of search spaces, so that the same number of trials covers them differently: {sizes}"
    lost = table[(table["complete"] == table["trials"]) & table["best_trial"].isna()]
    for row in lost.to_dict("records"):
        consequence = "its seeds are missing" if table["study"].max() > 1 else "it has no row in the table"
        yield f"no tuning trial of {_name(row, table)} trained: {consequence}"


def _too_small(inclusions: pd.DataFrame) -> Iterator[str]:
    for row in inclusions.to_dict("records"):
        yield (
            f"the search space of {clean(row['general'])} or its number of trials is too small: it is significantly worse than "
            f"{clean(row['special'])}, which is its special case with {row['how']} (Choi et al. 2019, 1910.05446)"
        )


def _name(row: Mapping[Any, Any], table: pd.DataFrame) -> str:
    """Return the name of the entry, with the number of the study if there are several."""
    label = clean(row["optimizer"])
    return f"{label} (study {row['study']})" if table["study"].max() > 1 else label
