"""Paths of the optimizers over the contours of test functions of two variables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from optbench.analysis.curves import curves_frame
from optbench.events import POSITION
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Group, Material, file_stem
from optbench.report.plots import Axis, Contours, Line, Mark, Panel, Plot, Points, seeds_text
from optbench.test_functions import PROBLEMS, Problem, curvatures, filled

_GRID, _LEVELS = 121, 14  # points per axis, and level lines
_MODEL = "test_function"
_FARTHEST = 4.0  # paths are shown within this multiple of the distance between start and minima


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        models = {row.trial.workload.model.name for row in group.rows}
        arguments: dict[str, Any] = dict(group.rows[0].trial.workload.model.arguments)
        curves = group.of(material.frame(curves_frame))
        curves = curves[curves["split"] == POSITION]
        if curves.empty or models != {_MODEL} or arguments.get("drift") or len(group.workloads) > 1:
            continue
        problem = PROBLEMS[arguments.get("function", "rosenbrock")]
        start = filled(arguments.get("start") or problem.start, 2)
        entries = group.entries_in(curves)
        paths: dict[int, tuple[list[float], list[float]]] = {}
        for place, entry in enumerate(entries):
            own = curves[curves["config_id"] == entry.key].pivot_table(
                index="step", columns="metric", values="median"
            )
            paths[place] = [start[0], *own["x1"]], [start[1], *own["x2"]]
        minima = [filled(minimum, 2) for minimum in problem.minima]
        yield _drawing(
            group,
            problem,
            float(arguments.get("condition", 1.0)),
            start,
            minima,
            paths,
            entries,
            seeds_text(curves["n"]),
        )


def _drawing(
    group: Group,
    problem: Problem,
    condition: float,
    start: list[float],
    minima: list[list[float]],
    paths: dict[int, tuple[list[float], list[float]]],
    entries: tuple[Any, ...],
    seeds: str,
) -> Drawing:
    x, y = (_axis(place, start, minima, [path[place] for path in paths.values()]) for place in (0, 1))
    marks: list[Mark] = [Contours(_contours(problem, condition, x, y))]
    marks += [Line(place, tuple(across), tuple(up)) for place, (across, up) in paths.items()]
    marks += [
        Points((start[0],), (start[1],), marker="s", is_open=True),
        Points(tuple(m[0] for m in minima), tuple(m[1] for m in minima), marker="*"),
    ]
    outside = any(
        not (low <= value <= high)
        for path in paths.values()
        for values, (low, high) in zip(
            path, ((x.low or 0.0, x.high or 0.0), (y.low or 0.0, y.high or 0.0)), strict=True
        )
        for value in values
    )
    notes = (
        f"Lines: median position of {seeds} at each evaluation. Square: start; star: minimum. Contours: levels in equal ratios.",
        *(["Parts of the paths lie outside the axes."] if outside else []),
    )
    return Drawing(
        file_stem("paths", group.stem),
        f"Paths of the optimizers over the contours of {group.title}",
        group.suite.name,
        Plot(group.title, "paths", notes, (Panel(x, y, tuple(marks)),), entries),
        group.heading,
    )


def _axis(place: int, start: list[float], minima: list[list[float]], values: list[list[float]]) -> Axis:
    """Return an axis that shows the start, the minima, and those points of the paths that are at most `_FARTHEST` ranges away."""
    fixed = [start[place], *(minimum[place] for minimum in minima)]
    low, high = min(fixed), max(fixed)
    reach = _FARTHEST * max(high - low, 0.5)
    near = [value for path in values for value in path if low - reach <= value <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    pad = 0.12 * max(high - low, 0.5)
    return Axis(f"x{place + 1}", "number", low - pad, high + pad)


def _contours(
    problem: Problem, condition: float, x: Axis, y: Axis
) -> tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]:
    """Return level lines at equal ratios of the value above the lowest one."""
    import contourpy
    import numpy as np

    across, up = (np.linspace(axis.low or 0.0, axis.high or 0.0, _GRID) for axis in (x, y))
    scale = np.sqrt(curvatures(condition, 2))
    grid = np.stack(np.meshgrid(across * scale[0], up * scale[1]))
    values = problem.value(grid)
    above = values - values.min()
    levels = np.geomspace(
        max(float(np.quantile(above, 0.003)), 1e-9), float(above.max()), _LEVELS, endpoint=False
    )
    generator = contourpy.contour_generator(across, up, above)
    pieces = []
    for level in levels:
        for line in generator.lines(float(level)):
            short = [tuple(round(float(number), 4) for number in points) for points in np.asarray(line).T]
            if len(short[0]) > 1 and not math.isnan(sum(short[0])):
                pieces.append((short[0], short[1]))
    return tuple(pieces)
