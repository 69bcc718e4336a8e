"""Stacked bars of training memory by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from optbench.analysis.parts import MEMORY_PARTS
from optbench.report.figures import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.figures._sheet import SINGLE, SMALL_SIZE, Entry, name_rows, row_names, sheet
from optbench.report.figures._stacks import Part, draw_stacks, handles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOOKS = (
    Part("#37474f"),
    Part("#90a4ae"),
    Part("#c8571b"),
    Part("#f1c8a8", "\\\\\\\\"),
    Part("#eceff1", "////"),
)
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        memory = group.of(material.memory)
        own = memory[memory["bytes"] > 0]
        if (own["part"] == "optimizer state").any():
            overhead = group.of(material.table).drop_duplicates("config_id")[["config_id", "memory_overhead"]]
            content = (
                f"{group.title}: memory",
                own[["config_id", "part", "bytes"]],
                overhead,
                group.entries_in(memory),
            )
            caption = f"Memory of {group.title}: " + ", ".join(dict.fromkeys(own["part"]))
            yield Drawing(file_stem("memory", group.stem), caption, group.suite.name, draw, content)


def draw(title: str, memory: pd.DataFrame, overhead: pd.DataFrame, entries: Sequence[Entry]) -> Figure:
    looks = dict(zip(MEMORY_PARTS, _LOOKS, strict=True))
    totals = memory.groupby("config_id")["bytes"].sum()
    unit, name = next((of, name) for of, name in _UNITS if totals.max() >= of or of == 1.0)
    labels = [entry.name for entry in entries]
    rows = row_names(labels, 1.35, 0.19)
    parts = [part for part in MEMORY_PARTS if (memory["part"] == part).any()]
    figure, (axes,) = sheet(
        title,
        list(_notes(parts)),
        handles({part: looks[part] for part in parts}),
        size=(SINGLE, max(0.4, rows.row * len(entries) + 0.06)),
        left=rows.width + 0.18,
        right=0.42,
    )
    name_rows(axes, rows)
    stacked = memory.assign(value=memory["bytes"] / unit)
    draw_stacks(axes, stacked, [entry.key for entry in entries], {part: looks[part] for part in parts})
    multiples = overhead.set_index("config_id")["memory_overhead"]
    for place, entry in enumerate(entries):
        value = float(multiples.get(entry.key, float("nan")))
        if value == value:
            axes.annotate(
                f"{value:.2f}x",
                (float(totals.get(entry.key, 0.0)) / unit, place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL_SIZE,
            )
    axes.set_xlim(0, float(totals.max()) / unit * 1.01)
    axes.set_xlabel(name)
    return figure


def _notes(parts: Sequence[str]) -> Iterator[str]:
    yield "Measured bytes of all tensors; maximum over seeds. Number: optimizer state as a multiple of the parameters."
    if "step peak" in parts:
        yield "Step peak: temporary memory of an optimizer step."
    if "activations" in parts:
        yield "Activations: kept for the backward pass of one batch; not allocated at the same time as the step peak."
    else:
        yield "Activations were not measured."
