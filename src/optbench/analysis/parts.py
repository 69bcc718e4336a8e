"""Breakdown of memory and time into measured parts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from optbench.analysis.costs import greatest
from optbench.analysis.rows import KEYS, TableRow, table_rows
from optbench.store import Results

#: in the order in which they are stacked
MEMORY_PARTS = ("parameters", "gradients", "optimizer state", "step peak", "activations")
TIME_PARTS = ("training", "data wait", "evaluation", "set-up")


def memory_parts_frame(results: Results) -> pd.DataFrame:
    """Return one row per table row and known part of `MEMORY_PARTS`: suite, workload, horizon, optimizer, config_id, part, bytes.

    The greatest over seeds. Gradients are as large as the parameters. Step peak: what the optimizer's step allocates for its own
    duration beyond its state; activations: kept for the backward pass of one batch, where the suite studies costs. The two are
    not there at the same moment: their sum is above what a training needs at any time.
    """
    return _frame(results, _memory, "bytes")


def time_parts_frame(results: Results) -> pd.DataFrame:
    """Return one row per table row and known part of `TIME_PARTS`: as `memory_parts_frame`, with seconds (mean over trials whose
    clock ran through), share (of the sum of all that is known) and n (those trials).

    Training is the clock of all timed results, without the data wait where that was measured separately; the other two are not included.
    """
    frame = _frame(results, _time, "seconds", "n")
    total = frame.groupby("config_id")["seconds"].transform("sum")
    return frame.assign(share=frame["seconds"] / total.where(total > 0))


def _frame(results: Results, parts: Any, *columns: str) -> pd.DataFrame:
    records = []
    for row in table_rows(results):
        for part, *values in parts(row):
            if not math.isnan(values[0]):
                records.append(row.names | {"part": part} | dict(zip(columns, values, strict=True)))
    return pd.DataFrame(records, columns=[*KEYS, "part", *columns])


def _memory(row: TableRow) -> Iterable[tuple[str, float]]:
    logs = [(log.started, log.finished) for log in row.logs if log.started and log.finished]
    size = greatest(start.parameter_bytes for start, _ in logs)
    yield "parameters", size
    yield "gradients", size
    yield "optimizer state", greatest(end.state_bytes for _, end in logs)
    yield "step peak", greatest(end.step_peak_bytes for _, end in logs)
    yield "activations", greatest(start.activation_bytes for start, _ in logs)


def _time(row: TableRow) -> Iterable[tuple[str, float, int]]:
    ends = [log.finished for log in row.logs if log.finished and log.finished.step > 0 and log.seconds_count]
    if not ends:
        return
    n = len(ends)
    waits = [end.data_wait_seconds for end in ends]
    wait = math.nan if None in waits else sum(filter(None, waits)) / n
    yield "training", sum(end.train_seconds for end in ends) / n - (0.0 if math.isnan(wait) else wait), n
    yield "data wait", wait, n
    yield "evaluation", sum(end.evaluation_seconds for end in ends) / n, n
    yield "set-up", sum(end.setup_seconds for end in ends) / n, n
