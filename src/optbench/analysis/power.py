"""Number of seeds needed to detect a difference, from the measured spread."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from optbench.analysis.compare import ALPHA
from optbench.analysis.rows import TableRow, comparable, workload_rows
from optbench.analysis.table import final_values
from optbench.store import Results

POWER = 0.8
MOST_SEEDS = 10_000

COLUMNS = (
    *(
        "suite",
        "workload",
        "horizon",
        "optimizer",
        "baseline",
        "metric",
        "metric_unit",
        "n",
        "difference_std",
    ),
    *("seeds", "seeds_low", "seeds_high", "seeds_holm"),
)


def power(n: int, std: float, delta: float, alpha: float = ALPHA) -> float:
    """Return the probability that a two-sided paired t test of `n` differences with that standard deviation detects a true mean of `delta`.

    From the noncentral t distribution with noncentrality delta sqrt(n) / std (Cohen, Statistical Power Analysis, 1988, ch. 2).
    """
    from scipy.stats import nct, t

    if n < 2:
        return 0.0
    bound, shift = float(t.ppf(1 - alpha / 2, n - 1)), delta * math.sqrt(n) / std
    return float(nct.sf(bound, n - 1, shift) + nct.cdf(-bound, n - 1, shift))


def seeds_needed(std: float, delta: float, alpha: float = ALPHA, least_power: float = POWER) -> int:
    """Return the minimum number of seeds with a power of at least `least_power`; `MOST_SEEDS` if it is larger.

    Near (z(1 - alpha/2) + z(power))^2 (std / delta)^2 + z(1 - alpha/2)^2 / 2 (Guenther, The American Statistician 35, 1981).
    """
    low, high = 1, 2
    while power(high, std, delta, alpha) < least_power:
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            return MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, std, delta, alpha) >= least_power else (middle, high)
    return high


def seeds_frame(results: Results, delta: float) -> pd.DataFrame:
    """Return one row per entry and baseline of a block: the number of seeds needed to detect a difference of `delta` in the final metric.

    Columns: suite, workload, horizon, optimizer, baseline, metric, metric_unit; n (common seeds so far), difference_std (of the paired
    differences); seeds (power 80 % at 5 %), seeds_low, seeds_high (the same for the ends of the 95 % interval of the standard
    deviation, which few seeds leave wide), seeds_holm (at 5 % over all pairs of the block, the level of the first step of Holm's
    adjustment). Empty with fewer than two common seeds, or no spread.
    """
    records: list[dict[str, Any]] = []
    for _, _, rows in workload_rows(results):
        for block in comparable(rows):
            metric = block[0].trial.workload.metrics[0]
            records += _of_block(block, final_values(block, metric), metric, delta)
    return pd.DataFrame(records, columns=list(COLUMNS))


def _of_block(block: list[TableRow], values: pd.DataFrame, metric: str, delta: float) -> list[dict[str, Any]]:
    baseline = next((row for row in block if row.baseline), block[0])
    pairs = len(block) * (len(block) - 1) // 2
    records = []
    for row in block:
        if row is baseline:
            continue
        differences = (values[row.config_id] - values[baseline.config_id]).dropna()
        record = row.names | {"baseline": baseline.trial.label, "metric": metric}
        record["metric_unit"] = row.facts(metric).unit
        records.append(record | _needed(len(differences), float(differences.std()), delta, pairs))
    return records


def _needed(n: int, std: float, delta: float, pairs: int) -> dict[str, Any]:
    if n < 2 or not std > 0:
        return {"n": n, "difference_std": std if n > 1 else math.nan}
    from scipy.stats import chi2

    low, high = (std * math.sqrt((n - 1) / float(chi2.ppf(level, n - 1))) for level in (0.975, 0.025))
    return {
        "n": n,
        "difference_std": std,
        "seeds": seeds_needed(std, delta),
        "seeds_low": seeds_needed(low, delta),
        "seeds_high": seeds_needed(high, delta),
        "seeds_holm": seeds_needed(std, delta, ALPHA / pairs),
    }
