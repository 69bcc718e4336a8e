"""Find the column of each quantity in a table: by `--map FIELD=COLUMN`, else by its name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from optbench.errors import OptbenchError, Problem, nearest

#: fields that name a run, and the columns in which they are found without being mapped, in order of preference
NAMES = {
    "optimizer": ("optimizer", "optimizer_name", "optim"),
    "seed": ("seed", "run", "run_name", "run_id"),
    "workload": ("workload",),
}
#: fields that are numbers. Names are compared in lower case, with `_` for other separators
NUMBERS = {
    "step": ("step", "global_step", "iteration"),
    "epoch": ("epoch",),
    "samples": ("samples",),
    "seconds": ("seconds", "train_seconds", "runtime"),
    "evaluation_seconds": ("evaluation_seconds",),
    "train_loss": (
        "train_loss",
        "training_loss",
        "train_loss_epoch",
        "train_loss_step",
        "loss_train",
        "loss",
    ),
    "learning_rate": ("learning_rate", "lr"),
    "gradient_evaluations": ("gradient_evaluations",),
}
FIELDS = NAMES | NUMBERS
CLOCKS = ("step", "epoch", "seconds")
STATUS = "status"
SPLITS = {
    **dict.fromkeys(["validation", "val", "valid", "eval", "evaluation", "dev"], "validation"),
    "test": "test",
    **dict.fromkeys(["train", "training"], "train"),
}
_SEPARATORS = (".", "/", "_", " ", "-")
_LISTED = 20  # columns in a message
_PLAIN = ("accuracy", "loss")  # `Val Accuracy` is the metric that targets call accuracy
_NOT_METRICS = re.compile(
    r"(.*[_/.])?(runtime|time|seconds|samples|steps|(samples|steps)_per_second|num_examples|size|fraction|batch(es)?)"
)


@dataclass(frozen=True)
class Columns:
    """`fields`: field -> column; `metrics`: column -> (split, metric); `percent`: columns to divide by 100.

    `mapped` are the columns that `--map` names; the others are used because of their names.
    """

    fields: dict[str, str]
    metrics: dict[str, tuple[str, str]]
    percent: frozenset[str]
    mapped: frozenset[str]


def map_columns(
    columns: Sequence[str],
    settings: Sequence[str],
    maps: Sequence[str],
    percent: Sequence[str],
    known: Collection[str],
    file: str,
) -> Columns:
    """Find the columns. `maps` are FIELD=COLUMN; another FIELD is a metric: [SPLIT.]METRIC, by default of validation. A metric with
    a name similar to that of a field requires its split.

    `settings` are columns with one value per run: unless mapped, they can only name the run and its learning rate. `known`
    are fields that need no column. Raises `OptbenchError` with all problems: no such column or field, two columns of one
    metric, or no optimizer, run, clock or metric.
    """
    every = [*columns, *settings]
    problems = [_no_column(column, every, file, "--percent") for column in percent if column not in every]
    fields: dict[str, str] = {}
    metrics: dict[str, tuple[str, str]] = {}
    for text in maps:
        field, equals, column = (part.strip() for part in text.partition("="))
        field = "seed" if field == "run" else field
        if not field or not equals or not column:
            problems.append(Problem(f"expected FIELD=COLUMN; found '{text}'", where="--map"))
        elif column not in every:
            problems.append(_no_column(column, every, file, "--map"))
        elif field in (*FIELDS, STATUS):
            fields[field] = column
        elif metric := metric_of(field):
            metrics[column] = metric
        elif meant := _field_of_spelling(field):
            message = f"no field '{field}': did you mean '{meant}'? A metric with this name is --map validation.{field}={column}"
            problems.append(Problem(message, where="--map"))
        else:
            metrics[column] = ("validation", field)
    mapped = frozenset([*fields.values(), *metrics])
    _find_fields(columns, [*FIELDS, STATUS], fields, mapped)
    _find_fields(settings, [*NAMES, "learning_rate"], fields, mapped)
    used = set(fields.values()) | set(metrics)
    taken = set(metrics.values())
    for column in columns:
        metric = metric_of(column)
        if metric and column not in used and metric not in taken and not _NOT_METRICS.fullmatch(metric[1]):
            metrics[column] = metric
    problems += _repeated_metrics(metrics, file)
    if not problems:
        problems = _missing(fields.keys() | known, metrics, every, file)
    if problems:
        raise OptbenchError(*problems)
    return Columns(fields, metrics, frozenset(percent), mapped)


def _find_fields(
    columns: Sequence[str], names: Sequence[str], fields: dict[str, str], mapped: Collection[str]
) -> None:
    """Add to `fields` those of `names` that are names of columns."""
    by_name: dict[str, str] = {}
    for column in columns:
        if column not in mapped:
            by_name.setdefault(re.sub(r"[\s/.\-]+", "_", column.strip().lower()).strip("_"), column)
    for field in names:
        found = next((by_name[name] for name in FIELDS.get(field, (field,)) if name in by_name), None)
        if found is not None:
            fields.setdefault(field, found)


def _field_of_spelling(name: str) -> str:
    """Return the field that a name is another spelling of; "" for other names, which are metrics."""
    spellings = {
        other: field for field, others in FIELDS.items() for other in others if other not in _PLAIN
    } | {field: field for field in (*FIELDS, STATUS)}
    close = difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=0.75)
    return spellings[close[0]] if close else ""


def metric_of(name: str) -> tuple[str, str] | None:
    """Return the split and metric of a name such as `validation_accuracy`, `val/accuracy` or `Loss/test`, else None."""
    halves = [name.strip().partition(separator) for separator in _SEPARATORS]
    ends = [name.strip().rpartition(separator) for separator in _SEPARATORS]
    for split, metric in [(a, b) for a, _, b in halves] + [(b, a) for a, _, b in ends]:
        if metric.strip() and split.lower() in SPLITS:
            metric = metric.strip()
            return SPLITS[split.lower()], metric.lower() if metric.lower() in _PLAIN else metric
    return None


def _repeated_metrics(metrics: dict[str, tuple[str, str]], file: str) -> list[Problem]:
    first: dict[tuple[str, str], str] = {}
    problems = []
    for column, metric in metrics.items():
        if first.setdefault(metric, column) != column:
            name = ".".join(metric)
            message = (
                f"'{first[metric]}' and '{column}' both match {name}: choose one with --map {name}=COLUMN"
            )
            problems.append(Problem(message, file=file, line=1))
    return problems


def _missing(
    fields: Collection[str], metrics: dict[str, tuple[str, str]], columns: Sequence[str], file: str
) -> list[Problem]:
    more = ", ..." if len(columns) > _LISTED else ""
    has = f"the columns are {', '.join(columns[:_LISTED])}{more}"
    wanted = []
    if "optimizer" not in fields:
        option = "--map optimizer=COLUMN, or --runs PATTERN if it is part of the run's name"
        wanted.append(f"no column for the optimizer: set {option}; {has}")
    if "seed" not in fields:
        option = "--map seed=COLUMN, or --runs PATTERN if it is part of the run's name"
        wanted.append(f"no column for the seed or run: set {option}; {has}")
    if not set(CLOCKS) & set(fields):
        wanted.append(
            f"no column for step, epoch or seconds: set --map step=COLUMN (or epoch, seconds); {has}"
        )
    if not metrics:
        wanted.append(f"no column for a metric: set --map validation.accuracy=COLUMN; {has}")
    return [Problem(message, file=file, line=1) for message in wanted]


def _no_column(column: str, columns: Sequence[str], file: str, option: str) -> Problem:
    return Problem(f"no column '{column}': {nearest(column, columns)}", where=option, file=file, line=1)
