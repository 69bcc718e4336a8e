"""Survival curves: the share of an entry's trials that have not reached a target yet, after each time, with its band."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from optbench.analysis.censoring import kaplan_meier
from optbench.analysis.frames import UNITS, passages_frame
from optbench.analysis.gradients import GRADIENTS, workloads_shown
from optbench.analysis.rows import KEYS
from optbench.store import Results


def survival_frame(results: Results) -> pd.DataFrame:
    """Return one row per table row, target, unit and time: suite, workload, horizon, optimizer, config_id, target, unit, then time,
    at_risk, events, survival with its 95 % band low, high (empty where all or none have arrived).

    Gradient evaluations are a unit only in workloads in which some entry used other than one per step.
    """
    passages = passages_frame(results)
    shown = workloads_shown(results)
    times = {unit: passages[unit].to_numpy(dtype=float) for unit in UNITS}
    reached = passages["reached"].to_numpy(dtype=bool)
    places: dict[Any, Any] = passages.groupby([*KEYS, "target"], sort=False).indices
    names: list[tuple[str, ...]] = []
    curves: list[pd.DataFrame] = []
    for row, here in sorted(places.items(), key=lambda item: item[1][0]):
        for unit in UNITS:
            if unit == GRADIENTS and (row[0], row[1]) not in shown:
                continue
            known = here[~np.isnan(times[unit][here])]
            if len(known):
                curves.append(kaplan_meier(times[unit][known].tolist(), reached[known].tolist()))
                names.append((*map(str, row), unit))
    columns = [*KEYS, "target", "unit"]
    if not curves:
        more = ["time", "at_risk", "events", "survival", "low", "high"]
        return pd.DataFrame(columns=[*columns, *more])
    repeated = pd.DataFrame(names, columns=columns).loc[
        np.repeat(np.arange(len(curves)), [*map(len, curves)])
    ]
    return pd.concat([repeated.reset_index(drop=True), pd.concat(curves, ignore_index=True)], axis=1)
