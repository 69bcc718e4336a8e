"""Significance tests of all pairs of entries in a block, paired by seed, Holm-adjusted (decision 7)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
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
    columns = _columns(values)
    shared = {name: (shared_variances or {}).get(name, 0.0) for name in columns}
    records = [
        _pair(columns, a, b, test, resolution, shared[a] + shared[b])
        for a, b in itertools.combinations(columns, 2)
    ]
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


def _columns(values: pd.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    """Return plain arrays, since there may be thousands of pairs."""
    return {name: values[name].to_numpy(dtype=float) for name in values.columns}


def _pair(
    columns: dict[str, npt.NDArray[np.float64]],
    a: str,
    b: str,
    test: Literal["paired_t", "sign_flip"],
    resolution: float,
    shared_variance: float,
) -> dict[str, object]:
    common = ~(np.isnan(columns[a]) | np.isnan(columns[b]))
    found = paired_difference(
        columns[a][common].tolist(), columns[b][common].tolist(), shared_variance=shared_variance
    )
    p = found.p if test == "paired_t" else found.sign_flip_p
    if not math.isnan(p) and abs(found.mean) < resolution * (1 - 1e-9):
        p = 1.0
    return {
        "a": a,
        "b": b,
        "n": found.n,
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "p": p,
        "p_holm": np.nan,
        "sign_flip_p": found.sign_flip_p,
    }
