"""Curves of the metrics over epochs, seconds and gradient evaluations: median and band over seeds, target, time to target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from optbench.analysis.curves import curves_frame
from optbench.events import PARAMETERS, POSITION
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Group, Material, file_stem, some
from optbench.report.figures._lines import XRange, band_note, curve_panels, times_of, y_axis
from optbench.report.figures.dynamics import SERIES
from optbench.report.outcomes import WORST
from optbench.report.plots import FEW, TIMES, UNITS, Mark, Plot, Points, Rule, format_of
from optbench.report.text import clean, with_unit
from optbench.suite.types import Target

IN_TERMINAL = True
_APART = 0.03  # of the axis, between marks of one lane


def drawings(material: Material) -> Iterator[Drawing]:
    for group in material.groups:
        curves = group.of(material.frame(curves_frame))
        curves = curves[
            ~curves["split"].isin(("", PARAMETERS, POSITION))
            & ~curves["metric"].isin([name for name in SERIES if name != "loss"])
        ]
        wanted = [target.metric for target in group.targets] + [group.rows[0].trial.workload.metrics[0]]
        in_files = [(metric, "validation") for metric in dict.fromkeys(wanted)]
        known: Any = dict(list(curves.groupby(["metric", "split"], sort=False)))
        for key in dict.fromkeys([*in_files, *known]):
            if key in known:
                yield _drawing(
                    group,
                    known[key],
                    key,
                    material.table,
                    is_main=key == in_files[0],
                    in_files=key in in_files,
                )


def _drawing(
    group: Group,
    curves: pd.DataFrame,
    key: tuple[str, str],
    table: pd.DataFrame,
    *,
    is_main: bool,
    in_files: bool,
) -> Drawing:
    metric, split = key
    facts = group.rows[0].facts(metric)
    format = format_of(facts.unit)
    targets = [
        (str(target), _level(target)) for target in group.targets if (target.metric, target.split) == key
    ]
    entries = group.entries_in(curves)
    places = {entry.key: place for place, entry in enumerate(entries)}
    passages = group.of(table[table["target"].isin([text for text, _ in targets])])
    passages = passages[passages["config_id"].isin(places)]
    label = clean(f"{split} {metric}")
    axis, cuts = y_axis(curves, with_unit(label, facts.unit), format, [level for _, level in targets])
    axis = replace(axis, higher_is_better=facts.higher_is_better)
    factor, unit = UNITS[format]
    rules = [Rule(level, f"target {factor * level:g}{unit and ' ' + unit}") for _, level in targets]

    def more(time: str, along: XRange) -> Sequence[Mark]:
        few = len(entries) <= FEW
        return [
            *rules,
            *(_marks(passages, [text for text, _ in targets], places, time, along) if few else ()),
        ]

    notes = [
        band_note(curves),
        *_notes(curves, passages, targets, {entry.key: clean(entry.name) for entry in entries}, format),
    ]
    notes += ["The first evaluations lie outside the axis."] if cuts else []
    plot = Plot(
        group.title, label, tuple(notes), tuple(curve_panels(curves, entries, axis, more=more)), entries
    )
    also = ", seconds and gradient evaluations" if "gradients" in times_of(curves) else " and seconds"
    return Drawing(
        file_stem("curves", "" if split == "validation" else split, metric, group.stem),
        f"{label[0].upper()}{label[1:]} of {group.title} against epochs{also}",
        group.suite.name,
        plot,
        group.heading,
        is_main=is_main,
        in_files=in_files,
        in_menu=True,
    )


def _level(target: Target) -> float:
    return float(target.at_least if target.at_least is not None else target.at_most or 0.0)


def _marks(
    passages: pd.DataFrame, targets: Sequence[str], places: dict[str, int], time: str, along: XRange
) -> Iterator[Points]:
    """Yield the median times to the targets, above the frame; markers that would overlap are in different lanes."""
    found: list[tuple[float, int]] = []
    for text in targets:
        times = passages[passages["target"] == text].set_index("config_id")[f"{TIMES[time][1]}_to_target"]
        for key, place in places.items():
            at = float(times.get(key, float("nan")))
            if at != at or (along.log and at <= 0):
                continue
            near = {lane for other, lane in found if abs(along.share(other) - along.share(at)) < _APART}
            lane = next(lane for lane in range(len(near) + 1) if lane not in near)
            found.append((at, lane))
            yield Points((at,), (float(lane),), place, is_open=text != targets[0], above=True)


def _notes(
    curves: pd.DataFrame,
    passages: pd.DataFrame,
    targets: Sequence[tuple[str, float]],
    names: dict[str, str],
    format: str,
) -> Iterator[str]:
    factor, unit = UNITS[format]

    def level(value: float) -> str:
        return f"{factor * value:g}" + (f"\u00a0{unit}" if unit else "")

    if targets:
        text = f"Dotted: target {', '.join(level(value) for _, value in targets)}"
        if len(names) <= FEW:
            text += "; markers above the frame: median time to target (Kaplan-Meier)"
            text += ", open for further targets" if len(targets) > 1 else ""
        yield text + "."
    for text, value in targets:
        short = passages[(passages["target"] == text) & (passages["reached"] < passages["trials"])]
        missed = [
            f"{names[row['config_id']]} {row['trials'] - row['reached']} of {row['trials']}"
            for row in short.to_dict("records")
        ]
        if missed:
            of = f" {level(value)}" if format == "percent" and len(targets) > 1 else " the target"
            yield f"Did not reach{of} within the budget (censored): {some(missed)}."
    ends = curves.groupby("config_id", sort=False).agg(worst=("worst", "max"), seeds=("seeds", "max"))
    lost = [f"{names[str(key)]} {row.worst} of {row.seeds}" for key, row in ends.iterrows() if row["worst"]]
    if lost:
        yield f"x: from here on, seeds that {WORST} are missing from the curve: {some(lost)}."
