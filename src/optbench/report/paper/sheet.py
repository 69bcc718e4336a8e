"""Layout of figures: sizes for a two-column paper, title, panels, a legend that wraps, and a note below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optbench.report.colours import Style, legend_items
from optbench.report.paper.text import FONT, label_lines, shown, width, wrapped
from optbench.report.plots import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: inches: one column of a two-column paper, and both
SINGLE, DOUBLE = 3.3, 6.9
#: points
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 8.0, 7.0, 6.0
INK, FAINT, GRID = "#222222", "#6b6b6b", "#e4e4e4"
_SETTINGS: dict[str, Any] = {
    "font.family": FONT,
    "font.size": TEXT_SIZE,
    "axes.labelsize": TEXT_SIZE,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.labelsize": SMALL_SIZE + 0.5,
    "ytick.labelsize": SMALL_SIZE + 0.5,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.2,
    "lines.markeredgewidth": 0.0,
    "hatch.linewidth": 0.4,
    "text.parse_math": False,  # a label may have a $
    "svg.fonttype": "path",  # looks the same where the font is not installed
    "svg.hashsalt": "optbench",
    "pdf.fonttype": 42,  # TrueType, as journals ask
    "savefig.dpi": 220,
}
_CAPTIONS = ContextVar("captions", default=True)
_ROW = 0.135  # of a legend
_MORE = 0.12  # of each further line of a label
_BETWEEN = 0.3  # below each of several panels: its ticks
_SHORT = 1.75  # names in a legend of many


@contextmanager
def settings(*, captions: bool = True) -> Iterator[None]:
    """Apply matplotlib's own defaults and ours, whatever a matplotlibrc says, and restore the earlier ones afterwards.

    Without `captions`, sheets have no title and no note. Nothing is printed on standard error.
    """
    import logging
    import warnings

    import matplotlib

    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    token = _CAPTIONS.set(captions)
    try:
        with warnings.catch_warnings(), matplotlib.rc_context():
            warnings.simplefilter("ignore")
            matplotlib.rcdefaults()
            parameters: Any = matplotlib.rcParams
            parameters.update(_SETTINGS)
            yield
    finally:
        _CAPTIONS.reset(token)
        log.setLevel(level)


def sheet(
    title: str,
    note: Sequence[str],
    legend: Sequence[Any] = (),
    *,
    panels: int = 1,
    size: tuple[float, float] = (SINGLE, 1.9),
    left: float = 0.5,
    right: float = 0.1,
    gap: float = 0.22,
    titled_panels: bool = False,
    below: float = 0.4,
    above: float = 0.0,
    heights: Sequence[float] = (),
) -> tuple[Figure, list[Axes]]:
    """Return a figure of width `size[0]` (inches), as high as panels of height `size[1]`, legend and note need, and its panels.

    `legend`: handles with their labels. `heights` (inches): panels of these heights are below each other, instead of `panels` beside
    each other.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide, high = size
    room = wide - 0.2
    captions = _CAPTIONS.get()
    lines = wrapped([shown(sentence) for sentence in note], SMALL_SIZE, room) if captions else []
    columns = _columns(legend, room)
    head = label_lines([title], TITLE_SIZE, room / 1.12, 2)[0] if captions else ""
    top = (0.27 + 0.13 * head.count("\n") if captions else 0.08) + (0.17 if titled_panels else 0) + above
    if heights:
        below = _BETWEEN
        high = sum(heights) + (_BETWEEN + 0.17) * (len(heights) - 1)
    bottom = below + _legend_height(legend, columns) + len(lines) * 0.115 + 0.06
    total = top + high + bottom
    figure = Figure(figsize=(wide, total))
    FigureCanvasAgg(figure)
    each = (wide - left - right - gap * (panels - 1)) / panels
    ends = [bottom + high - sum(heights[: n + 1]) - n * (_BETWEEN + 0.17) for n in range(len(heights))]
    places = [(left, end, each, tall) for end, tall in zip(ends, heights, strict=True)]
    places = places or [(left + n * (each + gap), bottom, each, high) for n in range(panels)]
    axes = [figure.add_axes((x / wide, y / total, w / wide, h / total)) for x, y, w, h in places]
    figure.text(
        0.1 / wide, 1 - 0.06 / total, head, va="top", fontsize=TITLE_SIZE, fontweight="bold", color=INK
    )
    if legend:
        place = (0.1 / wide, (bottom - below) / total)
        figure.legend(
            handles=list(legend),
            loc="upper left",
            bbox_to_anchor=place,
            ncols=columns,
            frameon=False,
            fontsize=SMALL_SIZE + 0.5,
            handlelength=2.8,
            handletextpad=0.5,
            columnspacing=1.2,
            labelspacing=0.5,
            borderpad=0,
            borderaxespad=0,
            labelcolor=INK,
        )
    figure.text(
        0.1 / wide,
        (len(lines) * 0.115 + 0.04) / total,
        "\n".join(lines),
        va="top",
        fontsize=SMALL_SIZE,
        color=FAINT,
        linespacing=1.25,
    )
    return figure, axes


