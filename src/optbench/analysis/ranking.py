"""Ranks of many entries over several workloads, with bands over seeds and groups that are statistically tied."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from optbench.analysis.finals import finals_frame
from optbench.analysis.rows import table_rows
from optbench.analysis.table import comparison
from optbench.analysis.tuning import tuning_frame
from optbench.store import Results, SuiteResults

#: fewer entries are compared pair by pair in the table of each workload
MIN_ENTRIES = 10
DRAWS = 2000
COLUMNS = (
    *("optimizer", "family", "package", "group", "mean_rank", "mean_rank_low", "mean_rank_high"),
    *("place_low", "place_high", "workloads", "not_trained", "untuned_rank", "state", "step_cost", "worst"),
)

Array = npt.NDArray[np.float64]


def ranking_frame(
    suite: SuiteResults, table: pd.DataFrame | None = None, tuning: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return one row per entry, best first; empty for fewer than two workloads or `MIN_ENTRIES` entries.

    Columns: optimizer, family, package (of its class), group (1, 2, ...: entries that are tied with the best of the group),
    mean_rank (mean over workloads of the rank of the mean final metric; 1 is best), mean_rank_low and mean_rank_high (95 % band over
    seeds), place_low and place_high (95 % band of its place in this table), workloads (on which it has final metrics),
    not_trained (names of the others, whose rank is the last), untuned_rank (mean rank of the expected metric of one tuning trial; NaN
    without tuning), state (maximum of state bytes over parameter bytes), step_cost (geometric mean over workloads of the CPU seconds of
    a step over those of the baseline), worst (share of all trials that diverged or failed), then one column per workload with
    the mean final metric. `table` and `tuning`: the rows of the suite of `comparison` and `tuning_frame`, if they are known already.
    """
    results = Results((suite,))
    entries = list(suite.plan.resolved["optimizers"]) if suite.plan is not None else []
    if len({row.trial.workload_name for row in table_rows(results)}) < 2 or len(entries) < MIN_ENTRIES:
        return pd.DataFrame(columns=list(COLUMNS))
    finals = finals_frame(results)
    workloads = list(dict.fromkeys(finals["workload"]))
    if len(workloads) < 2 or finals["horizon"].nunique() > len(workloads):
        return pd.DataFrame(columns=list(COLUMNS))
    values = finals.groupby(["workload", "optimizer"])["value"].agg(["mean", "std", "count"])
    signs = {
        row.trial.workload_name: 1.0 if row.facts(row.trial.workload.metrics[0]).higher_is_better else -1.0
        for row in table_rows(results)
    }
    shape = (len(workloads), len(entries))
    mean, deviation, count = (np.full(shape, np.nan) for _ in range(3))
    for row, workload in enumerate(workloads):
        of_workload = values.loc[workload].reindex(entries)
        mean[row] = signs[workload] * of_workload["mean"].to_numpy(dtype=float)
        deviation[row], count[row] = of_workload["std"], of_workload["count"]
    drawn = _ranks(_draw(mean, deviation, count)).mean(axis=1)
    observed = _ranks(mean[None]).mean(axis=1)[0]
    order = np.argsort(observed, kind="stable")
    places = _ranks(-drawn)
    # drawn means have the noise of the seeds twice, which moves ranks towards the middle: the band is centred on the observed rank
    centred = np.clip(observed + drawn - drawn.mean(axis=0), 1, len(entries))
    low, high = np.percentile(centred, (2.5, 97.5), axis=0)
    low, high = np.minimum(low, observed), np.maximum(high, observed)  # rounding errors
    first, last = np.percentile(places, (2.5, 97.5), axis=0)
    frame = pd.DataFrame(
        {
            "optimizer": entries,
            "family": [_family(suite, label) for label in entries],
            "package": [_package(suite, label) for label in entries],
            "group": _groups(drawn, order),
            "mean_rank": observed,
            "mean_rank_low": low,
            "mean_rank_high": high,
            "place_low": np.floor(first),
            "place_high": np.ceil(last),
            "workloads": np.isfinite(mean).sum(axis=0),
            "not_trained": [
                ", ".join(
                    name for name, value in zip(workloads, mean[:, column], strict=True) if np.isnan(value)
                )
                for column in range(len(entries))
            ],
        }
    ).set_index("optimizer", drop=False)
    frame["untuned_rank"] = _untuned(
        tuning_frame(results) if tuning is None else tuning, workloads, signs, entries
    )
    table = comparison(results) if table is None else table
    frame["state"] = table.groupby("optimizer")["memory_overhead"].max()
    frame["step_cost"] = _step_cost(results, table)
    frame["worst"] = _worst(suite)
    for row, workload in enumerate(workloads):
        frame[workload] = signs[workload] * mean[row]
    return frame.iloc[order].reset_index(drop=True)


