"""Read the metrics and parameters of an MLflow folder, `mlruns`.

Parameters called `optimizer` and `seed` name a run; others do with --map. Without a parameter for the optimizer, the
name of the run is used, and without a seed the id of the run. Seconds count from the start of a run. Deleted runs are
left out. A database is not read: export its runs to a folder.

Examples:
  optbench import mlflow mlruns --target 'accuracy>=0.9'
  optbench import mlflow mlruns --map optimizer=opt --map validation.accuracy=val_acc
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from optbench.errors import OptbenchError
from optbench.importing.findings import Findings
from optbench.importing.tables import Table, columns_of

_META = "meta.yaml"


def read(paths: Sequence[Path], findings: Findings) -> list[Table]:
    """Return one table per run that has metrics. Raises `OptbenchError` for a path without runs and for invalid lines."""
    tables = []
    for path in paths:
        runs = [_run(folder, meta, findings) for folder, meta in _folders(path, findings)]
        if not runs:
            message = f"no MLflow run here: expected folders with {_META} and metrics/"
            raise OptbenchError(message, file=str(path))
        tables += [table for table in runs if len(table)]
        findings.note("runs without metrics: skipped", str(path), sum(not len(table) for table in runs))
    return tables


def _folders(path: Path, findings: Findings) -> Iterator[tuple[Path, dict[str, Any]]]:
    if not path.is_dir():
        what = "a file" if path.exists() else "no such folder"
        raise OptbenchError(f"{what}: expected an MLflow folder", file=str(path))
    for meta in sorted(path.rglob(_META)):
        if (meta.parent / "metrics").is_dir() and ".trash" not in meta.parts:
            content = _yaml(meta)
            if content.get("lifecycle_stage") == "deleted":
                findings.note("deleted runs: skipped", str(meta.parent))
            else:
                yield meta.parent, content


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise OptbenchError(f"cannot read: {str(error).splitlines()[0]}", file=str(path)) from error
    return content if isinstance(content, dict) else {}


def _run(folder: Path, meta: dict[str, Any], findings: Findings) -> Table:
    rows: list[tuple[int, int, str, float]] = []  # milliseconds, step, metric, value
    for file in _files(folder / "metrics"):
        name = file.relative_to(folder / "metrics").as_posix()
        rows += [(time, step, name, value) for time, step, value in _values(file)]
    rows.sort(key=lambda row: row[0])
    start = meta.get("start_time")
    first = start if isinstance(start, int) else min((time for time, *_ in rows), default=0)
    columns = columns_of((max(0, time - first) / 1000, step, name, value) for time, step, name, value in rows)
    settings = {
        file.relative_to(folder / "params").as_posix(): _text(file) for file in _files(folder / "params")
    }
    name = meta.get("run_name") or meta.get("name") or folder.name
    settings = {"run_id": folder.name} | settings
    return Table(str(folder), columns, run=str(name), constants=settings)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise OptbenchError(f"cannot read: {error.strerror}", file=str(file)) from error


def _values(file: Path) -> Iterator[tuple[int, int, float]]:
    """Yield milliseconds, step and value of each line `timestamp value step`. MLflow writes infinity as the largest double."""
    for number, line in enumerate(_text(file).splitlines(), start=1):
        try:
            words = line.split()
            time, value, step = int(words[0]), float(words[1]), int(words[2]) if len(words) > 2 else 0
        except (ValueError, IndexError) as error:
            message = f"expected 'timestamp value step'; found '{line[:50]}'"
            raise OptbenchError(message, file=str(file), line=number) from error
        yield time, step, math.copysign(math.inf, value) if abs(value) >= 1.7976931348623157e308 else value
