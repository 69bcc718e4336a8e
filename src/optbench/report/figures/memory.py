"""Stacked bars of training memory by part."""

from __future__ import annotations

from collections.abc import Iterator

from optbench.analysis.parts import MEMORY_PARTS, memory_parts_frame
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.plots import Axis, Panel, Part, Plot, Row, Stack, value_text
from optbench.report.text import clean

_LOOKS = dict(zip(MEMORY_PARTS, ("solid", "light", "own", "hatch", "dots"), strict=True))


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        memory = group.of(material.frame(memory_parts_frame))
        known = memory[memory["bytes"] > 0]
        if not (known["part"] == "optimizer state").any():
            continue
        entries = group.entries_in(memory)
        parts = [part for part in MEMORY_PARTS if (known["part"] == part).any()]
        sizes = known.pivot(index="config_id", columns="part", values="bytes").reindex(columns=parts)
        sizes = sizes.reindex([entry.key for entry in entries])
        table = group.of(material.table).drop_duplicates("config_id").set_index("config_id")
        multiples = table["memory_overhead"].reindex(sizes.index)
        rows, stacks = [], []
        for place, entry in enumerate(entries):
            own, multiple = sizes.iloc[place], float(multiples.iloc[place])
            facts = [
                (part, value_text(float(own[part]), "bytes") if own[part] == own[part] else "unknown", "")
                for part in parts
            ]
            rows.append(Row(place, clean(entry.name), tuple(facts)))
            stacks.append(
                Stack(place, tuple(own.tolist()), f"{multiple:.2f}x" if multiple == multiple else "")
            )
        x = Axis("memory", "bytes", 0.0, float(sizes.sum(axis=1).max()) * 1.01)
        panel = Panel(
            x,
            Axis(""),
            tuple(stacks),
            rows=tuple(rows),
            parts=tuple(Part(part, _LOOKS[part]) for part in parts),
        )
        caption = f"Memory of {group.title}: " + ", ".join(dict.fromkeys(known["part"]))
        plot = Plot(group.title, "memory", tuple(_notes(parts)), (panel,), entries)
        yield Drawing(file_stem("memory", group.stem), caption, group.suite.name, plot, group.heading)


def _notes(parts: list[str]) -> Iterator[str]:
    yield "Measured bytes of all tensors; maximum over seeds. Number: optimizer state as a multiple of the parameters."
    if "step peak" in parts:
        yield "Step peak: temporary memory of an optimizer step."
    if "activations" in parts:
        yield "Activations: kept for the backward pass of one batch; not allocated at the same time as the step peak."
    else:
        yield "Activations were not measured."
