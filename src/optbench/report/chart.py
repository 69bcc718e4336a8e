"""Figures of lines in a terminal: braille dots with a marker per entry, or plain ASCII.

The figures are described once (`optbench.report.plots`); this module draws their lines, dotted rules and markers without bands.
Markers distinguish entries without colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.cells import cell_len, set_cell_size

from optbench.report.drawing import Drawing
from optbench.report.plots import UNITS, Axis, Entry, Panel, Plot, Points, Rule, seeds_text
from optbench.report.plots import Line as Curve
from optbench.report.text import number, seconds

#: text and its colour or style ("" for none), one after another
Line = list[tuple[str, str]]

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of a cell
_ASCII_MARKS = "ox+*#@%&$=abcdefghijklmnpqrstuvwyz"
_MARKS_PER_CURVE = 4
_MAX_ENTRIES = 8
_MAX_CHARTS = 4
_TIMES = ("seconds", "epoch", "step")  # the first of these that all entries have


def charts(
    drawings: Sequence[Drawing], width: int, height: int, *, unicode: bool = True, dark: bool = True
) -> list[Line]:
    """Return the lines of the charts of one suite's figures, with headings and captions; [] if there is nothing to draw."""
    lines: list[Line] = []
    for drawing in drawings[:_MAX_CHARTS]:
        if of_figure := chart(drawing.plot, width, height, unicode=unicode, dark=dark):
            heading: list[Line] = [[(drawing.heading, "bold")]] if drawing.heading else []
            lines += [[], *heading, *of_figure]
    if len(drawings) > _MAX_CHARTS:
        lines.append([(f"Charts show the first {_MAX_CHARTS} of {len(drawings)} figures.", "dim")])
    return lines


def chart(plot: Plot, width: int, height: int, *, unicode: bool = True, dark: bool = True) -> list[Line]:
    """Return the lines of one figure: title, `height` rows, axis, legend and caption.

    Returns [] if no line has two points or the size is below 30 x 4.
    """
    panel = _panel(plot)
    known = {mark.entry: mark for mark in panel.marks if isinstance(mark, Curve) and len(mark.x) > 1}
    if not known or width < 30 or height < 4:
        return []
    shown = _shown(known, panel.y)
    styles = {place: plot.entries[place].style for place in shown}
    colours = {place: style.dark if dark else style.light for place, style in styles.items()}
    symbols = {
        place: style.symbol if unicode else _ASCII_MARKS[at % len(_ASCII_MARKS)]
        for at, (place, style) in enumerate(styles.items())
    }
    values = [value for curve in shown.values() for value in curve.y]
    x = _Scale.of(panel.x, [value for curve in shown.values() for value in curve.x])
    y = _Scale.of(panel.y, values)
    ticks = sorted({0, (height - 1) // 2, height - 1})
    labels = {row: _label(y.value(1 - row / (height - 1)), panel.y.format, y) for row in ticks}
    margin = max(map(len, labels.values())) + 1
    grid = _Grid(width - margin - 1, height, unicode=unicode)
    targets = [y.share(mark.y) for mark in panel.marks if isinstance(mark, Rule)]
    targets = [share for share in targets if 0 <= share <= 1]
    for share in targets:
        grid.rule(share)
    paths = {
        place: [
            (_limited(x.share(a)), _limited(y.share(b)))
            for a, b in zip(curve.x, curve.y, strict=True)
            if not math.isnan(b)
        ]
        for place, curve in shown.items()
    }
    for place, path in paths.items():
        grid.curve(path, colours[place])
    for at, (place, path) in enumerate(paths.items()):
        grid.marks(path, symbols[place], colours[place], (at + 0.5) / len(paths))
    lost = False
    for mark in panel.marks:
        if isinstance(mark, Points) and mark.marker == "x" and mark.entry in shown:
            grid.mark(_limited(x.share(mark.x[0])), _limited(y.share(mark.y[0])), "x", colours[mark.entry])
            lost = True
    title = " ".join([panel.y.label, UNITS[panel.y.format][1]]).strip()
    title += f" ({'╌' if unicode else '.'} target)" if targets else ""
    bar, corner, dash = ("│", "└", "─") if unicode else ("|", "+", "-")
    lines: list[Line] = [[(set_cell_size(title, min(width, cell_len(title))), "bold")]]
    for row, content in enumerate(grid.rows()):
        lines.append([(f"{labels.get(row, ''):>{margin - 1}} {bar}", "dim"), *content])
    lines.append([(" " * margin + corner + dash * (width - margin - 1), "dim")])
    first, last = _time(x.low), f"{_time(x.high)} {panel.x.label}"
    lines.append([(" " * (margin + 1) + first + last.rjust(width - margin - 1 - len(first)), "dim")])
    lines += _legend([(plot.entries[place], symbols[place], colours[place]) for place in shown], width)
    cut = any(not 0 <= y.share(value) <= 1 for value in values if not math.isnan(value))
    lines.append([(_caption(plot, panel, len(known), shown, cut=cut, lost=lost), "dim")])
    return lines


class _Scale:
    """A range of an axis, and positions on it: 0 at its start, 1 at its end."""

    def __init__(self, low: float, high: float, *, log: bool) -> None:
        self.low, self.high, self.log = low, high, log

    @classmethod
    def of(cls, axis: Axis, values: Sequence[float]) -> _Scale:
        known = [value for value in values if math.isfinite(value)] or [0.0]
        low = axis.low if axis.low is not None else min(known)
        high = axis.high if axis.high is not None else max(known)
        if not high > low:
            low, high = low - 0.5 * (abs(low) or 1), low + 0.5 * (abs(low) or 1)
        return cls(low, high, log=axis.log and low > 0)

    def share(self, value: float) -> float:
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low) if value > 0 else -math.inf
        return (value - self.low) / (self.high - self.low)

    def value(self, share: float) -> float:
        if self.log:
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)


