"""One quantity before and after: a difference or a ratio with its interval, and the evidence that it exceeds a threshold."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from scipy.special import stdtr, stdtrit

from optbench.analysis.intervals import t_interval

#: paired by seed; Welch's for two independent groups; or a size that all seeds of a side agree on; "" if nothing compares
Method = Literal["paired", "welch", "exact", ""]
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Contrast:
    """After minus before: of the values, or of their natural logarithms for a ratio. Unknown values are NaN.

    `before` and `after` are means over the compared values (geometric for ratios). `error` is the standard error of
    `change`, with `freedom` degrees of freedom; an error of 0 means that all values were equal.
    """

    method: Method
    n_before: int
    n_after: int
    before: float = math.nan
    after: float = math.nan
    change: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    error: float = math.nan
    freedom: float = math.nan

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.low)

    def evidence_above(self, threshold: float, sign: int = 1) -> float:
        """Return the one-sided p of `sign * change` <= `threshold`; NaN without an interval.

        If no value varies, a t test is not valid: p is then that of the exact permutation test.
        """
        if not self.has_interval:
            return math.nan
        past = sign * self.change - threshold
        if self.error > 0:
            return float(stdtr(self.freedom, -past / self.error))
        if past <= _ROUNDING * max(1.0, abs(threshold)):
            return 1.0
        return 0.0 if self.method == "exact" else self._least_p()

    def _least_p(self) -> float:
        if self.method == "paired":
            return float(2.0**-self.n_before)
        return 1 / math.comb(self.n_before + self.n_after, self.n_before)


def contrast(
    before: Mapping[int, float], after: Mapping[int, float], *, paired: bool, ratio: bool
) -> Contrast:
    """Compare values by seed: paired over common seeds, else Welch's t (Biometrika 34, 1947); NaN values are excluded.

    Ratios are computed from logarithms: the interval is that of the ratio of geometric means; values must be above 0.
    """
    first, second = _known(before, ratio), _known(after, ratio)
    if paired:
        seeds = sorted(first.keys() & second.keys())
        return _paired([first[seed] for seed in seeds], [second[seed] for seed in seeds], ratio)
    return _welch(list(first.values()), list(second.values()), ratio)


def size_contrast(before: Mapping[int, float], after: Mapping[int, float], *, paired: bool) -> Contrast:
    """Return the ratio of two sizes in bytes: exact, also for one seed, if all seeds of a side agree; otherwise as any ratio."""
    first, second = _known(before, False), _known(after, False)
    if not first or not second:
        return Contrast("", len(first), len(second))
    if len({*first.values()}) > 1 or len({*second.values()}) > 1:
        return contrast(first, second, paired=paired, ratio=True)
    a, b = next(iter(first.values())), next(iter(second.values()))
    change = 0.0 if a == b else math.inf if a == 0 else -math.inf if b == 0 else math.log(b / a)
    p = 1.0 if a == b else 0.0
    return Contrast("exact", len(first), len(second), a, b, change, change, change, p, 0.0)


def _known(values: Mapping[int, float], ratio: bool) -> dict[int, float]:
    kept = {seed: value for seed, value in values.items() if math.isfinite(value)}
    return {seed: math.log(value) for seed, value in kept.items() if value > 0} if ratio else kept


def _paired(before: list[float], after: list[float], ratio: bool) -> Contrast:
    n = len(before)
    if n == 0:
        return Contrast("", 0, 0)
    means = _mean(before, ratio), _mean(after, ratio)
    differences = [b - a for a, b in zip(before, after, strict=True)]
    estimate = t_interval(differences)
    if n < 2:
        return Contrast("paired", n, n, *means, estimate.mean)
    error = 0.0 if _equal(differences, [*before, *after]) else estimate.std / math.sqrt(n)
    return _with_interval(Contrast("paired", n, n, *means, estimate.mean, error=error, freedom=n - 1))


def _welch(before: list[float], after: list[float], ratio: bool) -> Contrast:
    n, m = len(before), len(after)
    if n == 0 or m == 0:
        return Contrast("", n, m)
    means = _mean(before, ratio), _mean(after, ratio)
    change = statistics.mean(after) - statistics.mean(before)
    if n < 2 or m < 2:
        return Contrast("welch", n, m, *means, change)
    u, v = statistics.variance(before) / n, statistics.variance(after) / m
    if _equal(before, before) and _equal(after, after):
        return _with_interval(Contrast("welch", n, m, *means, change, error=0.0, freedom=n + m - 2))
    freedom = (u + v) ** 2 / (u**2 / (n - 1) + v**2 / (m - 1))
    return _with_interval(Contrast("welch", n, m, *means, change, error=math.sqrt(u + v), freedom=freedom))


def _with_interval(found: Contrast, level: float = 0.95) -> Contrast:
    if found.error == 0:
        p = 1.0 if abs(found.change) < 1e-12 else min(1.0, 2 * found._least_p())
        return replace(found, low=found.change, high=found.change, p=p)
    half = float(stdtrit(found.freedom, (1 + level) / 2)) * found.error
    p = 2 * float(stdtr(found.freedom, -abs(found.change) / found.error))
    return replace(found, low=found.change - half, high=found.change + half, p=p)


def _mean(values: list[float], ratio: bool) -> float:
    mean = statistics.mean(values)
    return math.exp(mean) if ratio else mean


def _equal(values: list[float], scale: list[float]) -> bool:
    return max(values) - min(values) <= _ROUNDING * max(map(abs, scale))
