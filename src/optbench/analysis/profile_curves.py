"""Performance profiles as curves: the share of workloads whose target an entry met within a multiple of the fastest entry's time.

Dolan and More, Mathematical Programming 91 (2002).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from optbench.analysis.entries import entry_names
from optbench.analysis.frames import passages_frame
from optbench.analysis.gradients import units_between
from optbench.analysis.profiles import MAX_RATIO, profiles
from optbench.analysis.rows import table_rows
from optbench.store import Results, SuiteResults


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
    rows = [row for row in table_rows(Results((suite,))) if row.trial.workload.target]
    names = entry_names(suite)
    if len({row.trial.workload_name for row in rows}) < 2 or len({names[row.config_id] for row in rows}) < 2:
        return
    first = {row.config_id: str(row.trial.workload.target[0]) for row in rows}
    passages = passages_frame(Results((suite,)))
    own = passages[passages["target"] == passages["config_id"].map(first)]
    own = own.assign(optimizer=own["config_id"].map(names))
    baseline = next((names[row.config_id] for row in rows if row.baseline), "")
    lead = "epochs" if own["epochs"].notna().any() else "steps"
    for unit in units_between(rows, lead):
        found = profiles(own, unit, baseline, resamples=1)
        if found is not None:
            for name in found.times:
                curve = _steps(found.times, str(name))
                named = {"suite": suite.name, "unit": unit, "optimizer": name}
                yield pd.DataFrame(named | curve | {"workloads": len(found.times), "runs": found.runs})


def _steps(times: pd.DataFrame, name: str) -> dict[str, list[float]]:
    own, least = times[name].to_numpy(float), times.min(axis=1).to_numpy(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(own == least, 1.0, own / least)
    ratios = np.sort(ratios[np.isfinite(own)])
    moments = np.unique([1.0, *ratios[ratios <= MAX_RATIO], MAX_RATIO])
    return {"ratio": moments.tolist(), "share": [float((ratios <= at).sum() / len(own)) for at in moments]}
