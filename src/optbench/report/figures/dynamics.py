"""Curves of losses, learning rate and gradient norm during training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from optbench.analysis.curves import curves_frame
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.figures._lines import band_note, curve_panels, y_axis
from optbench.report.plots import Panel, Plot

#: series -> title and note
SERIES = {
    "train_loss": ("training loss", "Training loss: mean over the steps since the previous evaluation."),
    "loss": ("validation loss", ""),
    "learning_rate": ("learning rate", "Learning rate: of the first parameter group, as used."),
    "gradient_norm": ("gradient norm", "Gradient norm: of the step at each evaluation, before clipping."),
    "gradient_norm_median": (
        "median gradient norm",
        "Median gradient norm: of the steps since the previous evaluation.",
    ),
    "gradient_norm_max": (
        "maximum gradient norm",
        "Maximum gradient norm: of the steps since the previous evaluation.",
    ),
}
#: limits the axis of learning rates that decay to almost zero
_DECADES = 3.5
_IN_FILES = ("train_loss", "loss", "learning_rate", "gradient_norm")
_SPLITS = ("", "train", "validation")


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        curves = group.of(material.frame(curves_frame))
        curves = curves[curves["metric"].isin(SERIES) & curves["split"].isin(_SPLITS)]
        curves = curves[(curves["metric"] != "loss") | (curves["split"] == "validation")]
        if curves.empty:
            continue
        entries = group.entries_in(curves)
        panels: list[Panel] = []
        outside = False
        for series, (title, note) in SERIES.items():
            own = curves[curves["metric"] == series]
            if len(own):
                decades = _DECADES if series == "learning_rate" else math.inf
                axis, cuts = y_axis(own, title, "number", decades=decades)
                outside |= cuts
                on_page = series != "loss" and (series != "learning_rate" or own["median"].nunique() > 1)
                drawn = curve_panels(own, entries, axis, title=title, note=note, only_lead=True)
                panels += (
                    replace(panel, in_files=panel.in_files and series in _IN_FILES, on_page=on_page)
                    for panel in drawn
                )
        notes = (band_note(curves), *(["Some evaluations lie outside the axes."] if outside else []))
        yield Drawing(
            file_stem("dynamics", group.stem),
            f"Losses, learning rate and gradient norm of {group.title} during training",
            group.suite.name,
            Plot(group.title, "training", notes, tuple(panels), entries),
            group.heading,
        )
