"""Tables of the final metric per horizon, with the shortest horizon that meets the target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from optbench.report.cells import Column
from optbench.report.document import Block, Table
from optbench.report.outcomes import WORST, worst_value_text
from optbench.report.text import Show, clean, in_percent, number, with_interval

Rows = Mapping[str, Mapping[Any, Any]]  # of one optimizer, by horizon


def horizon_blocks(table: pd.DataFrame) -> list[Block]:
    """Return one block per workload. `table`: the rows of one suite (`analysis.horizons.horizons_frame`)."""
    several = table["workload"].nunique() > 1
    return [
        _block(own, f" on {clean(str(workload))}" if several else "")
        for workload, own in table.groupby("workload", sort=False)
    ]


def _block(table: pd.DataFrame, on: str) -> Block:
    tables = []
    for target, own in table.groupby("target", sort=False):
        horizons = own.drop_duplicates("horizon").sort_values("length")["horizon"]
        columns = (
            Column("optimizer", _optimizer, text=True),
            *(Column(horizon, partial(_final, horizon)) for horizon in horizons),
            Column("shortest\n(mean)", partial(_shortest, "shortest")),
            Column("shortest\n(95 %)", partial(_shortest, "shortest_surely")),
        )
        entries = [of.set_index("horizon").to_dict("index") for _, of in own.groupby("optimizer", sort=False)]
        tables.append(Table.of(f"Final metric, target {clean(str(target))}", columns, entries))
    notes: tuple[str, ...] = (
        "Each horizon is a separate full run with its own schedule. Shortest (mean): the shortest horizon whose final metric on "
        "the test split meets the target in the mean over seeds; shortest (95 %): with its whole 95 % t interval.",
    )
    if table["imputed"].any():
        notes += (f"†: trials that {WORST} count as {worst_value_text(table)}.",)
    return Block(
        f"Horizons{on}",
        "Times to target are not comparable across horizons; final metrics are",
        tuple(tables),
        notes,
    )


def _optimizer(rows: Rows) -> str:
    return clean(str(next(iter(rows.values()))["optimizer"]))


def _final(horizon: str, rows: Rows) -> str:
    row = rows.get(horizon)
    if row is None or math.isnan(row["final_metric"]):
        return "–"
    show: Show = partial(number, digits=4)
    show_half: Show = partial(number, digits=2)
    if in_percent(row):
        show = show_half = lambda value: f"{100 * value:.1f}"
    low, high = row["final_metric_low"], row["final_metric_high"]
    text = with_interval(row["final_metric"], low, high, show, show_half)
    return text + (" †" if row["imputed"] else "")


def _shortest(name: str, rows: Rows) -> str:
    return next((horizon for horizon, row in rows.items() if row[name]), "none")
