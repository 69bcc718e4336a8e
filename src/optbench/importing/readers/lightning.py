"""Read the logs of Lightning's CSVLogger: `metrics.csv` and `hparams.yaml`.

Each folder is a run, called by its path: `<optimizer>/<seed>`, unless hyperparameters called `optimizer` and `seed`,
--map or --runs say otherwise. The folder `lightning_logs` is not part of the name. Lightning counts epochs and steps from 0:
the columns `epoch` and `step` are converted to the numbers of epochs and steps trained.

Examples:
  optbench import lightning lightning_logs --map optimizer=optim_name --target 'acc>=0.9'
  optbench import lightning adam sgd --runs '{optimizer}/version_{seed}'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from optbench.importing.cells import MISSING, Cell, Unreadable, to_numbers
from optbench.importing.columns import metric_of
from optbench.importing.delimited import read_delimited
from optbench.importing.findings import Findings
from optbench.importing.readers._folders import find_runs
from optbench.importing.tables import Table

METRICS, HYPERPARAMETERS = "metrics.csv", "hparams.yaml"
#: name of the step in the logs that Lightning writes to Weights & Biases
GLOBAL_STEP = "trainer/global_step"
_CLOCKS = ("step", "epoch", GLOBAL_STEP)


def read(paths: Sequence[Path], findings: Findings) -> list[Table]:
    """Return one table per `metrics.csv`."""
    tables = []
    for name, files in find_runs(paths, lambda file: file.name == METRICS, METRICS):
        parts = [part for part in name.split("/") if part != "lightning_logs"]
        for file in files:
            settings = _hyperparameters(file.parent / HYPERPARAMETERS, findings)
            table = counted_from_one(read_delimited(file, findings))
            tables.append(replace(table, run="/".join(parts) or name, constants=settings))
    return tables


def counted_from_one(table: Table) -> Table:
    """Return the table with the numbers of epochs and steps trained, instead of indexes that start at 0.

    Lightning logs the index of the current epoch and of the last step (`_LoggerConnector.log_metrics`). Once the training has ended,
    as in `Trainer.test`, both are already the numbers trained.
    """
    end = _rows_of_training(table)
    steps, epochs = (_numbers(table.columns.get(name, ())) for name in ("step", "epoch"))
    changed: dict[str, list[Cell]] = {}
    if steps:
        changed["step"] = [*(step + 1 for step in steps[:end]), *steps[end:]]
    if epochs:
        changed["epoch"] = [*_epochs_trained(steps[:end], epochs[:end]), *epochs[end:]]
    return replace(table, columns={**table.columns, **changed})


def _epochs_trained(steps: Sequence[float], epochs: Sequence[float]) -> list[float]:
    """Return the number of epochs trained at each row: the last row of an epoch is its end, others are interpolated by their steps."""
    steps = steps or [math.nan] * len(epochs)
    ends: dict[float, float] = {}  # by index of the epoch: the number of steps at its end
    for step, epoch in zip(steps, epochs, strict=True):
        if math.isfinite(step + epoch):
            ends[epoch] = max(step + 1, ends.get(epoch, 0))
    trained = [0.0, *(epoch + 1 for epoch in sorted(ends))]
    at = [0.0, *(ends[epoch] for epoch in sorted(ends))]
    if len(at) > 2:  # the training may have ended within the last epoch
        steps_per_epoch = (at[-2] - at[-3]) / (trained[-2] - trained[-3])
        at[-1] = max(at[-1], at[-2] + steps_per_epoch * (trained[-1] - trained[-2]))
    if any(after <= before for before, after in pairwise(at)):
        return [epoch + 1 for epoch in epochs]
    return [
        float(np.interp(step + 1, at, trained)) if math.isfinite(step + epoch) else epoch + 1
        for step, epoch in zip(steps, epochs, strict=True)
    ]


def _rows_of_training(table: Table) -> int:
    """Return the number of rows before those at the end that have only test metrics; of a table with only such rows, all."""
    others = [
        cells
        for name, cells in table.columns.items()
        if not name.startswith("_") and name not in _CLOCKS and (metric_of(name) or ("", ""))[0] != "test"
    ]
    rows = (
        index
        for index in reversed(range(len(table)))
        if any(str(cells[index]).strip().lower() not in MISSING for cells in others)
    )
    return next(rows, len(table) - 1) + 1


def _numbers(cells: Sequence[Cell]) -> list[float]:
    """Return the numbers, NaN for missing cells; an empty list if a cell is not a number, which is reported later."""
    try:
        numbers = to_numbers(cells, percent=False, decimal_comma=False)
    except Unreadable:
        return []
    return [math.nan if number is None else number for number in numbers]


def _hyperparameters(path: Path, findings: Findings) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError):
        findings.note(f"files {HYPERPARAMETERS} that cannot be read", str(path))
        return {}
    content = content if isinstance(content, dict) else {}
    return {str(name): value for name, value in content.items() if isinstance(value, (str, int, float))}
