"""Verdicts on published claims: compare an interval of the same estimand with a margin stated in advance.

Intervals are two-sided at 95 %, which for "equal within a margin" is stricter than the usual two one-sided tests (90 %).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import pandas as pd

from optbench.analysis.compare import ALPHA, FEW_SEEDS
from optbench.analysis.intervals import holm, paired_difference
from optbench.plurals import counted

Word = Literal[
    "reproduced",
    "contradicted",
    "no difference",
    "inconclusive",
    "not tested here",
    "not testable as stated",
]
WORDS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True)
class Verdict:
    """A verdict, with the reason where the numbers do not show it."""

    word: Word
    reason: str = ""


@dataclass(frozen=True)
class Measured:
    """The measurement that a claim is compared with. NaN is unknown; `high` may be infinite where a budget ended first."""

    n: int = 0
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    reason: str = ""  # why there is no interval
    unit: str = "seed"  # what n counts

    def negated(self) -> Measured:
        """Return the measurement with the opposite sign."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    def without_interval(self, reason: str) -> Measured:
        """Return the value alone, with the reason why there is no interval."""
        return replace(self, low=math.nan, high=math.nan, reason=reason)


def numeric(claimed: float, margin: float, measured: Measured) -> Verdict:
    """Judge a number: reproduced if the interval lies inside claimed +- margin, contradicted if entirely outside, otherwise
    inconclusive.
    """
    slack = 1e-9 * max(abs(claimed), margin)
    return inside(claimed - margin - slack, claimed + margin + slack, measured, "the margin")


def inside(low: float, high: float, measured: Measured, limits: str = "the bound") -> Verdict:
    """Judge a range: reproduced if the interval lies in [low, high], contradicted if entirely outside, otherwise inconclusive. An end
    may be infinite.
    """
    if few := too_few(measured.n, measured.unit):
        return few
    if math.isnan(measured.low):
        return Verdict("inconclusive", measured.reason or "no interval")
    if low <= measured.low and measured.high <= high:
        return Verdict("reproduced")
    if measured.low > high or measured.high < low:
        return Verdict("contradicted")
    return Verdict("inconclusive", f"the interval includes values inside and outside {limits}")


def deterministic(claimed: float, margin: float, measured: float) -> Verdict:
    """Judge an exact measurement: reproduced within the margin, else contradicted."""
    if math.isnan(measured):
        return Verdict("not tested here", "not measured")
    return Verdict("reproduced" if abs(measured - claimed) <= margin * (1 + 1e-9) else "contradicted")


def ordering(difference: Measured, margin: float, resolution: float = 0.0) -> Verdict:
    """Judge an order. `difference`: by how much the entry that is claimed to be better is better.

    Reproduced if its interval lies above `resolution` (the minimum difference that can be detected), contradicted if below -resolution,
    no difference if inside +-margin.
    """
    if few := too_few(difference.n, difference.unit):
        return few
    if math.isnan(difference.low):
        return Verdict("inconclusive", difference.reason or "no interval")
    if difference.low > resolution:
        return Verdict("reproduced")
    if difference.high < -resolution:
        return Verdict("contradicted")
    if margin > 0 and -margin <= difference.low and difference.high <= margin:
        return Verdict("no difference")
    bound = f"a difference below the resolution of {resolution:g}" if resolution > 0 else "0"
    return Verdict("inconclusive", f"the interval of the difference includes {bound}")


def ladder(
    rungs: Mapping[str, int],
    values: pd.DataFrame,
    at_most: Collection[str] = (),
    incomparable: Collection[str] = (),
    unit: str = "seed",
) -> Verdict:
    """Judge an order: `rungs` (greater is more) and `values` (one row per `unit`, one column per entry; greater is more), paired by row.

    Every pair of different rungs is a strict claim. Reproduced if all hold significantly (paired t test, Holm-adjusted at
    5 %), contradicted if any is significantly reversed, else inconclusive. The reason includes Kendall's tau-b.
    Of the entries in `at_most` the values are upper bounds: they show that an entry has less than another, never more. Pairs with an
    entry in `incomparable` neither hold nor are reversed.
    """
    pairs = _strict_pairs(rungs)
    if not pairs:
        return _NO_ORDER
    complete = values[list(rungs)].dropna()
    if few := too_few(len(complete), unit):
        return few
    found = [paired_difference(complete[a].tolist(), complete[b].tolist()) for a, b in pairs]
    adjusted = holm([pair.p for pair in found])
    tested = [
        (pair, 1.0 if set(pair) & set(incomparable) else p, of)
        for pair, p, of in zip(pairs, adjusted, found, strict=True)
    ]
    right = [p < ALPHA and of.mean > 0 and a not in at_most for (a, _), p, of in tested]
    wrong = [p < ALPHA and of.mean < 0 and b not in at_most for (_, b), p, of in tested]
    reason = (
        f"{sum(right)} of {len(pairs)} implied pairs hold, {sum(wrong)} are reversed{_tau(rungs, complete)}"
    )
    if any(wrong):
        return Verdict("contradicted", reason)
    return Verdict("reproduced" if all(right) else "inconclusive", reason)


def counted_ladder(rungs: Mapping[str, int], values: Mapping[str, float]) -> Verdict:
    """Judge a ladder of exact quantities such as bytes: each pair is decided by its two numbers."""
    pairs = _strict_pairs(rungs)
    if not pairs:
        return _NO_ORDER
    if any(math.isnan(values[key]) for key in rungs):
        return Verdict("not tested here", "not measured")
    wrong = sum(values[a] <= values[b] for a, b in pairs)
    reason = f"{len(pairs) - wrong} of {len(pairs)} implied pairs hold, {wrong} do not"
    return Verdict("contradicted" if wrong else "reproduced", reason)


_NO_ORDER = Verdict(
    "not testable as stated", "the source gives all entries the same level: there is no order to test"
)


def _strict_pairs(rungs: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the pairs of entries of different rungs, the one with more first."""
    return [(a, b) for a in rungs for b in rungs if rungs[a] > rungs[b]]


def too_few(n: int, unit: str = "seed") -> Verdict | None:
    """Return a verdict if there are fewer than five seeds (decision 7), or fewer than five other independent units, else None."""
    if n == 0:
        return Verdict("not tested here", "not run")
    if n < FEW_SEEDS:
        plural = "studies" if unit == "study" else f"{unit}s"
        return Verdict("inconclusive", f"{counted(n, unit, plural)}; verdicts need at least {FEW_SEEDS}")
    return None


def _tau(rungs: Mapping[str, int], values: pd.DataFrame) -> str:
    from scipy.stats import kendalltau

    tau = float(kendalltau(list(rungs.values()), [values[label].mean() for label in rungs]).statistic)
    return "" if math.isnan(tau) else f"; Kendall's tau-b {tau:.2f}"
