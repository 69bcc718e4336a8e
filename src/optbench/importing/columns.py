"""Which column of a tidy log holds what: by `--map FIELD=COLUMN`, else by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from optbench.errors import OptbenchError, Problem, nearest

#: field -> names under which it is found without being mapped
FIELDS = {
    "optimizer": ("optimizer",),
    "seed": ("seed", "run"),
    "workload": ("workload",),
    "step": ("step", "global_step"),
    "epoch": ("epoch",),
    "samples": ("samples",),
    "seconds": ("seconds", "train_seconds"),
    "evaluation_seconds": ("evaluation_seconds",),
    "train_loss": ("train_loss",),
    "learning_rate": ("learning_rate", "lr"),
}
SPLITS = {
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "train": "train",
}


@dataclass(frozen=True)
class Columns:
    """`fields`: field -> column; `metrics`: column -> (split, metric); `percent`: columns to divide by 100."""

    fields: dict[str, str]
    metrics: dict[str, tuple[str, str]]
    percent: frozenset[str]


def map_columns(columns: Sequence[str], maps: Sequence[str], percent: Sequence[str], path: Path) -> Columns:
    """`maps` are FIELD=COLUMN; a FIELD that is none of ours is a metric: [SPLIT.]METRIC, of validation if no split is named.

    Raises `OptbenchError` with all problems: no such column, or no optimizer, run, clock or metric.
    """
    problems: list[Problem] = []
    fields: dict[str, str] = {}
    metrics: dict[str, tuple[str, str]] = {}
    for text in maps:
        field, equals, column = (part.strip() for part in text.partition("="))
        if not field or not equals or not column:
            problems.append(Problem(f"expected FIELD=COLUMN; found '{text}'", where="--map"))
        elif column not in columns:
            problems.append(_no_column(column, columns, path, "--map"))
        elif field == "run":
            fields["seed"] = column
        elif field in FIELDS:
            fields[field] = column
        else:
            metrics[column] = _metric(field) or ("validation", field)
    problems += [
        _no_column(column, columns, path, "--percent") for column in percent if column not in columns
    ]
    for field, names in FIELDS.items():
        known = next((name for name in names if name in columns), None)
        if known is not None and known not in metrics and known not in fields.values():
            fields.setdefault(field, known)
    for column in columns:
        found = _metric(column)
        if found is not None and column not in metrics and column not in fields.values():
            metrics[column] = found
    if not problems:
        problems = _missing(fields, metrics, columns, path)
    if problems:
        raise OptbenchError(*problems)
    return Columns(fields, metrics, frozenset(percent))


def _metric(name: str) -> tuple[str, str] | None:
    """`validation_accuracy`, `val/accuracy`, `test.loss` -> (split, metric)."""
    for separator in (".", "/", "_"):
        split, found, metric = name.partition(separator)
        if found and metric and split.lower() in SPLITS:
            return SPLITS[split.lower()], metric
    return None


def _missing(
    fields: dict[str, str], metrics: dict[str, tuple[str, str]], columns: Sequence[str], path: Path
) -> list[Problem]:
    has = f"the columns are {', '.join(columns)}"
    wanted = []
    if "optimizer" not in fields:
        wanted.append(f"which column names the optimizer? Say --map optimizer=COLUMN; {has}")
    if "seed" not in fields:
        wanted.append(f"which column tells the runs apart? Say --map seed=COLUMN; {has}")
    if not {"step", "epoch", "seconds"} & fields.keys():
        wanted.append(f"which column tells when? Say --map step=COLUMN, or epoch or seconds; {has}")
    if not metrics:
        wanted.append(f"which column is a metric? Say --map validation.accuracy=COLUMN; {has}")
    return [Problem(message, file=str(path), line=1) for message in wanted]


def _no_column(column: str, columns: Sequence[str], path: Path, flag: str) -> Problem:
    return Problem(f"no column '{column}': {nearest(column, columns)}", where=flag, file=str(path), line=1)