def _limited(share: float) -> float:
    return min(max(share, 0.0), 1.0)


class _Grid:
    """Cells of a chart with their dots, character and colour. Positions are shares of the width, and of the height from below."""

    def __init__(self, columns: int, rows: int, *, unicode: bool) -> None:
        self.columns, self.height, self.unicode = columns, rows, unicode
        self._dots: dict[tuple[int, int], int] = {}
        self._cells: dict[tuple[int, int], tuple[str, str]] = {}

    def curve(self, path: Sequence[tuple[float, float]], colour: str) -> None:
        """Draw straight lines between the points."""
        wide, tall = (2, 4) if self.unicode else (1, 1)
        columns = self.columns * wide
        before: int | None = None
        for at in range(_place(path[0][0], columns), _place(path[-1][0], columns) + 1):
            down = _place(1 - _between(path, at / (columns - 1)), self.height * tall)
            near = before if before is not None else down
            for dot in range(min(near, down), max(near, down) + 1):
                self._put(at, dot, colour)
            before = down

    def marks(self, path: Sequence[tuple[float, float]], mark: str, colour: str, offset: float) -> None:
        """Put a few marks on the curve, at other places for each entry, so that they don't hide one another."""
        first, last = path[0][0], path[-1][0]
        for share in ((place + offset) / _MARKS_PER_CURVE for place in range(_MARKS_PER_CURVE)):
            at = first + share * (last - first)
            self.mark(at, _between(path, at), mark, colour)

    def mark(self, across: float, up: float, mark: str, colour: str) -> None:
        self._cells[_place(1 - up, self.height), _place(across, self.columns)] = (mark, colour)

    def rule(self, up: float) -> None:
        for column in range(self.columns):
            self._cells[_place(1 - up, self.height), column] = ("╌" if self.unicode else ".", "dim")

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


def _place(share: float, count: int) -> int:
    return round(share * (count - 1))


def _between(path: Sequence[tuple[float, float]], x: float) -> float:
    """Return the height at `x` by linear interpolation; outside of the range the first or last value."""
    for (before, low), (after, high) in pairwise(path):
        if x <= after:
            share = (x - before) / (after - before) if after > before else 1.0
            return low + max(0.0, share) * (high - low)
    return path[-1][1]


def _panel(plot: Plot) -> Panel:
    """Return the panel against seconds if it has all entries, otherwise epochs, otherwise steps; the first without time."""

    def lines(panel: Panel) -> int:
        return sum(isinstance(mark, Curve) and len(mark.x) > 1 for mark in panel.marks)

    most = max(map(lines, plot.panels))
    by_time = {panel.time: panel for panel in plot.panels if lines(panel) == most}
    return next((by_time[time] for time in _TIMES if time in by_time), plot.panels[0])


def _shown(known: dict[int, Curve], axis: Axis) -> dict[int, Curve]:
    """Return at most `_MAX_ENTRIES` lines in the order of the entries: those with the best last values."""
    best = sorted(known, key=lambda place: known[place].y[-1], reverse=axis.higher_is_better)
    kept = set(best[:_MAX_ENTRIES])
    return {place: curve for place, curve in known.items() if place in kept}


def _label(value: float, format: str, scale: _Scale) -> str:
    factor = UNITS[format][0]
    if factor != 1.0:
        span = factor * (scale.high - scale.low)
        return f"{factor * value:.{0 if span >= 20 else 1 if span >= 1 else 2}f}"
    return number(value, 3)


def _time(value: float) -> str:
    return f"{value:g}" if value == round(value) else seconds(value)


def _legend(shown: Sequence[tuple[Entry, str, str]], width: int) -> Iterator[Line]:
    """Yield the lines of the legend with as many entries as fit; long names are cut."""
    most = max(8, min(60, width // 2 - 4))
    line: Line = []
    used = 0
    for entry, mark, colour in shown:
        name = entry.name
        if cell_len(name) > most:
            name = set_cell_size(name, most - 2).rstrip() + ".."
        text = f"{mark} {name}"
        if line and used + cell_len(text) + 3 > width:
            yield line
            line, used = [], 0
        line += [("   " if line else "", ""), (text, colour)]
        used += cell_len(text) + 3
    if line:
        yield line


def _caption(
    plot: Plot, panel: Panel, entries: int, shown: dict[int, Curve], *, cut: bool, lost: bool
) -> str:
    counts = [max(curve.counts) for curve in shown.values() if curve.counts]
    if counts and max(counts) == 1:
        parts = ["One seed per entry"]
    elif counts:
        parts = [f"Lines: median of {seeds_text(counts)}, without bands"]
    else:
        parts = ["Without bands"]
    if len(shown) < entries:
        best = "highest" if panel.y.higher_is_better else "lowest"
        parts.append(f"the {len(shown)} of {entries} entries with the {best} final values")
    if cut:
        parts.append("values outside of the axis are drawn at its edge")
    text = "; ".join(parts) + "."
    return text + (" " + next((note for note in plot.notes if note.startswith("x: ")), "") if lost else "")