def line_handles(entries: Sequence[Entry], inches: float = 3.0) -> list[Any]:
    """Return the handles of a legend: the line of each entry, or of entries that share a style. Long names take several lines."""
    from matplotlib.lines import Line2D

    items = legend_items((entry.name, entry.style) for entry in entries)
    most = inches if len(items) <= 4 else min(inches, _SHORT)
    labels = label_lines([label for label, _ in items], SMALL_SIZE + 0.5, most)
    return [
        Line2D([], [], label=label, **strokes(style)) for label, (_, style) in zip(labels, items, strict=True)
    ]


def strokes(style: Style, place: int | None = None) -> dict[str, Any]:
    """Return the line properties of a style on white; with `place`, the first lines are wider than those drawn over them.

    Lines of entries that share a style are thin: there are many of them.
    """
    dash: Any = (0, style.dash) if style.dash else "-"
    look = {"color": style.light, "linestyle": dash, "marker": style.marker}
    if place is None:
        return look
    if style.group:
        return look | {"linewidth": 0.5, "markersize": 1.8}
    return look | {"linewidth": max(1.0, 1.6 - 0.1 * place)}


@dataclass(frozen=True)
class RowNames:
    """Names of rows, wrapped; sizes in inches."""

    labels: tuple[str, ...]
    width: float
    row: float  # height that a row needs


def row_names(names: Sequence[str], most: float, row: float) -> RowNames:
    """Wrap names into lines of at most `most` inches. A row is at least `row` inches high."""
    labels = label_lines(names, TEXT_SIZE, most)
    lines = [label.split("\n") for label in labels]
    widest = max(width(line, TEXT_SIZE) for label in lines for line in label)
    return RowNames(tuple(labels), widest + 0.02, max(row, 0.12 * max(map(len, lines)) + 0.05))


def name_rows(axes: Axes, names: RowNames) -> None:
    """Set up one row per entry, the first at the top, labelled with its name."""
    axes.set_ylim(len(names.labels) - 0.5, -0.5)
    axes.set_yticks(range(len(names.labels)), names.labels, fontsize=TEXT_SIZE)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def plain_log(axis: Any) -> None:
    """Label a logarithmic axis with plain numbers at powers of ten and, for few decades, between them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    few = low > 0 and high / low < 60
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _columns(legend: Sequence[Any], room: float) -> int:
    if not legend:
        return 1
    lines = [line for handle in legend for line in str(handle.get_label()).split("\n")]
    widest = max(width(line, SMALL_SIZE + 0.5) for line in lines)
    return max(1, min(len(legend), int((room + 0.1) / (widest + 0.42))))


def _legend_height(legend: Sequence[Any], columns: int) -> float:
    """Return the height in inches; matplotlib fills one column after the other."""
    if not legend:
        return 0.0
    each, longer = divmod(len(legend), columns)
    heights, start = [], 0
    for column in range(columns):
        end = start + each + (column < longer)
        lines = [str(handle.get_label()).count("\n") for handle in legend[start:end]]
        heights.append(sum(_ROW + _MORE * more for more in lines))
        start = end
    return max(heights) + 0.06
