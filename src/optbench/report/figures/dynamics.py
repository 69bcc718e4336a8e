"""Curves of losses, learning rate and gradient norm during training, against epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from optbench.report.figures import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.figures._lines import band_note, draw_curves, lead, set_x, y_range
from optbench.report.figures._sheet import DOUBLE, SINGLE, TEXT_SIZE, Entry, line_handles, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = {
    "train_loss": "training loss",
    "loss": "validation loss",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
}
#: limits the axis of learning rates that decay to almost zero
_DECADES = 3.5
_NOTES = {
    "train_loss": "Training loss: mean over the steps since the previous evaluation.",
    "learning_rate": "Learning rate: of the first parameter group, as used.",
    "gradient_norm": "Gradient norm: of the step at each evaluation, before clipping.",
}


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        curves = group.of(material.curves)
        own = curves[curves["metric"].isin(_PANELS) & curves["split"].isin(["", "train", "validation"])]
        if len(own):
            columns = [
                "config_id",
                "metric",
                "step",
                "epoch",
                "median",
                "low",
                "high",
                "band",
                "n",
                "lost",
                "worst",
            ]
            content = (f"{group.title}: training", own[columns], group.entries_in(own))
            caption = f"Losses, learning rate and gradient norm of {group.title} during training"
            yield Drawing(file_stem("dynamics", group.stem), caption, group.suite.name, draw, content)


def draw(title: str, curves: pd.DataFrame, entries: Sequence[Entry]) -> Figure:
    panels = [name for name in _PANELS if (curves["metric"] == name).any()]
    wide = DOUBLE if len(panels) > 1 else SINGLE
    note = [band_note(curves, len(entries)), *(_NOTES[name] for name in panels if name in _NOTES)]
    ranges = {name: y_range(curves[curves["metric"] == name], 1.0, log=True) for name in panels}
    rate = ranges.get("learning_rate")
    if rate is not None and rate.is_log:
        ranges["learning_rate"] = replace(rate, low=max(rate.low, rate.high / 10**_DECADES))
    note += ["Some evaluations lie outside the axes."] if any(r.cuts for r in ranges.values()) else []
    figure, axes = sheet(
        title,
        note,
        line_handles(entries, wide - 0.8),
        panels=len(panels),
        size=(wide, 1.6),
        gap=0.42,
        titled_panels=True,
    )
    for name, panel in zip(panels, axes, strict=True):
        own = curves[curves["metric"] == name]
        draw_curves(panel, own, entries, lead(own))
        set_x(panel, own, lead(own))
        ranges[name].set(panel)
        panel.set_title(_PANELS[name], fontsize=TEXT_SIZE, loc="left", pad=4)
    return figure
