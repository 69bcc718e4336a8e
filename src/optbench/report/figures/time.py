"""Time breakdown of a trial: training, data wait, evaluation, set-up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optbench.analysis.parts import TIME_PARTS, time_parts_frame
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.plots import Axis, Panel, Part, Plot, Row, Stack, seeds_text, value_text
from optbench.report.text import clean, seconds

_LOOKS = dict(zip(TIME_PARTS, ("own", "hatch", "solid", "light"), strict=True))


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        times = group.of(material.frame(time_parts_frame))
        times = times[times["share"].notna()]
        if times["part"].nunique() < 2:
            continue
        entries = group.entries_in(times)
        parts = [part for part in TIME_PARTS if (times.loc[times["part"] == part, "seconds"] > 0).any()]
        wide: Any = times.pivot(index="config_id", columns="part", values=["seconds", "share"])
        rows, stacks = [], []
        for place, entry in enumerate(entries):
            measured, shares = (wide.loc[entry.key, name].reindex(parts) for name in ("seconds", "share"))
            facts = [
                (part, f"{seconds(measured[part])} s", value_text(shares[part], "percent"))
                if measured[part] == measured[part]
                else (part, "unknown", "")
                for part in parts
            ]
            rows.append(Row(place, clean(entry.name), tuple(facts)))
            stacks.append(Stack(place, tuple(measured.tolist()), f"{seconds(float(measured.sum()))} s"))
        x = Axis(
            "seconds per trial", low=0.0, high=float(times.groupby("config_id")["seconds"].sum().max()) * 1.01
        )
        panel = Panel(
            x,
            Axis(""),
            tuple(stacks),
            rows=tuple(rows),
            parts=tuple(Part(part, _LOOKS[part]) for part in parts),
        )
        waits = "" if "data wait" in parts else " Data wait was not measured separately."
        notes = (
            f"Mean of {seeds_text(times['n'])} without interruptions; number: total seconds.",
            f"Times in tables count training and data wait only.{waits}",
        )
        plot = Plot(group.title, "time breakdown", notes, (panel,), entries)
        caption = f"Time breakdown of a trial, {group.title}"
        yield Drawing(file_stem("time", group.stem), caption, group.suite.name, plot, group.heading)
