"""Several workloads at once: performance profiles with their area score, and speedups over the baseline.

Profiles: Dolan and More, Mathematical Programming 91 (2002). An entry's time on a workload is the Kaplan-Meier median over
seeds, as in the tables: infinite where half of the seeds or fewer reached the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from optbench.analysis.entries import entry_names
from optbench.analysis.frames import passages_frame
from optbench.analysis.gradients import units_between
from optbench.analysis.rows import table_rows
from optbench.store import Results, SuiteResults

#: the profile's largest ratio to the fastest; the score is the area below the profile from 1 to here, over its width
MAX_RATIO = 4.0
RESAMPLES = 2000

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Profiles:
    """`summary`: one row per entry, in the given order: optimizer, score, score_low, score_high, reached (workloads),
    workloads, speedup (geometric mean over workloads of the baseline's time over the entry's), speedup_low, speedup_high,
    speedup_bound ("", or "at most" / "at least" where budgets stand for times that were not reached),
    speedup_workloads. Bands are 95 %. `left_out`: workloads that not all entries have run. `runs`: all that count.
    `times`: the medians that everything is made of, a row a workload and a column an entry; infinite where not reached.
    """

    unit: str
    baseline: str
    summary: pd.DataFrame
    left_out: tuple[str, ...]
    runs: int
    times: pd.DataFrame


@dataclass(frozen=True)
class _Cell:
    times: Array  # over seeds, inf = never reached
    budget: float  # of those that never reached, else NaN


def suite_profiles(suite: SuiteResults, resamples: int = RESAMPLES) -> list[Profiles]:
    """Return the profiles of a suite in each unit: epochs or steps, seconds, and gradient evaluations if entries differ in them.

    First targets only. Empty for fewer than two workloads with targets, or two entries.
    """
    rows = [row for row in table_rows(Results((suite,))) if row.trial.workload.target]
    names = entry_names(suite)
    if len({row.trial.workload_name for row in rows}) < 2 or len({names[row.config_id] for row in rows}) < 2:
        return []
    first = {row.config_id: str(row.trial.workload.target[0]) for row in rows}
    passages = passages_frame(Results((suite,)))
    own = passages[passages["target"] == passages["config_id"].map(first)]
    own = own.assign(optimizer=own["config_id"].map(names))
    baseline = next((names[row.config_id] for row in rows if row.baseline), "")
    lead = "epochs" if own["epochs"].notna().any() else "steps"
    found = (profiles(own, unit, baseline, resamples) for unit in units_between(rows, lead))
    return [each for each in found if each is not None]


def profiles(
    passages: pd.DataFrame, unit: str, baseline: str, resamples: int = RESAMPLES, seed: int = 0
) -> Profiles | None:
    """Return the profiles of `passages`: one row per trial with workload, optimizer, reached, and `unit` (the time, or the budget if
    not reached).

    Trials whose time is not known are left out, and so are workloads that some entry has no time for. None if fewer
    than two workloads or entries are left. The bands are from the bootstrap over seeds, within each workload and entry.
    """
    known = passages.dropna(subset=[unit])
    entries = list(dict.fromkeys(passages["optimizer"]))
    workloads = list(dict.fromkeys(passages["workload"]))
    cells = {key: _cell(group, unit) for key, group in known.groupby(["workload", "optimizer"], sort=False)}
    whole = [name for name in workloads if all((name, entry) in cells for entry in entries)]
    if len(whole) < 2 or len(entries) < 2 or baseline not in entries:
        return None
    grid = [[cells[name, entry] for name in whole] for entry in entries]
    budgets = np.array([[cell.budget for cell in row] for row in grid])
    times = np.array([[_middle(cell.times) for cell in row] for row in grid])
    drawn = _resampled(grid, resamples, seed)
    position = entries.index(baseline)
    speedups, used = _speedups(times, budgets, position)
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(area_score(drawn), [0.025, 0.975], axis=0)
        band = _band(_speedups(drawn, budgets, position)[0])
    bounds = [_bound(times[row], times[position]) for row in range(len(entries))]
    exact = np.array([bound == "" for bound in bounds])
    summary = pd.DataFrame(
        {
            "optimizer": entries,
            "score": area_score(times),
            "score_low": low,
            "score_high": high,
            "reached": np.isfinite(times).sum(axis=1),
            "workloads": len(whole),
            "speedup": np.where([bound is None for bound in bounds], np.nan, speedups),
            "speedup_low": np.where(exact, band[0], np.nan),
            "speedup_high": np.where(exact, band[1], np.nan),
            "speedup_bound": [bound or "" for bound in bounds],
            "speedup_workloads": used,
        }
    )
    left_out = tuple(name for name in workloads if name not in whole)
    runs = sum(len(cell.times) for row in grid for cell in row)
    medians = pd.DataFrame(times.T, index=whole, columns=entries)
    return Profiles(unit, baseline, summary, left_out, runs, medians)


def profile_frame(results: Results) -> pd.DataFrame:
    """Return one row per suite, unit (epochs or steps, seconds, and gradient_evaluations where some entry used other than one per
    step), entry and step of its curve: suite, unit, optimizer (the entry's name), ratio (from 1 to `MAX_RATIO`),
    share (of the workloads, from this ratio on), workloads, runs (in all).

    First targets only; times are the tables' medians. Empty for suites of fewer than two workloads with targets, or two entries.
    """
    columns = ["suite", "unit", "optimizer", "ratio", "share", "workloads", "runs"]
    frames = [frame for suite in results.suites for frame in _of_suite(suite)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _of_suite(suite: SuiteResults) -> Iterator[pd.DataFrame]:
    for found in suite_profiles(suite, resamples=1):
        for name in found.times:
            curve = _steps(found.times, str(name))
            named = {"suite": suite.name, "unit": found.unit, "optimizer": name}
            yield pd.DataFrame(named | curve | {"workloads": len(found.times), "runs": found.runs})


def _steps(times: pd.DataFrame, name: str) -> dict[str, list[float]]:
    ratios = ratios_to_fastest(times.to_numpy(float).T)[times.columns.get_loc(name)]
    moments = np.unique([1.0, *ratios[ratios <= MAX_RATIO], MAX_RATIO])
    return {"ratio": moments.tolist(), "share": [float((ratios <= at).mean()) for at in moments]}


def area_score(times: Array) -> Array:
    """Return the exact area under the profile from ratio 1 to `MAX_RATIO`, divided by its width: (..., entry), of (..., entry, workload).

    A workload adds (4 - r) / 3 where the ratio r to the fastest is below 4, else nothing.
    """
    ratios = ratios_to_fastest(times)
    return np.asarray(np.clip((MAX_RATIO - ratios) / (MAX_RATIO - 1), 0.0, None).mean(axis=-1))


def ratios_to_fastest(times: Array) -> Array:
    """Return times over the shortest time of their workload, (..., entry, workload); infinite where not reached."""
    least = times.min(axis=-2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(times == least, 1.0, times / least)
    ratios[np.isinf(times)] = np.inf  # also where no entry reached the workload's target
    return ratios


def _cell(group: pd.DataFrame, unit: str) -> _Cell:
    reached = group["reached"].to_numpy(dtype=bool)
    times = group[unit].to_numpy(dtype=float)
    budget = float(times[~reached].max()) if not reached.all() else np.nan
    return _Cell(np.where(reached, times, np.inf), budget)


def _middle(times: Array) -> Array:
    """Return the Kaplan-Meier median over the last axis, if all trials that did not reach the target are censored after the last
    passage.
    """
    ordered = np.sort(times, axis=-1)
    size = times.shape[-1]
    return np.asarray((ordered[..., (size - 1) // 2] + ordered[..., size // 2]) / 2)


def _resampled(grid: Sequence[Sequence[_Cell]], resamples: int, seed: int) -> Array:
    """Return the medians of bootstrap samples of the seeds, (resample, entry, workload)."""
    random = np.random.default_rng(seed)
    drawn = np.empty((resamples, len(grid), len(grid[0])))
    for row, of_entry in enumerate(grid):
        for column, cell in enumerate(of_entry):
            size = len(cell.times)
            drawn[:, row, column] = _middle(cell.times[random.integers(size, size=(resamples, size))])
    return drawn


def _speedups(times: Array, budgets: Array, baseline: int) -> tuple[Array, npt.NDArray[np.int_]]:
    """Return geometric means, and over how many workloads. The budget replaces a time that was not reached; pairs without any time are
    left out.
    """
    filled = np.where(np.isinf(times), budgets, times)
    logs = np.log(filled[..., [baseline], :] / filled)
    logs[np.isinf(times) & np.isinf(times[..., [baseline], :])] = np.nan
    used = np.isfinite(logs).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.exp(np.nansum(logs, axis=-1) / used), used


def _bound(times: Array, base: Array) -> str | None:
    """Return what kind of bound a mean with budgets is: "" if exact, None if it is neither an upper nor a lower bound."""
    most, least = (
        bool((np.isinf(times) & np.isfinite(base)).any()),
        bool((np.isfinite(times) & np.isinf(base)).any()),
    )
    if most and least:
        return None
    return "at most" if most else "at least" if least else ""


def _band(speedups: Array) -> Array:
    """Return quantiles over resamples, (2, entry), without resamples in which nothing could be compared."""
    known = np.isfinite(speedups)
    columns = [speedups[known[:, index], index] for index in range(speedups.shape[1])]
    return np.array(
        [np.quantile(column, [0.025, 0.975]) if len(column) else [np.nan, np.nan] for column in columns]
    ).T
