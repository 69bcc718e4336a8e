"""Heat map of the metric over two swept hyperparameters, one per entry, with common colours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from optbench.analysis.sweep_curves import sweep_grid_frame
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.outcomes import WORST
from optbench.report.plots import UNITS, Axis, Cells, Entry, Panel, Plot, format_of, seeds_text, value_text
from optbench.report.text import clean, with_unit


def drawings(material: Material) -> Iterator[Drawing]:
    for (suite, workload, *_), grids in material.frame(sweep_grid_frame).groupby(
        ["suite", "workload", "x_name", "y_name"], sort=False
    ):
        # failed points count as the worst outcome; they would dominate the colours
        known = grids.loc[grids["failures"] == 0, "mean"]
        known = known if len(known) else grids["mean"]
        ends = float(known.min()), float(known.max())
        for optimizer, grid in grids.groupby("optimizer", sort=False):
            entry = material.entry(str(suite), str(optimizer))
            yield Drawing(
                file_stem("map", material.stem(str(suite), str(workload)), entry.key),
                f"Validation {grid['metric'].iloc[0]} of {entry.key} on {workload} over two hyperparameters",
                str(suite),
                _plot(clean(str(workload)), entry, grid, ends, several=grids["optimizer"].nunique() > 1),
                material.heading(str(suite), str(workload)),
            )


def _plot(place: str, entry: Entry, grid: pd.DataFrame, ends: tuple[float, float], *, several: bool) -> Plot:
    first = grid.iloc[0]
    format = format_of(str(first["metric_unit"]))
    factor, percent = UNITS[format]
    metric = with_unit(str(first["metric"]), percent or str(first["metric_unit"]))

    def table(name: str) -> pd.DataFrame:
        return grid.pivot(index="y", columns="x", values=name).sort_index()

    means, failures = table("mean"), table("failures")
    lows, highs, counts = (table(name).to_numpy(float) for name in ("low", "high", "n"))
    texts, facts, more = [], [], []
    for y, row in enumerate(means.to_numpy(float)):
        fails = failures.to_numpy(float)[y]
        texts.append(
            tuple(
                f"{factor * v:.3g}{'†' if fails[x] > 0 else ''}" if v == v else "" for x, v in enumerate(row)
            )
        )
        facts.append(
            tuple(value_text(v, format, lows[y][x], highs[y][x]) if v == v else "" for x, v in enumerate(row))
        )
        more.append(tuple(_more(counts[y][x], fails[x]) for x in range(len(row))))
    configured = np.argwhere(table("own").eq(True).to_numpy())
    framed = (int(configured[0][1]), int(configured[0][0])) if len(configured) else None
    low, high = ends
    worst, best = (low, high) if first["higher"] else (high, low)
    columns, rows = ([f"{value:g}" for value in values] for values in (means.columns, means.index))
    values = tuple(tuple(row) for row in means.to_numpy(float).tolist())
    cells = Cells(
        0,
        tuple(columns),
        tuple(rows),
        values,
        tuple(texts),
        tuple(facts),
        tuple(more),
        worst,
        best,
        format,
        framed,
    )
    notes = [
        f"Mean of {seeds_text(grid['n'])} of the last validation {metric}; lighter is better"
        + (", with the same colours for all entries." if several else ".")
    ]
    notes += ["Frame: the configured value."] if framed else []
    notes += [f"†: trials there {WORST}, and count as the worst outcome."] if grid["failures"].any() else []
    panel = Panel(Axis(clean(str(first["x_name"]))), Axis(clean(str(first["y_name"]))), (cells,))
    return Plot(
        place, f"{entry.name} over {panel.x.label} and {panel.y.label}", tuple(notes), (panel,), (entry,)
    )


def _more(seeds: float, failures: float) -> str:
    if seeds != seeds:
        return ""
    return seeds_text([int(seeds)]) + (
        f", {int(failures)} counted as the worst outcome" if failures > 0 else ""
    )
