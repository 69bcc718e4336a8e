"""Claims about times to target: the measured median, and whether one entry reaches the target before another."""

from __future__ import annotations

import pandas as pd

from optbench.analysis import verdicts
from optbench.analysis.censoring import median, median_interval
from optbench.analysis.intervals import EXACT_TEST_SEEDS
from optbench.analysis.rows import TableRow
from optbench.analysis.tuning import SEPARATE, UNKNOWN_VARIATION, TuningVariation
from optbench.analysis.verdicts import Measured, Verdict
from optbench.plurals import counted


def measured_time(
    row: TableRow, column: str, passages: pd.DataFrame, variation: TuningVariation = SEPARATE
) -> Measured:
    """Return the median time of a row with its interval; none if seeds of the row share the settings of a tuning study."""
    unit = column.removesuffix("_to_target")
    own = passages[passages["config_id"] == row.config_id].dropna(subset=[unit])
    reached = own["reached"].astype(bool).tolist()
    if not reached:
        return Measured(reason="" if row.trial.workload.target else "the workload has no target")
    middle = median(own[unit].tolist(), reached)
    if row.trial.label in variation.labels:
        return Measured(len(own), middle, reason=UNKNOWN_VARIATION)
    interval = median_interval(own[f"{unit}_low"].tolist(), own[unit].tolist(), reached)
    return Measured(len(own), middle, interval.low, interval.high, interval.reason)


def earlier(
    row: TableRow,
    other: TableRow,
    unit: str,
    margin: float,
    passages: pd.DataFrame,
    variation: TuningVariation = SEPARATE,
) -> tuple[Measured, Verdict]:
    """Return by how much `row` reaches the target before `other`, and whether it does: times within the common budget, paired by seed.

    A pair of which neither trial reached the target has an unobserved difference of 0: "no difference" needs a time in
    more than half of the pairs. There is no verdict if seeds share the settings of a tuning study.
    """
    restricted = passages.assign(time=passages[unit].where(passages["reached"], passages[unit].max()))
    values = restricted.pivot(index="seed", columns="config_id", values="time").astype(float)
    found = paired_gain((row, other), -values)
    if found is None or found.n == 0:
        return Measured(), Verdict("not tested here", "not run")
    if variation.labels & {row.trial.label, other.trial.label}:
        unknown = Measured(found.n, found.value, reason=UNKNOWN_VARIATION)
        return unknown, Verdict("inconclusive", UNKNOWN_VARIATION)
    seeds = values[[row.config_id, other.config_id]].dropna().index
    ours = passages[
        passages["config_id"].isin([row.config_id, other.config_id]) & passages["seed"].isin(seeds)
    ]
    unseen = found.n - ours.loc[ours["reached"].astype(bool), "seed"].nunique()
    if unseen == found.n:
        reason = "neither entry reached the target in any trial: no time was observed"
        return Measured(found.n), Verdict("inconclusive", reason)
    if found.n < EXACT_TEST_SEEDS:
        seeds_text = counted(found.n, "seed")
        reason = f"{seeds_text}; the sign-flip test needs at least {EXACT_TEST_SEEDS}"
        return found, Verdict("inconclusive", reason)
    steps = (passages[unit] - passages[f"{unit}_low"])[passages["reached"].astype(bool)]
    verdict = verdicts.ordering(found, margin, float(steps.max()))
    if verdict.word == "no difference" and 2 * unseen >= found.n:
        reason = f"in {unseen} of {found.n} pairs neither entry reached the target"
        return found, Verdict("inconclusive", reason)
    return found, verdict


def paired_gain(
    pair: tuple[TableRow, TableRow], values: pd.DataFrame, variation: TuningVariation = SEPARATE
) -> Measured | None:
    """Return the paired difference of the columns of two rows; None if either has none."""
    names = [row.config_id for row in pair]
    if not set(names) <= set(values):
        return None
    return variation.difference([row.trial.label for row in pair], values[names])
