"""Final metric: one dot per seed, with the mean and its 95 % interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optbench.report.cells import none_worse, separates_entries
from optbench.report.figures import Drawing
from optbench.report.figures._groups import Material, file_stem, seeds_text
from optbench.report.figures._sheet import (
    FAINT,
    INK,
    SINGLE,
    SMALL_SIZE,
    Entry,
    name_rows,
    row_names,
    sheet,
)
from optbench.report.outcomes import WORST, worst_text, worst_value_text
from optbench.report.text import is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ESTIMANDS = {
    "last": "test split, last weights",
    "best_validation": "test split, weights with the best validation metric",
    "last_validation": "validation split, last evaluation",
    "last_train": "training split, last evaluation",
}


def drawings(material: Material) -> Iterator[Drawing]:
    columns = [
        "config_id",
        "final_metric",
        "final_metric_low",
        "final_metric_high",
        "best_group",
        "imputed",
        "planned",
        "diverged",
        "out_of_memory",
    ]
    for group in material.groups:
        finals = group.of(material.finals)
        if finals["imputed"].all():
            continue
        table = group.of(material.table).drop_duplicates("config_id")
        metric = str(finals["metric"].iloc[0])
        content = (
            f"{group.title}: final {metric}",
            metric,
            str(table["estimand"].iloc[0]),
            finals[["config_id", "seed", "value", "imputed"]],
            table[columns],
            group.entries_in(finals),
            len(group.workloads) == 1,
        )
        caption = f"Final {metric} of {group.title}, one dot per seed"
        yield Drawing(file_stem("finals", group.stem), caption, group.suite.name, draw, content, main=True)


def draw(
    title: str,
    metric: str,
    estimand: str,
    finals: pd.DataFrame,
    table: pd.DataFrame,
    entries: Sequence[Entry],
    comparable: bool,
) -> Figure:
    apart = comparable and separates_entries(table, "best_group")
    rows: Any = table.set_index("config_id")
    top = (
        {row["config_id"] for row in table.to_dict("records") if row["best_group"] is True}
        if apart
        else set()
    )
    names = [entry.name + (" *" if entry.key in top else "") for entry in entries]
    named = row_names(names, 1.35, 0.21)
    scale = 100.0 if is_share(metric) else 1.0
    figure, (axes,) = sheet(
        title,
        list(_notes(metric, estimand, finals, table, comparable=comparable, apart=apart)),
        size=(SINGLE, max(0.5, named.row * len(entries) + 0.08)),
        left=named.width + 0.18,
        right=0.15,
    )
    name_rows(axes, named)
    for place, entry in enumerate(entries):
        _row(axes, place, entry, finals[finals["config_id"] == entry.key], rows.loc[entry.key], scale)
    measured = finals.loc[~finals["imputed"], "value"]
    ends = pd.concat([measured, table["final_metric_low"], table["final_metric_high"]]).dropna() * scale
    low, high = float(ends.min()), float(ends.max())
    if scale == 100.0:
        low, high = max(low, float(measured.min()) * 100 - 30), min(high, float(measured.max()) * 100 + 30)
        high = min(high, 100.0)
    pad = 0.06 * (high - low) or 0.02 * abs(high) or 1.0
    axes.set_xlim(low - pad, high + pad)
    axes.set_xlabel(f"final {metric}" + (" (%)" if scale == 100.0 else ""))
    return figure


def _row(axes: Axes, place: int, entry: Entry, finals: pd.DataFrame, row: pd.Series, scale: float) -> None:
    measured = finals[~finals["imputed"]]
    shift = 0.11 * (np.arange(len(measured)) % 3 - 1)
    axes.plot(
        scale * measured["value"],
        place + shift,
        linestyle="none",
        marker=entry.style.marker,
        color=entry.style.light,
        markersize=3.4,
        alpha=0.85,
        zorder=4,
    )
    low, high = scale * row["final_metric_low"], scale * row["final_metric_high"]
    if low == low:
        axes.plot([low, high], [place, place], color=INK, linewidth=0.9, solid_capstyle="butt", zorder=3)
    if not row["imputed"]:
        mean = scale * row["final_metric"]
        axes.plot([mean, mean], [place - 0.28, place + 0.28], color=INK, linewidth=1.2, zorder=5)
    if ended := worst_text(row.to_dict()):
        axes.annotate(
            f"◂ {ended}",
            (0, place),
            xytext=(3, -4.5),  # below the dots
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=SMALL_SIZE - 0.5,
            color=FAINT,
            zorder=6,
        )


def _notes(
    metric: str, estimand: str, finals: pd.DataFrame, table: pd.DataFrame, *, comparable: bool, apart: bool
) -> Iterator[str]:
    seeds = seeds_text(finals.groupby("config_id")["seed"].count())
    yield f"One dot per seed ({seeds}); {_ESTIMANDS.get(estimand, estimand)}."
    if table["final_metric_low"].notna().any():
        yield "Vertical line: mean; horizontal line: its 95\u00a0% t interval."
    else:
        yield "Vertical line: mean."
    if finals["imputed"].any():
        worst = worst_value_text(metric)
        yield f"◂: trials that {WORST} count as {worst} in the tables; such means have no interval and are not drawn."
    if apart:
        yield "*: not significantly worse than any other (paired t tests, Holm-adjusted over all pairs at 5\u00a0%)."
    elif comparable and len(table) > 1 and none_worse(table):
        yield "No entry is significantly worse than another (paired t tests, Holm-adjusted over all pairs at 5\u00a0%)."
    elif len(table) > 1:
        yield (
            "The entries are not ranked." if comparable else "Combinations are not tested against each other."
        )
