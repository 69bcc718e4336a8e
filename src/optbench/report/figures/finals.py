"""Final metric: one dot per seed, with the mean and its 95 % interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from optbench.analysis.finals import finals_frame
from optbench.report.cells import none_worse, separates_entries
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Group, Material, file_stem
from optbench.report.outcomes import WORST, worst_text, worst_value_text
from optbench.report.plots import (
    Axis,
    Interval,
    Label,
    Mark,
    Panel,
    Plot,
    Points,
    Row,
    format_of,
    seeds_text,
    value_text,
)
from optbench.report.text import clean, with_unit

_ESTIMANDS = {
    "last": "test split, last weights",
    "best_validation": "test split, weights with the best validation metric",
    "last_validation": "validation split, last evaluation",
    "last_train": "training split, last evaluation",
}
#: a percentage far from all measured values is not shown for the sake of a long interval
_FAR = 0.3


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        finals = group.of(material.frame(finals_frame))
        if not finals["imputed"].all():
            table = group.of(material.table).drop_duplicates("config_id")
            yield _drawing(group, finals, table)


def _drawing(group: Group, finals: pd.DataFrame, table: pd.DataFrame) -> Drawing:
    metric, unit = str(finals["metric"].iloc[0]), str(table["metric_unit"].iloc[0])
    format = format_of(unit)
    entries = group.entries_in(finals)
    comparable = len(group.workloads) == 1
    separates = comparable and separates_entries(table, "best_group")
    by_entry = dict(tuple(finals.groupby("config_id")))
    summaries: Any = {row["config_id"]: row for row in table.to_dict("records")}
    rows: list[Row] = []
    marks: list[Mark] = []
    for place, entry in enumerate(entries):
        summary, own = summaries[entry.key], by_entry[entry.key]
        is_top = separates and summary["best_group"] is True
        rows.append(Row(place, clean(entry.name), tuple(_facts(own, summary, format)), is_top))
        marks += _marks(place, own[~own["imputed"]], summary)
    measured = finals.loc[~finals["imputed"], "value"]
    ends = pd.concat([measured, table["final_metric_low"], table["final_metric_high"]]).dropna()
    low, high = float(ends.min()), float(ends.max())
    if format == "percent":
        low, high = max(low, float(measured.min()) - _FAR), min(high, float(measured.max()) + _FAR, 1.0)
    pad = 0.06 * (high - low) or 0.02 * abs(high) or 1.0
    x = Axis(f"final {with_unit(metric, unit)}", format, low - pad, high + pad)
    notes = tuple(
        _notes(str(table["estimand"].iloc[0]), finals, table, comparable=comparable, separates=separates)
    )
    plot = Plot(
        group.title,
        f"final {clean(metric)}",
        notes,
        (Panel(x, Axis(""), tuple(marks), rows=tuple(rows)),),
        entries,
    )
    caption = f"Final {metric} of {group.title}, one dot per seed"
    return Drawing(
        file_stem("finals", group.stem), caption, group.suite.name, plot, group.heading, is_main=True
    )


def _marks(place: int, measured: pd.DataFrame, summary: dict[str, Any]) -> Iterator[Mark]:
    low, high = float(summary["final_metric_low"]), float(summary["final_metric_high"])
    if low == low:
        yield Interval(low, high, place)
    shifts = [place + 0.11 * (number % 3 - 1) for number in range(len(measured))]
    yield Points(tuple(measured["value"].tolist()), tuple(shifts), place)
    if not summary["imputed"]:
        yield Points((float(summary["final_metric"]),), (float(place),), marker="|")
    if ended := worst_text(summary):
        yield Label(place, f"◂ {ended}")


def _facts(own: pd.DataFrame, summary: dict[str, Any], format: str) -> Iterator[tuple[str, str, str]]:
    mean, low, high = (float(summary[f"final_metric{end}"]) for end in ("", "_low", "_high"))
    if mean == mean:
        name = f"mean, {worst_text(summary)} counted as worst" if summary["imputed"] else "mean"
        yield name, value_text(mean, format, low, high), seeds_text([len(own)])
    measured = own[~own["imputed"]]
    for seed, value in zip(measured["seed"].tolist(), measured["value"].tolist(), strict=True):
        yield f"seed {seed}", value_text(float(value), format), ""


def _notes(
    estimand: str,
    finals: pd.DataFrame,
    table: pd.DataFrame,
    *,
    comparable: bool,
    separates: bool,
) -> Iterator[str]:
    seeds = seeds_text(finals.groupby("config_id")["seed"].count())
    yield f"One dot per seed ({seeds}); {_ESTIMANDS.get(estimand, estimand)}."
    if table["final_metric_low"].notna().any():
        yield "Vertical line: mean; horizontal line: its 95\u00a0% t interval."
    else:
        yield "Vertical line: mean."
    if finals["imputed"].any():
        worst = worst_value_text(table)
        yield f"◂: trials that {WORST} count as {worst} in the tables; such means have no interval and are not drawn."
    if separates:
        yield "{top}: not significantly worse than any other (paired t tests, Holm-adjusted over all pairs at 5\u00a0%)."
    elif comparable and len(table) > 1 and none_worse(table):
        yield "No entry is significantly worse than another (paired t tests, Holm-adjusted over all pairs at 5\u00a0%)."
    elif len(table) > 1:
        yield (
            "The entries are not ranked." if comparable else "Combinations are not tested against each other."
        )
