"""Claims about sensitivity, measured as the width of the learning rate's basin: narrower is more sensitive."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from optbench.analysis import verdicts
from optbench.analysis.basins import width_over_seeds
from optbench.analysis.sensitivity import basin_curves, widths
from optbench.analysis.sweeps import Sweep
from optbench.analysis.verdicts import Measured, Verdict

_READ = (
    "interpretation: the narrower the basin (within 1 point of the best score), the higher the sensitivity"
)


def measured_width(sweep: Sweep | None) -> Measured:
    """Return the width of an entry's basin in decades, with its interval; empty without a sweep."""
    curves = basin_curves(sweep) if sweep is not None else []
    found = width_over_seeds(curves)
    return Measured(len(curves), found.mean, found.low, found.high)


def by_width(rungs: Mapping[str, int], label: str, sweeps: Mapping[str, Sweep]) -> Verdict:
    """Judge rungs of sensitivity (greater is more sensitive), by label, for the entry `label`.

    A basin that extends beyond the grid is at least as wide as measured: it never shows that an entry is more sensitive.
    """
    if label not in sweeps:
        return Verdict("not tested here", "the suite has no sensitivity sweep")
    measured = {name: widths(sweep) for name, sweep in sweeps.items() if name in rungs}
    known = {name: width for name, width in measured.items() if width is not None}
    if len(known) < len(rungs):
        reason = "the basin width is unknown: the sweep is too sparse or incomplete, or every point diverged for some seed"
        return Verdict("inconclusive", reason)
    is_open = {name for name in known if width_over_seeds(basin_curves(sweeps[name])).is_open}
    verdict = verdicts.ladder(rungs, -pd.DataFrame(known), at_most=is_open)
    parts = [verdict.reason] if verdict.reason else []
    if is_open:
        parts.append(f"basin extends beyond the grid (width is a lower bound): {', '.join(sorted(is_open))}")
    return Verdict(verdict.word, "; ".join([*parts, _READ]))
