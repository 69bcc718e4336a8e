"""Expected best metric by number of tuning trials, with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from optbench.analysis.tuning import Study, expected_band, expected_curve, pooled, studies
from optbench.report.drawing import Drawing
from optbench.report.figures._groups import Material, file_stem
from optbench.report.plots import FEW, Axis, Line, Panel, Plot, format_of
from optbench.report.text import with_unit
from optbench.report.tuning import metric_name

IN_TERMINAL = True


def drawings(material: Material) -> Iterator[Drawing]:
    by_entry: dict[tuple[str, str, str], list[Study]] = {}
    for study in studies(material.results):
        if study.best is not None and study.tuning.prune is None:
            by_entry.setdefault((study.suite, study.workload, study.label), []).append(study)
    by_workload: dict[tuple[str, str], list[Study]] = {}
    for (suite, workload, _), repeated in by_entry.items():
        by_workload.setdefault((suite, workload), []).append(pooled(repeated))
    several = len({workload for _, workload in by_workload}) > 1
    for (suite, workload), of_workload in by_workload.items():
        metric = of_workload[0].metric
        entries = tuple(material.entry(suite, study.label) for study in of_workload)
        lines = []
        for place, study in enumerate(of_workload):
            low, high = expected_band(study)
            curve = expected_curve(study)
            trials = tuple(float(k) for k in range(1, len(curve) + 1))
            lines.append(
                Line(place, trials, tuple(curve.tolist()), tuple(low.tolist()), tuple(high.tolist()))
            )
        most = max(study.budget for study in of_workload)
        x = Axis("tuning trials", "number", 1.0, float(most), log=most > 10)
        name = metric_name(metric)
        unit = of_workload[0].rows[0].facts(metric).unit
        label = with_unit(f"expected best validation {name}", unit)
        y, cuts = value_axis(label, format_of(unit), lines, higher_is_better=of_workload[0].higher)
        notes = (
            "Expected best metric of the first trials in random order (Tang et al. 2020). "
            "Band: 95\u00a0%, from disjoint subsets of the trials; none with an adaptive sampler.",
            *(("Some values, such as those with few trials, lie outside the axis.",) if cuts else ()),
        )
        yield Drawing(
            file_stem("tuning", suite if material.several_suites else "", workload if several else ""),
            f"Expected best {name} on {workload} by number of tuning trials",
            suite,
            Plot(
                workload,
                "expected best by number of tuning trials",
                notes,
                (Panel(x, y, tuple(lines)),),
                entries,
            ),
            heading=f"Tuning on {workload}" if several else "Tuning",
        )


def value_axis(
    label: str, format: str, lines: Sequence[Line], *, higher_is_better: bool
) -> tuple[Axis, bool]:
    """Return an axis that shows all lines from a quarter of their trials on, and whether values lie outside: one trial may diverge.

    With more than `FEW` lines, values that are worse than the quartile by more than three interquartile ranges lie outside (Tukey's
    outer fence): some entries may diverge.
    """
    later = [value for line in lines for value in line.y[len(line.y) // 4 :] if math.isfinite(value)]
    if not later:
        return Axis(label, format, higher_is_better=higher_is_better), False
    low, high = min(later), max(later)
    if len(lines) > FEW:
        lower, upper = np.quantile(later, (0.25, 0.75)).tolist()
        reach = 3 * (upper - lower)
        low, high = (max(low, lower - reach), high) if higher_is_better else (low, min(high, upper + reach))
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    cuts = any(not low <= value <= high for line in lines for value in line.y)
    return Axis(label, format, low, high, higher_is_better=higher_is_better), cuts
