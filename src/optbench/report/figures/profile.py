"""Performance profiles over several workloads: share of workloads within a multiple of the fastest entry's time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.analysis.profiles import MAX_RATIO
from optbench.report.figures import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.figures._sheet import DOUBLE, SINGLE, Entry, line_handles, sheet, strokes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def drawings(material: Material) -> Iterator[Drawing]:
    for suite, own in material.profiles.groupby("suite", sort=False):
        looks = material.styles_of(str(suite))
        entries = tuple(Entry(name, name, looks[name]) for name in dict.fromkeys(own["optimizer"]))
        content = (f"{suite}: performance profile", own.drop(columns="suite"), entries)
        stem = file_stem("profile", str(suite) if material.several_suites else "")
        caption = (
            f"Performance profile of {suite}: share of workloads by multiple of the fastest entry's time"
        )
        yield Drawing(stem, caption, str(suite), draw, content)


def draw(title: str, profiles: pd.DataFrame, entries: Sequence[Entry]) -> Figure:
    units = list(dict.fromkeys(profiles["unit"]))
    first = profiles.iloc[0]
    note = (
        f"{first['workloads']} workloads, {first['runs']} trials in total. Time: median over seeds (Kaplan-Meier), infinite if at most "
        "half reached the target. No bands here; the table has one per score. The curves depend on the set of entries."
    )
    size = (DOUBLE if len(units) > 1 else SINGLE, 1.9)
    figure, panels = sheet(title, [note], line_handles(entries, size[0] - 0.8), panels=len(units), size=size)
    for axes, unit in zip(panels, units, strict=True):
        for place, entry in enumerate(entries):
            own = profiles[(profiles["unit"] == unit) & (profiles["optimizer"] == entry.key)]
            rises = np.flatnonzero(np.diff(own["share"].to_numpy(float), prepend=-1.0)).tolist()
            look = strokes(entry.style, place) | {"drawstyle": "steps-post", "markevery": rises}
            axes.plot(own["ratio"], own["share"], zorder=3, **look)
        # marks at both ends are whole, and a rise at the last ratio is no part of the frame
        axes.set_xlim(1 - 0.02 * (MAX_RATIO - 1), MAX_RATIO + 0.02 * (MAX_RATIO - 1))
        axes.set_xticks(range(1, int(MAX_RATIO) + 1))
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel(
            f"multiple of the {'minimum' if unit == 'seconds' else 'fewest'} {unit.replace('_', ' ')} to target"
        )
        if axes is panels[0]:
            axes.set_ylabel("share of workloads")
        else:
            axes.tick_params(axis="y", labelleft=False)
    return figure
