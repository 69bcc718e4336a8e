"""Drawing of a described figure: one panel beside the other, with legend and notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from optbench.report.colours import GREY, legend_items
from optbench.report.paper.sheet import (
    DOUBLE,
    FAINT,
    INK,
    SINGLE,
    SMALL_SIZE,
    TEXT_SIZE,
    RowNames,
    line_handles,
    name_rows,
    plain_log,
    row_names,
    sheet,
    strokes,
)
from optbench.report.paper.text import fitted, place_label, shown, width, wrapped
from optbench.report.plots import (
    FEW,
    UNITS,
    Axis,
    Cells,
    Contours,
    Interval,
    Label,
    Line,
    Panel,
    Plot,
    Points,
    Rule,
    Stack,
)
from optbench.report.text import byte_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: after the name of an entry that is not significantly worse than any other
TOP = "*"
_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "solid": {"facecolor": "#37474f"},
    "light": {"facecolor": "#90a4ae"},
    "own": {"facecolor": "#c8571b"},
    "hatch": {"facecolor": "#f1c8a8", "hatch": "\\\\\\\\"},
    "dots": {"facecolor": "#eceff1", "hatch": "////"},
}
_PART: dict[str, Any] = {"edgecolor": "#54616a", "linewidth": 0.4}
_LABEL_LINE = 0.12  # inches, of each further line of the label of an axis
_LANE = 6.8 / 72  # inches, of marks above the frame
_NAMES, _PANELED_NAMES, _LISTED_NAMES = 1.35, 1.5, 2.2  # inches, of the names of rows
_LIST = 5.2  # inches, of a figure whose panels are below each other


def draw(plot: Plot) -> Figure:
    """Return the figure of the panels for files. Call within `sheet.settings`."""
    panels = [panel for panel in plot.panels if panel.in_files]
    figure, frames = _sheet(plot, panels)
    for axes, panel in zip(frames, panels, strict=True):
        _frame(axes, panel, is_first=axes is frames[0], is_listed=plot.is_list)
        for mark in panel.marks:
            DRAW[type(mark)](axes, mark, plot, panel)
        for axis, described in ((axes.xaxis, panel.x), (axes.yaxis, panel.y)):
            if described.log:
                plain_log(axis)
        if panel.rows and panel.x.low is None:
            low, high = axes.get_xlim()
            axes.set_xlim(low - 0.15 * (high - low), high + 0.15 * (high - low))
    return figure


def _sheet(plot: Plot, panels: Sequence[Panel]) -> tuple[Figure, list[Axes]]:
    first = panels[0]
    if plot.is_list:
        listed = [_listed_names(panel) for panel in panels]
        heights = [each.row * len(each.labels) + 0.06 for each in listed]
        left = max(each.width for each in listed) + 0.18
        title = f"{plot.place}: {plot.title}"
        return sheet(
            title, plot.notes, size=(_LIST, 0), left=left, right=0.15, titled_panels=True, heights=heights
        )
    lanes = [mark.y if isinstance(mark, Interval) else max(mark.y) for panel in panels for mark in panel.marks
             if isinstance(mark, Interval | Points) and mark.above]  # fmt: skip
    cells = [mark for mark in first.marks if isinstance(mark, Cells)]
    wide = DOUBLE if len(panels) > 1 else SINGLE
    settings: dict[str, Any] = {"left": 0.5, "right": 0.1}
    names: list[str] = []
    if first.rows:
        names = _names(panels)
        tall = 0.34 if any(isinstance(mark, Label) and mark.x is not None for mark in first.marks) else 0.2
        named = row_names(names, _PANELED_NAMES if len(panels) > 1 else _NAMES, tall)
        size = wide, max(0.5, named.row * len(names) + 0.08)
        texts = [mark.text for mark in first.marks if isinstance(mark, Stack)]
        room = max((width(text, SMALL_SIZE) for text in texts), default=0.0)
        settings = {"left": named.width + 0.18, "right": 0.15 + room, "gap": 0.25}
        legend = _part_handles(first)
    elif cells:
        size = wide, max(0.8, min(6.0, 0.28 * len(cells[0].rows)))
        settings, legend = {"left": 0.62, "right": 0.1}, []
    else:
        size, legend = (wide, 1.9 if len(panels) < 4 else 1.6), line_handles(plot.entries, wide - 0.8)
        same = all(panel.y == first.y for panel in panels)
        names = [label for label, _ in legend_items((entry.name, entry.style) for entry in plot.entries)]
        lines = _y_label(first, size[1]).count("\n")
        settings["left"] += _LABEL_LINE * lines if not first.title else 0.0
        settings |= {"above": (max(lanes) + 1) * _LANE if lanes else 0.0, "gap": 0.22 if same else 0.42}
    notes = [
        note.replace("{top}", TOP) for note in (*plot.notes, *dict.fromkeys(p.note for p in panels)) if note
    ]
    if len(plot.entries) > FEW and any(isinstance(mark, Line) and mark.low for mark in first.marks):
        notes.append(f"Bands are omitted for more than {FEW} entries.")
    replaced = [
        label
        for place, name in enumerate(names)
        if shown(name, place) == (label := place_label(place)) != name
    ]
    if replaced:
        notes.append(f"{', '.join(replaced)}: label with characters that the font lacks.")
    titled = any(panel.title for panel in panels)
    title = f"{plot.place}: {plot.title}"
    return sheet(title, notes, legend, panels=len(panels), size=size, titled_panels=titled, **settings)


def _listed_names(panel: Panel) -> RowNames:
    return row_names(_names([panel]), _LISTED_NAMES, 0.34)


def _names(panels: Sequence[Panel]) -> list[str]:
    return [f"{row.name} {TOP}" if row.is_top else row.name for row in panels[0].rows]


def _frame(axes: Axes, panel: Panel, *, is_first: bool, is_listed: bool) -> None:
    """Set axes, labels and title of a panel."""
    if panel.title:
        wide = _inches(axes)
        title = fitted(panel.title + _in_unit(panel), TEXT_SIZE, wide + 0.15)
        axes.set_title(title, fontsize=TEXT_SIZE, loc="left", pad=4)
    if panel.rows:
        most = _PANELED_NAMES if panel.title else _NAMES
        name_rows(axes, _listed_names(panel) if is_listed else row_names(_names([panel]), most, 0.2))
        if any(isinstance(mark, Label) and mark.x is not None for mark in panel.marks):
            axes.set_ylim(len(panel.rows) - 0.3, -0.5)  # room for the labels of the last row
        axes.locator_params(axis="x", nbins=max(2, min(7, int(_inches(axes) / 0.3))))
    _scale(axes.xaxis, panel.x)
    if not panel.title or not panel.rows:
        axes.set_xlabel(panel.x.label + _unit(panel.x))
    if not panel.rows:
        _scale(axes.yaxis, panel.y)
        if panel.title:
            return
        if is_first:
            axes.set_ylabel(_y_label(panel, _inches(axes, "height")))
    if not is_first and not is_listed:
        axes.tick_params(axis="y", labelleft=False)


def _y_label(panel: Panel, height: float) -> str:
    """Return the label of the y axis in lines that are not longer than the axis (inches)."""
    return "\n".join(wrapped([panel.y.label + _unit(panel.y)], TEXT_SIZE, height))


def _inches(axes: Axes, side: Literal["width", "height"] = "width") -> float:
    figure: Any = axes.figure
    return float(getattr(axes.get_position(), side) * getattr(figure, f"get_fig{side}")())


def _in_unit(panel: Panel) -> str:
    return _unit(panel.x) if panel.rows else _unit(panel.y)


def _unit(axis: Axis) -> str:
    name = byte_unit(axis.high or 0.0)[1] if axis.format == "bytes" else UNITS[axis.format][1]
    return f" ({name})" if name else ""


def _factor(axis: Axis) -> float:
    return 1 / byte_unit(axis.high or 0.0)[0] if axis.format == "bytes" else UNITS[axis.format][0]


def _scale(axis: Any, described: Axis) -> None:
    if described.log:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    if described.low is not None and described.high is not None:
        factor = _factor(described)
        axis.axes.set(**{f"{axis.axis_name}lim": (factor * described.low, factor * described.high)})


def _line(axes: Axes, mark: Line, plot: Plot, panel: Panel) -> None:
    factor, style = _factor(panel.y), plot.entries[mark.entry].style
    x, y = np.array(mark.x, dtype=float), factor * np.array(mark.y, dtype=float)
    is_baseline = not style.group and any(entry.style.group for entry in plot.entries)
    look = strokes(style, 0 if is_baseline else mark.entry)
    if mark.steps:
        rises = np.flatnonzero(np.diff(y, prepend=y[0] if mark.counts else -1.0)).tolist()
        look |= {"drawstyle": "steps-post", "markevery": rises}
    elif not panel.time:
        look |= {"markevery": 1}
    else:
        every = max(1, len(x) // 5)
        look |= {"markevery": (min(mark.entry % every, len(x) - 1), every)}
    axes.plot(x, y, zorder=2.5 if style == GREY else 3 if style.group else 3.5, **look)
    if mark.low and len(plot.entries) <= FEW:
        low, high = (factor * np.array(end, dtype=float) for end in (mark.low, mark.high))
        if mark.steps:  # each band up to the next point
            x = np.repeat(x, 2)[1:]
            low, high = (np.repeat(end, 2)[:-1] for end in (low, high))
        axes.fill_between(x, low, high, color=style.light, alpha=0.13, linewidth=0, zorder=2)


def _points(axes: Axes, mark: Points, plot: Plot, panel: Panel) -> None:
    style = plot.entries[mark.entry].style if mark.entry is not None else None
    colour = style.light if style else INK
    marker = mark.marker or (style.marker if style else "o")
    is_thin = marker in ("|", "x")
    look: dict[str, Any] = {
        "linestyle": "none",
        "marker": marker,
        "color": colour,
        "zorder": 5 if is_thin or not style else 4,
    }
    look |= {"markeredgewidth": 1.2} if is_thin else {}
    look["markersize"] = 7 if is_thin else 4.5 if mark.above else 3.8
    if mark.is_open:
        look |= {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 0.8}
    x = _factor(panel.x) * np.array(mark.x, dtype=float)
    if mark.above:
        axes.plot(x, np.ones(len(x)), transform=_above(axes, mark.y[0]), clip_on=False, **look)
        return
    axes.plot(x, (1.0 if panel.rows else _factor(panel.y)) * np.array(mark.y, dtype=float), **look)


def _above(axes: Axes, lane: float) -> Any:
    """Return the transform of marks above the frame, whose height is 1."""
    from matplotlib.transforms import ScaledTranslation

    figure: Any = axes.figure
    return axes.get_xaxis_transform() + ScaledTranslation(0, (lane + 0.6) * _LANE, figure.dpi_scale_trans)


def _interval(axes: Axes, mark: Interval, plot: Plot, panel: Panel) -> None:
    factor = _factor(panel.x)
    low, high = factor * mark.low, factor * mark.high
    if mark.look == "shade":
        axes.barh([mark.y], [high - low], left=[low], height=0.5, color="#dfe3e6", zorder=1)
        return
    colour = plot.entries[mark.entry].style.light if mark.entry is not None else INK
    look: dict[str, Any] = {"color": colour, "linewidth": 0.9, "solid_capstyle": "butt", "zorder": 3}
    if mark.look == "bar":  # one of a single value is as wide as the line's cap
        look |= {"linewidth": 4, "alpha": 0.45, "solid_capstyle": "butt" if high > low else "projecting"}
    if mark.above:
        axes.plot([low, high], [1.0, 1.0], transform=_above(axes, mark.y), clip_on=False, **look)
    else:
        axes.plot([low, high], [mark.y, mark.y], **look)


def _stack(axes: Axes, mark: Stack, plot: Plot, panel: Panel) -> None:
    start, factor = 0.0, _factor(panel.x)
    for part, size in zip(panel.parts, mark.sizes, strict=True):
        if size > 0:
            axes.barh(
                [mark.row], [factor * size], left=[start], height=0.66, zorder=3, **_PART, **_LOOKS[part.look]
            )
            start += factor * size
    place: dict[str, Any] = {
        "xytext": (3, 0),
        "textcoords": "offset points",
        "va": "center",
        "fontsize": SMALL_SIZE,
    }
    axes.annotate(mark.text, (start, mark.row), **place)


def _part_handles(panel: Panel) -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(label=part.name, **_PART, **_LOOKS[part.look]) for part in panel.parts]


def _label(axes: Axes, mark: Label, plot: Plot, panel: Panel) -> None:
    look: dict[str, Any] = {
        "textcoords": "offset points",
        "fontsize": SMALL_SIZE - 0.5,
        "color": FAINT,
        "zorder": 6,
    }
    if mark.x is None:  # below the points
        at: dict[str, Any] = {
            "xy": (0, mark.row),
            "xycoords": ("axes fraction", "data"),
            "xytext": (3, -4.5),
            "va": "center",
        }
    else:
        (low, high), x = axes.get_xlim(), _factor(panel.x) * mark.x
        half = (width(mark.text, SMALL_SIZE - 0.5) / 2 + 0.02) * (high - low) / _inches(axes)
        x = min(max(x, low + half), high - half) if panel.x.low is not None else x  # stays within the frame
        at = {"xy": (x, mark.row + 0.2), "xytext": (0, -3), "ha": "center", "va": "top"}
    axes.annotate(mark.text, **at, **look)


def _rule(axes: Axes, mark: Rule, plot: Plot, panel: Panel) -> None:
    axes.axhline(_factor(panel.y) * mark.y, color=INK, linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)


def _cells(axes: Axes, mark: Cells, plot: Plot, panel: Panel) -> None:
    from matplotlib.patches import Rectangle

    values = np.array(mark.values, dtype=float)
    low, high = sorted((mark.worst, mark.best))
    shade = "cividis" if mark.best >= mark.worst else "cividis_r"
    axes.imshow(values, origin="lower", aspect="auto", cmap=shade, vmin=low, vmax=high)
    axes.grid(visible=False)
    room = _inches(axes) / len(mark.columns)
    every = math.ceil((max(width(text, SMALL_SIZE + 0.5) for text in mark.columns) + 0.06) / room)
    axes.set_xticks(range(0, len(mark.columns), every), mark.columns[::every])
    axes.set_yticks(range(len(mark.rows)), mark.rows)
    texts = [(x, y) for y, row in enumerate(mark.texts) for x in range(len(row))]
    fit = max(width(mark.texts[y][x], SMALL_SIZE) for x, y in texts) + 0.04 <= room
    for x, y in texts if fit else ():
        is_light = abs(values[y][x] - mark.best) < abs(mark.best - mark.worst) / 2 or mark.best == mark.worst
        ink = "#111111" if is_light else "#ffffff"
        axes.text(x, y, mark.texts[y][x], ha="center", va="center", fontsize=SMALL_SIZE, color=ink)
    if mark.framed:
        corner = (mark.framed[0] - 0.5, mark.framed[1] - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=1.4, clip_on=False))


def _contours(axes: Axes, mark: Contours, plot: Plot, panel: Panel) -> None:
    for x, y in mark.lines:
        axes.plot(x, y, color="#b6bec4", linewidth=0.5, zorder=1)


#: the function that draws each kind of mark
DRAW: Mapping[type, Callable[[Axes, Any, Plot, Panel], None]] = {
    Line: _line,
    Points: _points,
    Interval: _interval,
    Stack: _stack,
    Label: _label,
    Rule: _rule,
    Cells: _cells,
    Contours: _contours,
}
