"""Claims about sensitivity, by one of two measures: width of the learning rate's basin, or mean loss of score around the best rate."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from optbench.analysis import verdicts
from optbench.analysis.basins import width_over_seeds
from optbench.analysis.intervals import t_interval
from optbench.analysis.sensitivity import WINDOW_DECADES, basin_curves, rate_sensitivities, widths
from optbench.analysis.sweeps import Sweep
from optbench.analysis.verdicts import Measured, Verdict
from optbench.suite.published import Measure

_READ: dict[Measure, str] = {
    "basin_width": "interpretation: the narrower the basin (within 1 point of the best score), the higher the sensitivity",
    "rate_sensitivity": (
        f"interpretation: the more score is lost on average over {WINDOW_DECADES:g} decades around the best learning rate, the higher the "
        "sensitivity"
    ),
}


def measured_sensitivity(sweep: Sweep | None, measure: Measure) -> Measured:
    """Return a measure of an entry's sensitivity with its interval (a width in decades, or a loss of score); empty without a sweep."""
    if sweep is None:
        return Measured()
    if measure == "basin_width":
        curves = basin_curves(sweep)
        width = width_over_seeds(curves)
        return Measured(len(curves), width.mean, width.low, width.high)
    found = t_interval(rate_sensitivities(sweep).tolist(), within=(0.0, math.inf))
    return Measured(found.n, found.mean, found.low, found.high)


def by_sensitivity(
    rungs: Mapping[str, int], label: str, sweeps: Mapping[str, Sweep], measure: Measure
) -> Verdict:
    """Judge rungs of sensitivity (greater is more sensitive), by label, for the entry `label`.

    A basin that extends beyond the grid is at least as wide as measured: it never shows that an entry is more sensitive. Losses of
    score are compared only between entries whose whole window the grid covers, for each seed.
    """
    if label not in sweeps:
        return Verdict("not tested here", "the suite has no sensitivity sweep")
    own = {name: sweep for name, sweep in sweeps.items() if name in rungs}
    verdict = (_by_width if measure == "basin_width" else _by_rate)(rungs, own)
    return Verdict(verdict.word, "; ".join(filter(None, [verdict.reason, _READ[measure]])))


def _by_width(rungs: Mapping[str, int], sweeps: Mapping[str, Sweep]) -> Verdict:
    measured = {name: widths(sweep) for name, sweep in sweeps.items()}
    known = {name: width for name, width in measured.items() if width is not None}
    if len(known) < len(rungs):
        reason = "the basin width is unknown: the sweep is too sparse or incomplete, or every point diverged for some seed"
        return Verdict("inconclusive", reason)
    is_open = {name for name in known if width_over_seeds(basin_curves(sweeps[name])).is_open}
    verdict = verdicts.ladder(rungs, -pd.DataFrame(known), at_most=is_open)
    if not is_open:
        return verdict
    beyond = f"basin extends beyond the grid (width is a lower bound): {', '.join(sorted(is_open))}"
    return Verdict(verdict.word, "; ".join(filter(None, [verdict.reason, beyond])))


def _by_rate(rungs: Mapping[str, int], sweeps: Mapping[str, Sweep]) -> Verdict:
    losses = {name: rate_sensitivities(sweep) for name, sweep in sweeps.items()}
    if any(loss.empty for loss in losses.values()) or len(losses) < len(rungs):
        return Verdict("inconclusive", "the loss of score is unknown: the sweep is incomplete")
    cut = sorted(name for name, loss in losses.items() if loss.attrs["decades"] < WINDOW_DECADES - 1e-9)
    verdict = verdicts.ladder(rungs, pd.DataFrame(losses), incomparable=cut)
    if not cut:
        return verdict
    reason = (
        f"the grid does not cover {WINDOW_DECADES:g} decades around the best learning rate: {', '.join(cut)}"
    )
    return Verdict(verdict.word, "; ".join(filter(None, [verdict.reason, reason])))
