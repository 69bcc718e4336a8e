"""The final metric of each seed, from which the means of the comparison are computed."""

from __future__ import annotations

import pandas as pd

from optbench.analysis.frames import is_worst
from optbench.analysis.rows import KEYS, comparable, workload_rows
from optbench.analysis.table import final_values
from optbench.store import Results


def finals_frame(results: Results) -> pd.DataFrame:
    """Return one row per trial that counts: suite, workload, horizon, optimizer, config_id, seed, metric, value, imputed (bool: the
    trial ended in the worst outcome, and `value` is what it counts as)."""
    records = []
    for _, _, block in workload_rows(results):
        metric = block[0].trial.workload.metrics[0]
        for alike in comparable(block):
            values = final_values(alike, metric)
            for row in alike:
                worst = {log.trial["seed"] for log in row.logs if is_worst(log)}
                records += [
                    (*row.names.values(), seed, metric, value, seed in worst)
                    for seed, value in values[row.config_id].dropna().items()
                ]
    return pd.DataFrame(records, columns=[*KEYS, "seed", "metric", "value", "imputed"])
