"""Published and measured values: each numeric claim with its margin, and the measured value with its interval."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.report.figures import Drawing
from optbench.report.figures._groups import Material, file_stem, seeds_text
from optbench.report.figures._sheet import (
    DOUBLE,
    FAINT,
    INK,
    SMALL_SIZE,
    TEXT_SIZE,
    name_rows,
    row_names,
    sheet,
)
from optbench.report.figures._text import fitted
from optbench.suite.published import DETERMINISTIC_MARGIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLES = {
    "epochs_to_target": "epochs to target",
    "steps_to_target": "steps to target",
    "samples_to_target": "samples to target",
    "seconds_to_target": "seconds to target",
    "final_metric": "final metric",
    "memory_overhead": "memory overhead (x)",
}
_COLOURS = {"reproduced": "#00aa66", "contradicted": "#994400"}
_MARKS = {"reproduced": "o", "contradicted": "X"}
_SHAPES = {"reproduced": "circle", "contradicted": "cross"}


def drawings(material: Material) -> Iterator[Drawing]:
    verdicts = material.verdicts
    if verdicts is None or verdicts.empty:
        return
    numeric = verdicts[
        verdicts["value"].notna() & (verdicts["measured"].notna() | verdicts["measured_low"].notna())
    ]
    numeric = numeric[numeric["column"].isin(_TITLES)]
    numeric = numeric.assign(
        margin=numeric["margin"].mask(
            numeric["kind"] == "deterministic", numeric["margin"].fillna(DETERMINISTIC_MARGIN)
        )
    )
    for (suite, workload, source), own in numeric.groupby(["suite", "workload", "source"], sort=False):
        several = numeric.loc[numeric["suite"] == suite, "workload"].nunique() > 1
        sources = numeric.loc[(numeric["suite"] == suite) & (numeric["workload"] == workload), "source"]
        number = list(dict.fromkeys(sources)).index(source) + 1
        stem = file_stem(
            "published",
            str(suite) if material.several_suites else "",
            str(workload) if several else "",
            str(number) if sources.nunique() > 1 else "",
        )
        columns = [
            "optimizer",
            "column",
            "unit",
            "value",
            "margin",
            "measured",
            "measured_low",
            "measured_high",
        ]
        content = (f"{workload}: published and measured values", str(source), own[[*columns, "n", "verdict"]])
        caption = f"Published and measured values on {workload}: {source}"
        yield Drawing(stem, caption, str(suite), draw, content)


def draw(title: str, source: str, verdicts: pd.DataFrame) -> Figure:
    columns = list(dict.fromkeys(verdicts["column"]))
    names = list(dict.fromkeys(verdicts["optimizer"]))
    named = row_names(names, 1.5, 0.34)
    trained = verdicts[(verdicts["n"] > 0) & (verdicts["column"] != "memory_overhead")]
    seeds = f" ({seeds_text(trained['n'])})" if len(trained) else ""
    note = " ".join(_notes(source, verdicts, seeds))
    each = (DOUBLE - named.width - 0.33) / len(columns) - 0.25
    figure, panels = sheet(
        title,
        [note],
        panels=len(columns),
        size=(DOUBLE, max(0.5, named.row * len(names) + 0.1)),
        left=named.width + 0.18,
        right=0.15,
        gap=0.25,
        titled_panels=True,
    )
    for axes, column in zip(panels, columns, strict=True):
        name_rows(axes, named)
        axes.set_ylim(len(names) - 0.3, -0.5)  # room for the words below the last
        axes.locator_params(axis="x", nbins=max(2, min(6, int(each / 0.3))))
        if axes is not panels[0]:
            axes.tick_params(axis="y", labelleft=False)
        own = verdicts[verdicts["column"] == column]
        scale = 100.0 if (own["unit"] == "fraction").all() else 1.0
        head = _TITLES[column] + (" (%)" if scale == 100.0 else "")
        axes.set_title(fitted(head, TEXT_SIZE, each + 0.15), fontsize=TEXT_SIZE, loc="left", pad=4)
        for row in own.to_dict("records"):
            _row(axes, names.index(row["optimizer"]), row, scale)
        low, high = axes.get_xlim()
        axes.set_xlim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    return figure


def _notes(source: str, verdicts: pd.DataFrame, seeds: str) -> Iterator[str]:
    """Yield the explanations of what is drawn."""
    if (verdicts["margin"] > 0).any():
        yield f"Diamond and shade: published by {source}, with the margin stated before the runs."
    else:
        yield f"Diamond: published by {source}."
    widths = (verdicts["measured_high"] - verdicts["measured_low"]).astype(float)
    if (np.isfinite(widths) & (widths > 0)).any():
        yield f"Mark and line: measured{seeds}, with its 95\u00a0% interval where available."
    else:
        yield f"Mark: measured{seeds}."
    if (verdicts["column"] == "memory_overhead").any():
        yield "Memory is measured once."
    words = [f"{shape}: {word}" for word, shape in _SHAPES.items() if (verdicts["verdict"] == word).any()]
    words += [] if verdicts["verdict"].isin(_SHAPES).all() else ["square: any other verdict, named below it"]
    yield "; ".join(words).capitalize() + "."
    if verdicts["measured"].isna().any():
        yield "Arrow: at most half of the seeds reached the target within the budget."


def _row(axes: Axes, place: int, row: dict[str, float | str], scale: float) -> None:
    value, margin, measured = (scale * float(row[name]) for name in ("value", "margin", "measured"))
    if margin == margin and margin > 0:
        axes.barh([place], [2 * margin], left=[value - margin], height=0.5, color="#dfe3e6", zorder=1)
    axes.plot([value], [place], marker="D", color="white", markeredgecolor=INK, markeredgewidth=0.8, zorder=4)
    word = str(row["verdict"])
    colour = _COLOURS.get(word, FAINT)
    low, high = (scale * float(row[name]) for name in ("measured_low", "measured_high"))
    below = place + 0.2
    if isfinite(low) and isfinite(high):
        axes.plot([low, high], [below, below], color=colour, linewidth=1.0, zorder=3)
    reached = isfinite(measured)
    at = measured if reached else low
    axes.plot(
        [at],
        [below],
        marker=_MARKS.get(word, "s") if reached else ">",
        markersize=4.5,
        color=colour,
        zorder=5,
    )
    if word not in _COLOURS or not reached:
        axes.annotate(
            word,
            (at, below),
            xytext=(0, -3),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=SMALL_SIZE - 0.5,
            color=FAINT,
        )
