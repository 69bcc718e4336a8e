"""Charts of curves for a terminal: braille dots with one marker per entry, or plain ASCII.

Markers distinguish entries without colour. Only positions on the grid are computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from optbench.report.text import number, seconds

#: text and its colour ("" for none), one after another
Line = list[tuple[str, str]]

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of a cell
_ASCII_MARKS = "ox+*#@%&$=abcdefghijklmnpqrstuvwyz"
_MARKS_A_CURVE = 4


@dataclass(frozen=True)
class Series:
    """One entry's points in order of `x`, with symbol and colour (`#rrggbb` or "")."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    symbol: str
    colour: str = ""


@dataclass(frozen=True)
class Axes:
    """Labels, target and range of the axes. Values below `low` or above `high` are drawn at the edge."""

    x: str
    y: str
    target: float | None = None
    low: float = -math.inf
    high: float = math.inf
    scale: float = 1.0  # values are shown times this: 100 for percent


def chart(
    series: Sequence[Series], axes: Axes, width: int, height: int, *, unicode: bool = True
) -> list[Line]:
    """Return `height` lines of curves, the axis, and the legend; [] if no curve has two points or there is no room."""
    drawn = [each for each in series if len(each.x) > 1]
    if not drawn or width < 30 or height < 4:
        return []
    marks = [each.symbol if unicode else _ASCII_MARKS[i % len(_ASCII_MARKS)] for i, each in enumerate(drawn)]
    low, high = _range(drawn, axes)
    labels = {
        row: _label(high + (low - high) * row / (height - 1), axes, high - low) for row in _ticks(height)
    }
    margin = max(map(len, labels.values())) + 1
    grid = _Grid(width - margin - 1, height, max(max(each.x) for each in drawn), low, high, unicode=unicode)
    if axes.target is not None and low <= axes.target <= high:
        grid.rule(axes.target)
    for each in drawn:
        grid.curve(each)
    for place, (each, mark) in enumerate(zip(drawn, marks, strict=True)):
        grid.marks(each, mark, (place + 0.5) / len(drawn))
    bar, corner, dash = ("│", "└", "─") if unicode else ("|", "+", "-")
    title = f"{axes.y}" + (f" ({'╌' if unicode else '.'} target)" if grid.has_rule else "")
    lines: list[Line] = [[(set_cell_size(title, min(width, cell_len(title))), "bold")]]
    for row, content in enumerate(grid.rows()):
        lines.append([(f"{labels.get(row, ''):>{margin - 1}} {bar}", "dim"), *content])
    lines.append([(" " * margin + corner + dash * (width - margin - 1), "dim")])
    end = f"{_time(grid.most)} {axes.x}"
    lines.append([(" " * (margin + 1) + "0" + end.rjust(width - margin - 2), "dim")])
    return lines + list(_legend(drawn, marks, width))