def _draw(mean: Array, deviation: Array, count: Array) -> Array:
    """Return means of seeds drawn from the t-distribution of each mean, (draw, workload, entry); means of one seed stay as they are."""
    random = np.random.default_rng(0)
    freedom = np.where(count > 1, count - 1, 1.0)
    noise = random.standard_t(np.nan_to_num(freedom, nan=1.0), size=(DRAWS, *mean.shape))
    return mean + noise * np.nan_to_num(deviation / np.sqrt(np.where(count > 0, count, 1.0)))


def _ranks(values: Array) -> Array:
    """Return ranks along the last axis, 1 for the greatest value; missing values share the last ranks."""
    from scipy.stats import rankdata  # takes longer to import than most reports to compute

    return np.asarray(rankdata(np.where(np.isnan(values), np.inf, -values), axis=-1))


def _groups(drawn: Array, order: npt.NDArray[np.intp]) -> npt.NDArray[np.int_]:
    """Return the number of each entry's group: those whose mean rank does not differ significantly from that of the group's best.

    The difference over its standard deviation over the draws is compared with the normal quantile for 5 %, divided by the number of
    entries (Bonferroni).
    """
    bound = float(ndtri(1 - 0.025 / drawn.shape[1]))
    groups = np.zeros(drawn.shape[1], dtype=int)
    best, number = order[0], 1
    for entry in order:
        difference = drawn[:, entry] - drawn[:, best]
        if difference.mean() > bound * difference.std():
            best, number = entry, number + 1
        groups[entry] = number
    return groups


def _family(suite: SuiteResults, label: str) -> str:
    entry = suite.plan.resolved["optimizers"][label] if suite.plan is not None else {}
    return str(entry.get("family") or "")


def _package(suite: SuiteResults, label: str) -> str:
    entry = suite.plan.resolved["optimizers"][label] if suite.plan is not None else {}
    use = str(entry["rules"][0]["use"]) if entry.get("rules") else ""
    return use.partition(".")[0] if "." in use and "/" not in use and not use.endswith(".py") else "catalog"


def _untuned(
    tuning: pd.DataFrame, workloads: list[str], signs: dict[str, float], entries: list[str]
) -> pd.Series:
    """Return the mean rank over workloads of the expected metric of one tuning trial."""
    tuning = tuning[tuning["expected_best"].map(len) > 0]
    if tuning.empty:
        return pd.Series(np.nan, index=entries)
    first = (
        tuning.assign(first=tuning["expected_best"].str[0]).groupby(["workload", "optimizer"])["first"].mean()
    )
    values = [
        signs[name] * first.loc[name].reindex(entries).to_numpy(float) for name in workloads if name in first
    ]
    return pd.Series(_ranks(np.array(values)).mean(axis=0), index=entries)


def _step_cost(results: Results, table: pd.DataFrame) -> pd.Series:
    """Return the geometric mean over workloads of the CPU seconds of a step over those of the baseline."""
    records = [
        (row.trial.workload_name, row.trial.label, log.finished.cpu_seconds / log.finished.step)
        for row in table_rows(results)
        for log in row.logs
        if log.finished is not None and log.finished.status == "completed" and log.finished.step
        if log.finished.cpu_seconds
    ]
    seconds = pd.DataFrame(records, columns=["workload", "optimizer", "seconds"])
    cost = seconds.groupby(["workload", "optimizer"])["seconds"].median().unstack("optimizer")
    baseline = table.loc[table["baseline"], "optimizer"]
    if cost.empty or baseline.empty or baseline.iloc[0] not in cost:
        return pd.Series(dtype=float)
    ratios = cost.div(cost[baseline.iloc[0]], axis=0)
    means: pd.Series = np.exp(np.log(ratios).mean(axis=0))
    return means


def _worst(suite: SuiteResults) -> pd.Series:
    """Return the share of the ended trials of each entry, tuning included, that diverged, failed or ran out of memory."""
    ended = pd.DataFrame(
        [
            (log.trial["label"], log.finished.status in ("diverged", "failed", "out_of_memory"))
            for log in suite.logs
            if log.finished is not None
        ],
        columns=["optimizer", "worst"],
    )
    return ended.groupby("optimizer")["worst"].mean()
