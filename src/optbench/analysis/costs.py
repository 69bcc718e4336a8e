"""Cost of an update, smoothness of the descent, and the best use of each entry, derived by rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from optbench.analysis.frames import plain_rows
from optbench.analysis.rows import TableRow, batch_size, table_rows
from optbench.analysis.table import comparison
from optbench.store import Results, TrialLog

COLUMNS = (
    *("suite", "workload", "horizon", "optimizer", "config_id", "batch_size"),
    *("activation_bytes", "training_bytes", "peak_memory_bytes", "process_memory_bytes"),
    *("seconds_per_update", "seconds_per_epoch", "flops_per_update", "flops_per_epoch"),
    *("loss_rises", "gradient_noise_start", "gradient_noise_end"),
    *("clipped", "exploded_steps", "vanished_steps", "data_wait", "cpu_utilisation", "gpu_utilisation"),
    *("gpu_power_watts", "gpu_clock_mhz", "best_use"),
)
#: relative distance to the minimum of a workload that counts as minimum
NEAR = 1.25
#: maximum share of updates with increasing loss in a steady descent
STEADY = 0.05

#: rules of best uses, as notes below a table
RULES = (
    f"Best use is derived by rules. Quick results, few epochs, little memory: at most {NEAR:g}x the minimum (seconds, epochs, memory) of "
    f"all entries that reached the target. Steady descent: the loss rises in at most {STEADY:.0%} of the updates. Single samples: "
    "reaches the target at batch size 1. Final quality: not significantly worse than any other entry (only if some entry is)."
)


def costs_frame(results: Results, table: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per row of the timed table. Values are means over trials; NaN where no trial recorded a value.

    activation_bytes: kept for the backward pass of one batch; training_bytes: those, parameters, gradients and optimizer state;
    peak_memory_bytes: maximum of the allocator (CUDA); process_memory_bytes: maximum of the samples of the whole process;
    seconds (of trials never interrupted) and FLOPs (of forward and backward passes, all calls of a closure included) per update
    and per epoch; loss_rises: share of updates whose batch had a larger loss than the batch before; gradient noise scale in
    samples at the first and the last weights (McCandlish et al. 2018); clipped: share of steps; exploded_steps, vanished_steps:
    sums over trials; data_wait: share of training seconds; utilisations, power and clock: means of samples.
    epochs_to_target, steps_to_target: as in the comparison, of the first target. best_use: by `RULES`; "" if no rule applies
    or there is no target. `table`: the result of `comparison`, if already computed.
    """
    records = [row.names | {"batch_size": batch_size(row)} | _costs(row) for row in table_rows(results)]
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    table = comparison(results) if table is None else table
    first = table.drop_duplicates("config_id").set_index("config_id")
    for column in ("epochs_to_target", "steps_to_target"):
        frame[column] = first[column].reindex(frame["config_id"]).to_numpy()
    uses: dict[str, str] = {}
    blocks = ["suite", "workload", "horizon"]
    outcomes = dict(tuple(table.groupby(blocks, sort=False)))
    for key, block in frame.groupby(blocks, sort=False):
        uses |= zip(block["config_id"], _best_uses(block, _first_target(outcomes[key])), strict=True)
    frame["best_use"] = frame["config_id"].map(uses)
    return frame


def _costs(row: TableRow) -> dict[str, Any]:
    logs = [log for log in row.logs if log.finished is not None and log.finished.step > 0 and log.started]
    mean = _mean_over(logs)
    per_epoch = next((log.started.steps_per_epoch for log in logs if log.started), 0) or math.nan
    flops = mean(_flops)
    seconds = _mean_over([log for log in logs if log.seconds_count])(_seconds)
    resources = {name: mean(_sampled(name, "mean")) for name in _MEANS}
    return {
        "activation_bytes": mean(lambda log: log.started and log.started.activation_bytes),
        "training_bytes": mean(_training_bytes),
        "peak_memory_bytes": greatest(log.finished and log.finished.peak_memory_bytes for log in logs),
        "process_memory_bytes": greatest(_sampled("process_memory_bytes", "most")(log) for log in logs),
        "seconds_per_update": seconds,
        "seconds_per_epoch": seconds * per_epoch,
        "flops_per_update": flops,
        "flops_per_epoch": flops * per_epoch,
        "loss_rises": mean(_rises),
        "gradient_noise_start": mean(lambda log: log.started and log.started.gradient_noise),
        "gradient_noise_end": mean(lambda log: log.finished and log.finished.gradient_noise),
        "clipped": mean(_clipped) if row.trial.entry.clip is not None else math.nan,
        **{name: _sum(map(last(name), logs)) for name in ("exploded_steps", "vanished_steps")},
        "data_wait": mean(_data_wait),
        **resources,
    }


