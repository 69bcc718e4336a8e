"""Norms of gradients and relative updates per kind of parameter during training, with `study: parameters`."""

from __future__ import annotations

from collections.abc import Iterator

from optbench.analysis.curves import curves_frame
from optbench.events import PARAMETERS
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.figures._lines import band_note, curve_panels, y_axis
from optbench.report.plots import Panel, Plot

#: quantity -> title and note
_QUANTITIES = {
    "gradient_norm": (
        "gradient norm",
        "Gradient norm: of the step at each evaluation, after clipping.",
    ),
    "relative_update": (
        "relative update",
        "Relative update: norm of the change of the parameters by this step, over the norm of the parameters.",
    ),
}


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        curves = group.of(material.frame(curves_frame))
        curves = curves[curves["split"] == PARAMETERS]
        if curves.empty:
            continue
        entries = group.entries_in(curves)
        panels: list[Panel] = []
        outside = False
        for quantity, (title, note) in _QUANTITIES.items():
            for metric in sorted(set(curves["metric"])):
                kind = str(metric).removeprefix(f"{quantity}_")
                if kind != metric:
                    own = curves[curves["metric"] == metric]
                    axis, cuts = y_axis(own, f"{title}, {kind}", "number")
                    outside |= cuts
                    panels += curve_panels(
                        own, entries, axis, title=f"{title}, {kind}", note=note, only_lead=True
                    )
        notes = (
            band_note(curves),
            "Vectors: norms and biases.",
            *(["Some evaluations lie outside the axes."] if outside else []),
        )
        yield Drawing(
            file_stem("parameters", group.stem),
            f"Gradient norms and relative updates per kind of parameter of {group.title} during training",
            group.suite.name,
            Plot(group.title, "parameters", notes, tuple(panels), entries),
            group.heading,
        )
