"""Time breakdown of a trial: training, data wait, evaluation, set-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from optbench.analysis.parts import TIME_PARTS
from optbench.report.figures import Drawing
from optbench.report.figures._groups import Material, file_stem, seeds_text
from optbench.report.figures._sheet import SINGLE, SMALL_SIZE, Entry, name_rows, row_names, sheet
from optbench.report.figures._stacks import Part, draw_stacks, handles
from optbench.report.text import seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOOKS = (Part("#37474f"), Part("#c8571b"), Part("#90a4ae"), Part("#eceff1", "////"))


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        times = group.of(material.times)
        own = times[times["share"].notna()]
        if own["part"].nunique() > 1:
            content = (
                f"{group.title}: time breakdown",
                own[["config_id", "part", "seconds", "share", "n"]],
                group.entries_in(own),
            )
            caption = f"Time breakdown of a trial, {group.title}"
            yield Drawing(file_stem("time", group.stem), caption, group.suite.name, draw, content)


def draw(title: str, times: pd.DataFrame, entries: Sequence[Entry]) -> Figure:
    parts = [part for part in TIME_PARTS if (times.loc[times["part"] == part, "seconds"] > 0).any()]
    looks = dict(zip(TIME_PARTS, _LOOKS, strict=True))
    labels = [entry.name for entry in entries]
    rows = row_names(labels, 1.35, 0.19)
    waits = "" if "data wait" in parts else " Data wait was not measured separately."
    figure, (axes,) = sheet(
        title,
        [
            f"Mean of {seeds_text(times['n'])} without interruptions; number: total seconds.",
            f"Times in tables count training and data wait only.{waits}",
        ],
        handles({part: looks[part] for part in parts}),
        size=(SINGLE, max(0.4, rows.row * len(entries) + 0.06)),
        left=rows.width + 0.18,
        right=0.46,
    )
    name_rows(axes, rows)
    shares = times.assign(value=100 * times["share"])
    draw_stacks(axes, shares, [entry.key for entry in entries], {part: looks[part] for part in parts})
    totals = times.groupby("config_id")["seconds"].sum()
    for place, entry in enumerate(entries):
        text = f"{seconds(float(totals[entry.key]))} s"
        axes.annotate(
            text, (100, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=SMALL_SIZE
        )
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the trial's time")
    return figure
