"""Read the logs of Lightning's CSVLogger: `metrics.csv` and `hparams.yaml`.

Each folder is a run, called by its path: `<optimizer>/<seed>`, unless hyperparameters called `optimizer` and `seed`,
--map or --runs say otherwise. The folder `lightning_logs` is not part of the name.

Examples:
  optbench import lightning lightning_logs --map optimizer=optim_name --target 'acc>=0.9'
  optbench import lightning adam sgd --runs '{optimizer}/version_{seed}'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from optbench.importing.delimited import read_delimited
from optbench.importing.findings import Findings
from optbench.importing.readers._folders import find_runs
from optbench.importing.tables import Table

METRICS, HYPERPARAMETERS = "metrics.csv", "hparams.yaml"


def read(paths: Sequence[Path], findings: Findings) -> list[Table]:
    """Return one table per `metrics.csv`."""
    tables = []
    for name, files in find_runs(paths, lambda file: file.name == METRICS, METRICS):
        parts = [part for part in name.split("/") if part != "lightning_logs"]
        for file in files:
            settings = _hyperparameters(file.parent / HYPERPARAMETERS, findings)
            tables.append(
                replace(read_delimited(file, findings), run="/".join(parts) or name, constants=settings)
            )
    return tables


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