def per_trial(column: str, rows: Iterable[TableRow]) -> pd.DataFrame:
    """Return `training_bytes`, `seconds_per_update` or `loss_rises`: one row per seed, one column per config_id."""
    fact = FACTS[column]
    values = {
        row.config_id: pd.Series(
            {log.trial["seed"]: fact(log) for log in row.logs if log.finished and log.finished.step > 0},
            dtype=float,
        )
        for row in rows
    }
    return pd.DataFrame(values)


_MEANS = ("cpu_utilisation", "gpu_utilisation", "gpu_power_watts", "gpu_clock_mhz")
#: a number of a trial; None if unknown
Fact = Callable[[TrialLog], Any]


def _mean_over(logs: list[TrialLog]) -> Callable[[Fact], float]:
    def mean(fact: Fact) -> float:
        seen = [float(value) for value in map(fact, logs) if value is not None and math.isfinite(value)]
        return sum(seen) / len(seen) if seen else math.nan

    return mean


def _seconds(log: TrialLog) -> float | None:
    return log.finished.train_seconds / log.finished.step if log.finished else None


def _flops(log: TrialLog) -> float | None:
    if not log.finished or not log.started or log.started.step_flops is None:
        return None
    passes = log.finished.gradient_evaluations
    return log.started.step_flops * (1 if passes is None else passes / log.finished.step)


def _training_bytes(log: TrialLog) -> int | None:
    if not log.started or not log.finished or log.started.activation_bytes is None:
        return None
    if log.finished.state_bytes is None:
        return None
    return 2 * log.started.parameter_bytes + log.finished.state_bytes + log.started.activation_bytes


def _rises(log: TrialLog) -> float | None:
    if not log.evaluations:
        return None
    rises, step = (log.evaluations.column(name)[-1] for name in ("loss_rises", "step"))
    return None if rises is None or step < 2 else rises / (step - 1)


def _clipped(log: TrialLog) -> float | None:
    if not log.evaluations:
        return None
    clipped, step = (log.evaluations.column(name)[-1] for name in ("clipped_steps", "step"))
    return float(clipped / step)


def _data_wait(log: TrialLog) -> float | None:
    end = log.finished
    if end is None or end.data_wait_seconds is None or end.train_seconds <= 0 or not log.seconds_count:
        return None
    return end.data_wait_seconds / end.train_seconds


#: facts of a trial by name
FACTS: dict[str, Fact] = {
    "training_bytes": _training_bytes,
    "seconds_per_update": lambda log: _seconds(log) if log.seconds_count else None,
    "loss_rises": _rises,
    "flops_per_update": _flops,
    "clipped": _clipped,
    "data_wait": _data_wait,
}


def _sampled(name: str, which: str) -> Fact:
    return lambda log: log.finished and log.finished.resources.get(name, {}).get(which)


def greatest(values: Iterable[Any]) -> float:
    """Return the maximum of the values that are not None; NaN if there is none."""
    return max((float(value) for value in values if value is not None), default=math.nan)


def last(column: str) -> Fact:
    """Return the function that returns the value of a column at the last evaluation of a trial."""
    return lambda log: log.evaluations.column(column)[-1] if log.evaluations else None


def _sum(values: Iterable[int | None]) -> float:
    known = [value for value in values if value is not None]
    return float(sum(known)) if known else math.nan


def _first_target(own: pd.DataFrame) -> pd.DataFrame:
    first: pd.DataFrame = own[own["target"] == own["target"].iloc[0]]
    return first.set_index("config_id")


def _best_uses(costs: pd.DataFrame, outcomes: pd.DataFrame) -> list[str]:
    """Return the best uses of the rows of one workload, in their order."""
    if not outcomes["target"].iloc[0]:
        return [""] * len(costs)
    arrived = outcomes["epochs_to_target"].notna()
    columns = {
        "quick results": outcomes["seconds_to_target"],
        "few epochs": outcomes["epochs_to_target"],
        "little memory": costs.set_index("config_id")["training_bytes"],
    }
    least = {words: values[arrived[arrived].index].min() for words, values in columns.items()}
    apart = bool(outcomes["best_group"].eq(False).fillna(False).any())
    found = []
    for row in plain_rows(costs):
        key = row["config_id"]
        if not arrived[key]:
            found.append("none: at most half of the seeds reached the target")
            continue
        uses = [words for words, values in columns.items() if values[key] <= NEAR * least[words]]
        if row["loss_rises"] <= STEADY:
            uses.append("steady descent")
        if row["batch_size"] == 1:
            uses.append("single samples")
        if apart and outcomes.loc[key, "best_group"] is True:
            uses.append("final quality")
        found.append(", ".join(uses))
    return found