class _Grid:
    """Cells of a chart with their dots, character and colour."""

    def __init__(
        self, columns: int, rows: int, most: float, low: float, high: float, *, unicode: bool
    ) -> None:
        self.columns, self.height, self.most = columns, rows, most or 1.0
        self.low, self.high, self.unicode = low, high, unicode
        self.has_rule = False
        self._dots: dict[tuple[int, int], int] = {}
        self._cells: dict[tuple[int, int], tuple[str, str]] = {}

    def curve(self, series: Series) -> None:
        """Draw straight lines between the points."""
        wide, tall = (2, 4) if self.unicode else (1, 1)
        first, last = (self._across(x, wide) for x in (series.x[0], series.x[-1]))
        before: int | None = None
        for at in range(first, last + 1):
            down = self._down(_between(series, self.most * at / (self.columns * wide - 1)), tall)
            near = before if before is not None else down
            for dot in range(min(near, down), max(near, down) + 1):
                self._put(at, dot, series.colour)
            before = down

    def marks(self, series: Series, mark: str, offset: float) -> None:
        """A few along the curve, at other places for each entry, so that they don't hide one another."""
        first, last = self._across(series.x[0], 1), self._across(series.x[-1], 1)
        for share in ((place + offset) / _MARKS_A_CURVE for place in range(_MARKS_A_CURVE)):
            column = first + round(share * (last - first))
            row = self._down(_between(series, self.most * column / max(1, self.columns - 1)), 1)
            self._cells[row, column] = (mark, series.colour)

    def rule(self, value: float) -> None:
        row = self._down(value, 1)
        self.has_rule = True
        for column in range(self.columns):
            self._cells[row, column] = ("╌" if self.unicode else ".", "dim")

    def rows(self) -> Iterator[Line]:
        for row in range(self.height):
            line: Line = []
            for column in range(self.columns):
                text, colour = self._cells.get((row, column), (" ", ""))
                if line and line[-1][1] == colour:
                    line[-1] = (line[-1][0] + text, colour)
                else:
                    line.append((text, colour))
            yield line

    def _put(self, across: int, down: int, colour: str) -> None:
        if not self.unicode:
            self._cells[down, across] = (".", colour)
            return
        cell = down // 4, across // 2
        self._dots[cell] = self._dots.get(cell, 0) | _DOTS[down % 4][across % 2]
        self._cells[cell] = (chr(_BRAILLE + self._dots[cell]), colour)

    def _across(self, x: float, wide: int) -> int:
        return round(x / self.most * (self.columns * wide - 1))

    def _down(self, y: float, tall: int) -> int:
        share = (self.high - min(max(y, self.low), self.high)) / (self.high - self.low)
        return round(share * (self.height * tall - 1))


def _between(series: Series, x: float) -> float:
    """Return the value at `x` by linear interpolation; outside of the range the first or last value."""
    xs, ys = series.x, series.y
    after = next((index for index, value in enumerate(xs) if value >= x), len(xs) - 1)
    if after == 0 or x >= xs[-1]:
        return ys[0] if after == 0 else ys[-1]
    span = xs[after] - xs[after - 1]
    share = (x - xs[after - 1]) / span if span > 0 else 1.0
    return ys[after - 1] + share * (ys[after] - ys[after - 1])


def _range(drawn: Sequence[Series], axes: Axes) -> tuple[float, float]:
    values = [value for each in drawn for value in each.y]
    low, high = max(min(values), axes.low), min(max(values), axes.high)
    if axes.target is not None and low - 0.5 * (high - low) <= axes.target <= high + 0.5 * (high - low):
        low, high = min(low, axes.target), max(high, axes.target)
    return (low, high) if high > low else (low - 0.5 * (abs(low) or 1), low + 0.5 * (abs(low) or 1))


def _ticks(height: int) -> list[int]:
    return sorted({0, (height - 1) // 2, height - 1})


def _label(value: float, axes: Axes, span: float) -> str:
    if axes.scale != 1.0:
        return (
            f"{axes.scale * value:.{0 if axes.scale * span >= 20 else 1 if axes.scale * span >= 1 else 2}f}"
        )
    return number(value, 3)


def _time(value: float) -> str:
    return f"{value:g}" if value == round(value) else seconds(value)


def _legend(drawn: Sequence[Series], marks: Sequence[str], width: int) -> Iterator[Line]:
    """Yield the lines of the legend with as many entries as fit; long names are cut."""
    most = max(8, min(60, width // 2 - 4))
    line: Line = []
    used = 0
    for each, mark in zip(drawn, marks, strict=True):
        name = (
            each.name if cell_len(each.name) <= most else set_cell_size(each.name, most - 2).rstrip() + ".."
        )
        text = f"{mark} {name}"
        if line and used + cell_len(text) + 3 > width:
            yield line
            line, used = [], 0
        line += [("   " if line else "", ""), (text, each.colour)]
        used += cell_len(text) + 3
    if line:
        yield line
