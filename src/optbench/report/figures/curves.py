"""Curves of the metric against epochs, seconds and gradient evaluations: median and band over seeds, target, time to target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from optbench.report.colours import Style
from optbench.report.figures import Drawing
from optbench.report.figures._groups import Group, Material, file_stem, some
from optbench.report.figures._lines import FEW, band_note, draw_curves, lead, set_x, x_range, y_range
from optbench.report.figures._sheet import DOUBLE, INK, SINGLE, Entry, line_handles, sheet
from optbench.report.outcomes import WORST
from optbench.report.text import is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: columns of the comparison
_PASSAGES = {
    "epoch": "epochs_to_target",
    "step": "steps_to_target",
    "train_seconds": "seconds_to_target",
    "gradient_evaluations": "gradient_evaluations_to_target",
}
_ROW = 6.5  # points, of marks above the frame
_APART = 0.03  # of the axis, between marks of one row


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        curves = group.of(material.curves)
        known = curves[curves["split"] == "validation"]
        wanted = [target.metric for target in group.targets] + [group.rows[0].trial.workload.metrics[0]]
        for metric in dict.fromkeys(wanted):
            own = known[known["metric"] == metric]
            if len(own):
                yield _drawing(group, own, metric, material.table, main=metric == wanted[0])


def _drawing(group: Group, curves: pd.DataFrame, metric: str, table: pd.DataFrame, *, main: bool) -> Drawing:
    targets = [target for target in group.targets if (target.metric, target.split) == (metric, "validation")]
    levels = [
        (str(target), float(target.at_least if target.at_least is not None else target.at_most or 0.0))
        for target in targets
    ]
    passages = group.of(table[table["target"].isin([text for text, _ in levels])])
    clocks = [clock for clock in _PASSAGES if clock != "gradient_evaluations" or curves[clock].notna().any()]
    columns = [
        "config_id",
        "optimizer",
        "target",
        "reached",
        "trials",
        *(_PASSAGES[clock] for clock in clocks),
    ]
    content = (
        f"{group.title}: validation {metric}",
        metric,
        curves[["config_id", *clocks, "median", "low", "high", "band", "n", "seeds", "lost", "worst"]],
        passages[columns],
        tuple(levels),
        group.entries_in(curves),
    )
    also = ", seconds and gradient evaluations" if "gradient_evaluations" in clocks else " and seconds"
    caption = f"Validation {metric} of {group.title} against epochs{also}"
    return Drawing(file_stem("curves", metric, group.stem), caption, group.suite.name, draw, content, main)


def draw(
    title: str,
    metric: str,
    curves: pd.DataFrame,
    passages: pd.DataFrame,
    targets: Sequence[tuple[str, float]],
    entries: Sequence[Entry],
) -> Figure:
    further = [clock for clock in ("train_seconds", "gradient_evaluations") if clock in curves]
    units = [lead(curves), *(clock for clock in further if curves[clock].notna().any())]
    scale = 100.0 if is_share(metric) else 1.0
    size = (DOUBLE if len(units) > 1 else SINGLE, 2.1)
    legend = line_handles(entries, size[0] - 0.8)
    note = [band_note(curves, len(entries)), *_notes(curves, passages, targets, entries, metric)]
    levels = [scale * value for _, value in targets]
    seen = y_range(curves, scale, levels, log=scale == 1.0)
    note += ["The first evaluations lie outside the axis."] if seen.cuts else []
    marks = {x: _marks(curves, passages, targets, entries, x) for x in units if len(entries) <= FEW}
    rows = max((mark.row + 1 for own in marks.values() for mark in own), default=0)
    above = _ROW * rows / 72
    figure, panels = sheet(title, note, legend, panels=len(units), size=size, above=above)
    for axes, x in zip(panels, units, strict=True):
        draw_curves(axes, curves, entries, x, scale)
        set_x(axes, curves, x)
        seen.set(axes)
        for level in levels:
            axes.axhline(level, color=INK, linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
        _draw_marks(axes, marks.get(x, []))
        if axes is panels[0]:
            axes.set_ylabel(f"validation {metric}" + (" (%)" if scale == 100.0 else ""))
        else:
            axes.tick_params(axis="y", labelleft=False)
    return figure


@dataclass(frozen=True)
class _Mark:
    """Marker of the median time to a target; `row` counts upwards from the frame."""

    at: float
    row: int
    style: Style
    is_first: bool  # of the targets


def _marks(
    curves: pd.DataFrame,
    passages: pd.DataFrame,
    targets: Sequence[tuple[str, float]],
    entries: Sequence[Entry],
    x: str,
) -> list[_Mark]:
    """Return the markers above the frame; markers that would overlap are in different rows."""
    low, high, is_log = x_range(curves, x)

    def share(value: float) -> float:
        return math.log(value / low) / math.log(high / low) if is_log else (value - low) / (high - low)

    marks: list[_Mark] = []
    for number, (text, _) in enumerate(targets):
        times = passages[passages["target"] == text].set_index("config_id")[_PASSAGES[x]]
        for entry in entries:
            at = float(times.get(entry.key, float("nan")))
            if at != at or (is_log and at <= 0):
                continue
            near = {mark.row for mark in marks if abs(share(mark.at) - share(at)) < _APART}
            row = next(row for row in range(len(near) + 1) if row not in near)
            marks.append(_Mark(at, row, entry.style, number == 0))
    return marks


def _draw_marks(axes: Axes, marks: Sequence[_Mark]) -> None:
    """Draw the markers above the frame, so that they are not read as values of the metric."""
    from matplotlib.transforms import ScaledTranslation

    figure: Any = axes.figure
    for mark in marks:
        up = ScaledTranslation(0, (0.6 + mark.row) * _ROW / 72, figure.dpi_scale_trans)
        axes.plot(
            [mark.at],
            [1.0],
            linestyle="none",
            marker=mark.style.marker,
            markersize=4.5,
            markerfacecolor=mark.style.light if mark.is_first else "white",
            markeredgecolor=mark.style.light,
            markeredgewidth=0.8,
            transform=axes.get_xaxis_transform() + up,
            zorder=6,
            clip_on=False,
        )


def _notes(
    curves: pd.DataFrame,
    passages: pd.DataFrame,
    targets: Sequence[tuple[str, float]],
    entries: Sequence[Entry],
    metric: str,
) -> Iterator[str]:
    from optbench.report.figures._text import shown

    names = {entry.key: shown(entry.name, place) for place, entry in enumerate(entries)}
    if targets:
        values = ", ".join(
            f"{100 * value:g}\u00a0%" if is_share(metric) else f"{value:g}" for _, value in targets
        )
        text = f"Dotted: target {values}"
        if len(entries) <= FEW:
            text += "; markers above the frame: median time to target (Kaplan-Meier)"
            text += ", open for further targets" if len(targets) > 1 else ""
        yield text + "."
    for text, value in targets:
        short = passages[(passages["target"] == text) & (passages["reached"] < passages["trials"])]
        missed = [
            f"{names[row['config_id']]} {row['trials'] - row['reached']} of {row['trials']}"
            for row in short.to_dict("records")
            if row["config_id"] in names
        ]
        if missed:
            of = f" {100 * value:g}\u00a0%" if is_share(metric) and len(targets) > 1 else ""
            yield f"Did not reach{of or ' the target'} within the budget (censored): {some(missed)}."
    ends = curves.groupby("config_id", sort=False).agg(worst=("worst", "max"), seeds=("seeds", "max"))
    lost = [f"{names[str(key)]} {row.worst} of {row.seeds}" for key, row in ends.iterrows() if row["worst"]]
    if lost:
        yield f"x: from here on, seeds that {WORST} are missing from the curve: {some(lost)}."
