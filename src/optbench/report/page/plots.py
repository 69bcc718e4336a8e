"""Descriptions of figures (`report.plots`) as data for the page's script, thinned to limit its size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from optbench.analysis.thinning import kept
from optbench.report.plots import (
    Axis,
    Cells,
    Contours,
    Entry,
    Interval,
    Label,
    Line,
    Mark,
    Panel,
    Plot,
    Points,
    Row,
    Rule,
    Stack,
)
from optbench.report.text import clean

#: maximum of numbers in all curves of a page; with more, curves are thinned
NUMBERS = 90_000
#: minimum points of a thinned curve, and maximum points that a screen can resolve
LEAST_POINTS, MOST_POINTS = 24, 400
#: after the name of an entry that is not significantly worse than any other
TOP = "◆"


def points_for(plots: Iterable[Plot]) -> int:
    """Return the points per curve with which all curves of the page stay within `NUMBERS`."""
    curves = {
        mark.y for plot in plots for panel in plot.panels for mark in panel.marks if isinstance(mark, Line)
    }
    return max(LEAST_POINTS, min(MOST_POINTS, NUMBERS // (3 * max(len(curves), 1))))


class Encoder:
    """Turns plots into JSON. `arrays`: all arrays of numbers, each once; marks have their index."""

    def __init__(self, places: dict[str, int], most: int) -> None:
        """`places`: of each name in the legend; `most`: maximum points per curve."""
        self.arrays: list[list[float | int | None]] = []
        self._places, self._most = places, most
        self._names = {place: name for name, place in places.items()}
        self._known: dict[tuple[float | int | None, ...], int] = {}

    def figures(self, plot: Plot) -> Iterator[dict[str, Any]]:
        """Yield one figure per title of the panels: title, note, and the panels, which are alternatives if there are several."""
        by_title: dict[str, list[Panel]] = {}
        for panel in (each for each in plot.panels if each.on_page):
            by_title.setdefault(panel.title, []).append(panel)
        for title, panels in by_title.items():
            name = (
                title if title.startswith(plot.title) else f"{plot.title}: {title}" if title else plot.title
            )
            notes = [note.replace("{top}", TOP) for note in (*plot.notes, panels[0].note) if note]
            if any(
                isinstance(mark, Line) and len(mark.y) > self._most
                for panel in panels
                for mark in panel.marks
            ):
                notes.append(f"Thinned to at most {self._most} evaluations per curve, with extremes kept.")
            yield {
                "title": name[0].upper() + name[1:],
                "note": " ".join(notes),
                "panels": [self._panel(panel, plot) for panel in panels],
            }

    def _panel(self, panel: Panel, plot: Plot) -> dict[str, Any]:
        content: dict[str, Any] = {"x": _axis(panel.x), "y": _axis(panel.y)}
        content |= {"time": panel.time} if panel.time else {}
        if panel.rows:
            content["rows"] = [
                self._place(plot.entries[row.entry])
                | ({"n": row.name} if row.name != clean(plot.entries[row.entry].name) else {})
                | _facts(row)
                | ({"top": True} if row.is_top else {})
                for row in panel.rows
            ]
        if panel.parts:
            content["parts"] = [{"name": part.name, "look": part.look} for part in panel.parts]
        return content | {"marks": [self._mark(mark, panel, plot) for mark in panel.marks]}

    def _mark(self, mark: Mark, panel: Panel, plot: Plot) -> dict[str, Any]:
        entry = getattr(mark, "entry", None)
        content = {"m": type(mark).__name__.lower()} | self._content(mark)
        if entry is None and panel.rows:
            row = mark.row if isinstance(mark, Stack | Label) else round(_height(mark))
            entry = panel.rows[row].entry
            content["ink"] = True
        elif entry is None and isinstance(mark, Points):
            content["ink"] = True
        return content | (self._place(plot.entries[entry]) if entry is not None else {})

    def _content(self, mark: Mark) -> dict[str, Any]:
        match mark:
            case Line():
                return self._line(mark)
            case Points():
                flags = {"open": mark.is_open, "above": mark.above, "shape": mark.marker}
                return {"x": self._array(mark.x), "y": self._array(mark.y)} | {
                    k: v for k, v in flags.items() if v
                }
            case Interval():
                ends = {
                    "lo": number(mark.low),
                    "hi": number(mark.high),
                    "y": number(mark.y),
                    "look": mark.look,
                }
                return ends | ({"above": True} if mark.above else {})
            case Stack():
                return {"row": mark.row, "sizes": [number(size) for size in mark.sizes], "text": mark.text}
            case Label():
                return {"row": mark.row, "text": mark.text} | (
                    {} if mark.x is None else {"x": number(mark.x)}
                )
            case Rule():
                return {"y": number(mark.y), "text": mark.label}
            case Contours():
                return {"lines": [[self._array(x), self._array(y)] for x, y in mark.lines]}
            case Cells():
                shown = {
                    "columns": mark.columns,
                    "rows": mark.rows,
                    "texts": mark.texts,
                    "facts": mark.facts,
                    "more": mark.more,
                }
                values = [[number(value) for value in row] for row in mark.values]
                return shown | {
                    "values": values,
                    "format": mark.format,
                    "worst": number(mark.worst),
                    "best": number(mark.best),
                    "framed": mark.framed,
                }

    def _line(self, mark: Line) -> dict[str, Any]:
        places = kept(np.array(mark.y), self._most).tolist()
        arrays = {"x": mark.x, "y": mark.y, "lo": mark.low, "hi": mark.high}
        content: dict[str, Any] = {
            key: self._array(values[place] for place in places) for key, values in arrays.items() if values
        }
        if mark.counts:
            same = len(set(mark.counts)) == 1
            content["k"] = mark.counts[0] if same else [self._array(mark.counts[place] for place in places)]
            content["of"] = mark.counted
        return content | ({"steps": True} if mark.steps else {})

    def _array(self, values: Iterable[float]) -> int:
        numbers = tuple(number(value) for value in values)
        if numbers not in self._known:
            self._known[numbers] = len(self.arrays)
            self.arrays.append(list(numbers))
        return self._known[numbers]

    def _place(self, entry: Entry) -> dict[str, Any]:
        name = clean(entry.name)
        place = self._places.get(entry.legend or name, self._places.get(name, 0))
        return {"o": place} | ({"n": name} if name != self._names.get(place) else {})


def _facts(row: Row) -> dict[str, Any]:
    """Return names, values and remarks of a row, each as a list: rows often share names and remarks."""
    names, values, remarks = zip(*row.facts, strict=True) if row.facts else ((), (), ())
    return {"facts": names, "values": values, "remarks": remarks}


def _height(mark: Mark) -> float:
    return mark.y[0] if isinstance(mark, Points) else mark.y if isinstance(mark, Interval | Rule) else 0.0


def _axis(axis: Axis) -> dict[str, Any]:
    limits = {"low": axis.low, "high": axis.high}
    content: dict[str, Any] = {"label": axis.label, "format": axis.format} | {
        key: number(v) for key, v in limits.items() if v is not None
    }
    return content | ({"log": True} if axis.log else {})


def number(value: float | None) -> float | int | None:
    """Return the number rounded to five significant digits; None if it is unknown or not finite."""
    if value is None or pd.isna(value) or not math.isfinite(value):
        return None
    short = float(f"{float(value):.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
