"""Description of a figure, independent of how it is drawn: panels with axes, rows and marks.

`report/paper/` draws it with matplotlib as SVG, PNG and PDF, `report/page/plots.js` on the HTML page, and `report/chart.py` in a
terminal. Numbers are plain floats; NaN is unknown. The description determines the picture completely.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from optbench.report.colours import Style
from optbench.report.text import byte_unit, number
from optbench.suite.metric_facts import FRACTION

Numbers = tuple[float, ...]
#: with more entries, bands and marks above the frame would hide each other
FEW = 8


@dataclass(frozen=True)
class Entry:
    """The entry that a line or a row shows."""

    key: str  # its config_id, or its name where a figure is of several workloads
    name: str
    style: Style
    legend: str = ""  # its name in the legend of the page, if another


@dataclass(frozen=True)
class Axis:
    """`low` and `high` limit the range that is shown at first; values may lie outside of it. None: all values.

    `higher_is_better`: which entries a terminal shows if there are too many.
    """

    label: str
    format: str = "number"  # a key of `UNITS`
    low: float | None = None
    high: float | None = None
    log: bool = False
    higher_is_better: bool = False


@dataclass(frozen=True)
class Line:
    """A line of an entry, with a band where `low` and `high` are known. `steps`: constant up to the next point."""

    entry: int  # index in the entries of the plot
    x: Numbers
    y: Numbers
    low: Numbers = ()
    high: Numbers = ()
    counts: tuple[int, ...] = ()  # per point
    counted: str = "seeds"  # what `counts` are
    steps: bool = False


@dataclass(frozen=True)
class Points:
    """Markers. In a panel with rows, y is the row from the top. `above`: y is a lane above the frame, from 0."""

    x: Numbers
    y: Numbers
    entry: int | None = None  # of colour and marker; None: the colour of text
    marker: str = ""  # matplotlib's name; "": that of the entry
    is_open: bool = False
    above: bool = False


@dataclass(frozen=True)
class Interval:
    """A horizontal line from `low` to `high` at height or row `y`. `look`: "line", "bar" (broad) or "shade" (as high as a row)."""

    low: float
    high: float
    y: float
    entry: int | None = None
    look: str = "line"
    above: bool = False


@dataclass(frozen=True)
class Stack:
    """A stacked bar in a row: one size per part of the panel; `text` is at its end."""

    row: int
    sizes: Numbers
    text: str = ""


@dataclass(frozen=True)
class Label:
    """Text in a row: below the value `x`, or at the start of the row (None)."""

    row: int
    text: str
    x: float | None = None


@dataclass(frozen=True)
class Rule:
    """A dotted horizontal line, such as a target."""

    y: float
    label: str


@dataclass(frozen=True)
class Cells:
    """A heat map of one entry: `values[y][x]`, from the lowest y. The lightest colour is `best`, the darkest `worst` and beyond."""

    entry: int
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[Numbers, ...]
    texts: tuple[tuple[str, ...], ...]  # in the cells
    facts: tuple[tuple[str, ...], ...]  # value with its interval, of each cell
    more: tuple[tuple[str, ...], ...]  # seeds and failures
    worst: float
    best: float
    format: str = "number"  # of the values
    framed: tuple[int, int] | None = None  # x and y of the configured value


@dataclass(frozen=True)
class Contours:
    """Level lines of a function of both axes: x and y of each piece. The axes then show their whole range."""

    lines: tuple[tuple[Numbers, Numbers], ...]


Mark = Line | Points | Interval | Stack | Label | Rule | Cells | Contours


@dataclass(frozen=True)
class Row:
    """A row of a panel. `facts`: name, value and remark of each number in it."""

    entry: int
    name: str
    facts: tuple[tuple[str, str, str], ...]
    is_top: bool = False  # not significantly worse than any other


@dataclass(frozen=True)
class Part:
    """A part of stacked bars. `look`: "solid", "light", "own", "hatch" or "dots", which differ in lightness and pattern."""

    name: str
    look: str


@dataclass(frozen=True)
class Panel:
    """Marks on common axes. With `rows` the vertical axis is their list, and `y` is not used.

    `time`: unit of the x axis, a key of `TIMES`; "" if it is not time. Panels of one title that differ in it are alternatives:
    the page shows one, files show all with `in_files` beside each other.
    """

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    title: str = ""
    rows: tuple[Row, ...] = ()
    parts: tuple[Part, ...] = ()
    time: str = ""
    in_files: bool = True
    on_page: bool = True
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A figure. With more than `FEW` entries bands are omitted.

    `notes`: sentences; one that explains a mark starts with it, as in `x: ...`.
    """

    place: str  # workload or suite, before the title where a figure stands alone
    title: str  # without the place
    notes: tuple[str, ...]
    panels: tuple[Panel, ...]
    entries: tuple[Entry, ...]
    is_list: bool = False  # panels have rows of their own, and are below each other in files


#: units of time -> column of curves, unit in names of other columns, label of the axis
TIMES = {
    "epoch": ("epoch", "epochs", "epochs"),
    "step": ("step", "steps", "steps"),
    "seconds": ("train_seconds", "seconds", "seconds of training"),
    "gradients": ("gradient_evaluations", "gradient_evaluations", "gradient evaluations"),
}
#: formats of an axis -> factor of the numbers shown, unit
UNITS = {
    "number": (1.0, ""),
    "percent": (100.0, "%"),
    "points": (100.0, "points"),  # differences of shares
    "share": (1.0, ""),
    "bytes": (1.0, ""),
}


def format_of(metric_unit: str) -> str:
    """Return the format of a metric's axis."""
    return "percent" if metric_unit == FRACTION else "number"


def value_text(value: float, format: str, low: float = float("nan"), high: float = float("nan")) -> str:
    """Return a value as text, with its interval if both ends are known: `90.50 % (88.10 to 92.90)`."""
    unit = UNITS[format][1]
    shown, *ends = (_text(each, format) for each in (value, low, high))
    text = f"{shown} {unit}".strip()
    return text if low != low or high != high else f"{text} ({' to '.join(ends)})"


def _text(value: float, format: str) -> str:
    if format == "bytes":
        size, name = byte_unit(abs(value))
        return f"{number(value / size)} {name}"
    if format in ("percent", "points"):
        return f"{100 * value:.2f}"
    text = number(value, 4)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def seeds_text(counts: Iterable[Any]) -> str:
    """Return "5 seeds", "3 to 5 seeds", "1 seed"."""
    numbers = sorted({int(count) for count in counts})
    if not numbers:
        return "no seeds"
    if len(numbers) > 1:
        return f"{numbers[0]} to {numbers[-1]} seeds"
    return f"{numbers[0]} seed{'s' * (numbers[0] != 1)}"
