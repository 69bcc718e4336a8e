"""Survival curves: the share of an entry's trials that have not reached a target yet, after each time, with its band."""

from __future__ import annotations

import pandas as pd

from optbench.analysis.censoring import kaplan_meier
from optbench.analysis.frames import KEYS, UNITS, passages_frame
from optbench.analysis.gradients import GRADIENTS, workloads_shown
from optbench.store import Results


def survival_frame(results: Results) -> pd.DataFrame:
    """Return one row per table row, target, unit and time: suite, workload, horizon, optimizer, config_id, target, unit, then time,
    at_risk, events, survival with its 95 % band low, high (empty where all or none have arrived).

    Gradient evaluations are a unit only in workloads in which some entry used other than one per step.
    """
    passages = passages_frame(results)
    shown = workloads_shown(results)
    frames = []
    for names, own in passages.groupby([*KEYS, "target"], sort=False):
        for unit in UNITS:
            if unit == GRADIENTS and (names[0], names[1]) not in shown:
                continue
            known = own.dropna(subset=[unit])
            if len(known):
                curve = kaplan_meier(known[unit].tolist(), known["reached"].astype(bool).tolist())
                named = dict(zip([*KEYS, "target"], map(str, names), strict=True)) | {"unit": unit}
                frames.append(pd.DataFrame(named, index=curve.index).join(curve))
    columns = [*KEYS, "target", "unit", "time", "at_risk", "events", "survival", "low", "high"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
