"""Significance tests of all pairs of entries in a block, paired by seed, Holm-adjusted (decision 7)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from optbench.analysis.intervals import holm, paired_difference

#: two entries differ if the adjusted p is below
ALPHA = 0.05
#: fewer seeds than this make a comparison preliminary
FEW_SEEDS = 5

COLUMNS = ["a", "b", "n", "difference", "low", "high", "p", "p_holm", "sign_flip_p"]


def all_pairs(
    values: pd.DataFrame,
    test: Literal["paired_t", "sign_flip"] = "paired_t",
    resolution: float = 0.0,
    shared_variances: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Compare all pairs of columns of `values` (one row per seed, one column per entry, NaN if missing) over common seeds.

    One row per pair, columns a, b, n (common seeds), difference (mean of a - b) with the t interval low to high, p of
    the test, p_holm (adjusted over all pairs) and sign_flip_p. Fewer than 2 common seeds (6 for the sign-flip test) have
    no p. A difference smaller than `resolution` is never significant: the evaluation grid does not show it. `shared_variances`, by
    column: of what all values of a column share (`t_interval`); an unknown one (NaN) gives neither interval nor p.
    """
    shared = shared_variances or {}
    columns = [_Column.of(name, values[name], shared.get(name, 0.0)) for name in values.columns]
    records = [_pair(a, b, test, resolution) for a, b in itertools.combinations(columns, 2)]
    pairs = pd.DataFrame(records, columns=COLUMNS)
    pairs["p_holm"] = holm(pairs["p"].tolist())
    return pairs


def against(pairs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the rows of `all_pairs` that include the baseline, as differences from it: b is the baseline.

    p_holm stays adjusted over all pairs, so that a table of differences and the top group never contradict each other.
    """
    second = pairs[pairs["b"] == baseline]
    first = pairs[pairs["a"] == baseline]
    turned = first.assign(a=first["b"], b=first["a"])
    turned = turned.assign(difference=-first["difference"], low=-first["high"], high=-first["low"])
    return pd.concat([second, turned]).sort_index()


def top_group(pairs: pd.DataFrame, *, higher_is_better: bool) -> dict[str, bool | None]:
    """Return by entry: True if not significantly worse than any other, False if it is, None if nothing could be compared."""
    compared = pairs[pairs["p_holm"].notna()]
    group: dict[str, bool | None] = dict.fromkeys([*pairs["a"], *pairs["b"]])
    group |= dict.fromkeys([*compared["a"], *compared["b"]], True)
    apart = compared[compared["p_holm"] < ALPHA]
    for a, b, difference in zip(apart["a"], apart["b"], apart["difference"], strict=True):
        group[b if (difference > 0) == higher_is_better else a] = False
    return group


@dataclass(frozen=True)
class _Column:
    """A column in plain Python, since there may be thousands of pairs of few seeds."""

    name: str
    values: list[float]
    missing: frozenset[int]  # positions
    shared_variance: float

    @classmethod
    def of(cls, name: str, values: pd.Series[float], shared_variance: float) -> _Column:
        numbers = values.to_numpy(dtype=float).tolist()
        missing = frozenset(place for place, value in enumerate(numbers) if math.isnan(value))
        return cls(name, numbers, missing, shared_variance)

    def without(self, missing: frozenset[int]) -> list[float]:
        if not missing:
            return self.values
        return [value for place, value in enumerate(self.values) if place not in missing]


def _pair(
    a: _Column, b: _Column, test: Literal["paired_t", "sign_flip"], resolution: float
) -> dict[str, object]:
    missing = a.missing | b.missing
    shared_variance = a.shared_variance + b.shared_variance
    found = paired_difference(a.without(missing), b.without(missing), shared_variance=shared_variance)
    p = found.p if test == "paired_t" else found.sign_flip_p
    if not math.isnan(p) and abs(found.mean) < resolution * (1 - 1e-9):
        p = 1.0
    return {
        "a": a.name,
        "b": b.name,
        "n": found.n,
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "p": p,
        "p_holm": np.nan,
        "sign_flip_p": found.sign_flip_p,
    }
