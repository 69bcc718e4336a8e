"""Read tables of delimited text: a row per evaluation or log call.

Needed are an optimizer, a run or seed, a step, epoch or seconds, and a metric. Columns that have optbench's names need no
--map.

Examples:
  optbench import csv log.csv --target 'accuracy>=0.97'
  optbench import csv log.csv --map optimizer=opt --map validation.accuracy=acc --percent acc
  optbench import csv sgd_0.csv adam_0.csv --runs '{optimizer}_{seed}.csv' --baseline sgd --name mine
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optbench.importing.delimited import read_delimited
from optbench.importing.findings import Findings
from optbench.importing.tables import Table


def read(paths: Sequence[Path], findings: Findings) -> list[Table]:
    """Return one table per file."""
    return [read_delimited(path, findings) for path in paths]
