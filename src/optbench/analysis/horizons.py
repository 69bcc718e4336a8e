"""The shortest horizon whose final metric meets the target: a result that does not depend on the schedule length."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from optbench.analysis.frames import is_worst
from optbench.analysis.intervals import t_interval
from optbench.analysis.rows import (
    TableRow,
    comparable,
    lengths_in_one_unit,
    workload_rows,
)
from optbench.analysis.table import final_values
from optbench.store import Results
from optbench.suite.types import Target

COLUMNS = (
    *("suite", "workload", "target", "optimizer", "horizon", "length", "metric", "metric_unit"),
    *("estimand", "seeds", "imputed", "worst_value", "final_metric", "final_metric_low"),
    *("final_metric_high", "meets", "surely", "shortest", "shortest_surely"),
)


def horizons_frame(results: Results) -> pd.DataFrame:
    """Return one row per target, optimizer and horizon, for workloads with several horizons; each horizon is a separate full run.

    Columns: suite, workload, target, optimizer, horizon (text), length (its number;
    in steps where the units differ); metric (the target's), metric_unit, estimand, seeds,
    imputed (trials that count as the worst outcome), worst_value (as in `comparison`);
    final_metric with its 95 % t interval (of the test split; none where trials diverged); meets (its mean meets the target),
    surely (the whole interval does); shortest and shortest_surely: the least horizon of the optimizer that does.
    """
    records: list[dict[str, Any]] = []
    for _, _, rows in workload_rows(results):
        blocks = comparable(rows)
        if len(blocks) > 1:
            lengths = lengths_in_one_unit([block[0] for block in blocks])
            for target in blocks[0][0].trial.workload.target:
                records += [
                    record
                    for block, length in zip(blocks, lengths, strict=True)
                    for record in _of_block(block, length, target)
                ]
    table = pd.DataFrame(records, columns=list(COLUMNS))
    for name, condition in (("shortest", "meets"), ("shortest_surely", "surely")):
        least = table[table[condition].eq(True)].groupby(["suite", "workload", "target", "optimizer"])[
            "length"
        ]
        table[name] = False
        table.loc[least.idxmin().to_numpy(), name] = True
    return table


def _of_block(block: list[TableRow], length: float, target: Target) -> Iterator[dict[str, Any]]:
    values = final_values(block, target.metric)
    facts = block[0].facts(target.metric)
    for row in block:
        found = t_interval(values[row.config_id].dropna().tolist(), within=facts.range)
        imputed = sum(is_worst(log) for log in row.logs)
        whole = not imputed
        budget = row.trial.workload.budget
        yield {
            "suite": row.suite,
            "workload": row.trial.workload_name,
            "target": str(target),
            "optimizer": row.trial.label,
            "horizon": str(budget),
            "length": length,
            "metric": target.metric,
            "metric_unit": facts.unit,
            "estimand": row.estimand,
            "seeds": found.n,
            "imputed": imputed,
            "worst_value": math.nan if facts.worst is None else facts.worst,
            "final_metric": found.mean,
            "final_metric_low": found.low if whole else math.nan,
            "final_metric_high": found.high if whole else math.nan,
            "meets": target.holds(found.mean),
            "surely": whole and target.holds(found.low if target.at_least is not None else found.high),
        }
