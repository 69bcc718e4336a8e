"""Convert tables to the rows of each run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from optbench.csv_escaping import unescape
from optbench.errors import OptbenchError
from optbench.events import STATUSES, Fault, Status
from optbench.importing.cells import Cell
from optbench.importing.columns import CLOCKS, NAMES, NUMBERS, STATUS, Columns, map_columns
from optbench.importing.fills import drop_fills
from optbench.importing.findings import Findings
from optbench.importing.numbers import Numbers, cells_of, read_numbers
from optbench.importing.rows import NAN, Row
from optbench.importing.tables import Table

Key = tuple[str, str, str]  # workload, optimizer, run
Metric = tuple[str, str]  # split, metric


@dataclass
class RunLog:
    """`rows` in the order of the log; `status` and `at_fault` are how the run ended, where the log states it."""

    source: str
    rows: list[Row] = field(default_factory=list)
    status: Status | None = None
    at_fault: Fault = ""


@dataclass(frozen=True)
class Choices:
    """The options that name columns: `maps` are FIELD=COLUMN, `percent` columns, `pattern` the form of runs' names."""

    maps: Sequence[str]
    percent: Sequence[str]
    pattern: str = ""


def read_runs(
    tables: Sequence[Table], choices: Choices, findings: Findings
) -> tuple[dict[Key, RunLog], dict[Metric, None]]:
    """Return the runs of all tables, and the metrics in the order of the columns.

    Raises `OptbenchError` for cells that are not numbers, with their lines, and for a run that is in two tables.
    """
    runs: dict[Key, RunLog] = {}
    metrics: dict[Metric, None] = {}
    for table in tables:
        names = _names_of_run(table, choices.pattern)
        known = {*names, "optimizer", "seed"} if table.run else names
        columns = map_columns(
            list(table.columns),
            [name for name in table.constants if name not in table.columns],
            choices.maps,
            choices.percent,
            known,
            table.file,
        )
        names = _by_folder(table, columns, names) | names
        numbers = read_numbers(table, columns, findings)
        metrics |= {metric: None for column, metric in columns.metrics.items() if column in numbers}
        source = table.file or table.run
        for key, indexes in _by_run(table, columns, names, findings).items():
            if key in runs:
                message = f"run '{key[2]}' of '{key[1]}' is in {runs[key].source} too: map a column that distinguishes them to 'seed'"
                raise OptbenchError(message, file=source)
            of_run = {name: [column[index] for index in indexes] for name, column in numbers.items()}
            rows, unclocked = _rows(of_run, columns)
            status, at_fault = _end(table, columns, indexes)
            if status and not any(row.metrics for row in rows):
                rows, unclocked = [], 0  # it ended before its first evaluation
            if rows or status:
                runs[key] = RunLog(source, rows, status, at_fault)
            findings.note(
                "rows without a step, epoch or seconds: skipped", f"{source}: {' '.join(key)}", unclocked
            )
    return runs, metrics


def _names_of_run(table: Table, pattern: str) -> dict[str, str]:
    """Return the fields that `--runs` reads from the run's name, or else from the file's, at first without its suffix."""
    if not pattern:
        return {}
    form = _form(pattern)
    file = table.file.removesuffix(".gz")
    for name in (table.run,) if table.run else (str(PurePath(file).with_suffix("")), file, table.file):
        if match := form.search(name):
            return match.groupdict()
    raise OptbenchError(f"'{pattern}' does not match the run '{table.run or file}'", where="--runs")


def _by_folder(table: Table, columns: Columns, names: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that nothing else names, from a run called `<optimizer>/<seed>` or `<optimizer>`."""
    if not table.run:
        return {}
    optimizer, _, seed = table.run.rpartition("/")
    if "optimizer" in columns.fields or "optimizer" in names:
        found = {"seed": table.run}
    else:
        found = {"optimizer": optimizer or seed, "seed": seed if optimizer else "0"}
    return {name: text for name, text in found.items() if name not in columns.fields}


def _form(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for the end of a path, from a pattern such as `{optimizer}/{seed}`; `*` is any text without a slash."""
    parts = re.split(r"(\{\w+\}|\*)", pattern)
    names = [part[1:-1].replace("run", "seed") for part in parts if part.startswith("{")]
    if not names or set(names) - set(NAMES) or len(set(names)) < len(names):
        message = (
            f"expected a pattern with {{optimizer}}, {{seed}} or {{workload}}, each once; found '{pattern}'"
        )
        raise OptbenchError(message, where="--runs")
    groups = iter(names)
    texts = [
        "[^/]*" if part == "*" else f"(?P<{next(groups)}>[^/]+)" if part.startswith("{") else re.escape(part)
        for part in parts
    ]
    return re.compile(f"(?:^|/){''.join(texts)}$")


def _by_run(
    table: Table, columns: Columns, names: Mapping[str, str], findings: Findings
) -> dict[Key, list[int]]:
    """Return the indexes of each run's rows. Raises `OptbenchError` if a run has rows of two of our own trials."""
    texts = [_texts(table, columns, names, name) for name in ("workload", "optimizer", "seed")]
    trials = [str(cell) for cell in cells_of(table, "trial_id")] if "trial_id" in table.columns else None
    runs: dict[Key, list[int]] = {}
    nameless = 0
    for index, key in enumerate(zip(*texts, strict=True)):
        if not all(key):
            nameless += 1
            continue
        indexes = runs.setdefault(key, [])
        indexes.append(index)
        if trials is not None and trials[index] != trials[indexes[0]]:
            message = (
                f"run '{key[2]}' of '{key[1]}' has rows of the trials {trials[indexes[0]]} and {trials[index]}: "
                "import a table of one of them, or map a column that distinguishes them to 'seed'"
            )
            line = table.lines[index] if table.lines else None
            raise OptbenchError(message, file=table.file, line=line)
    findings.note("rows without an optimizer, run or workload: skipped", table.file, nameless)
    return runs


def _texts(table: Table, columns: Columns, names: Mapping[str, str], name: str) -> Sequence[str]:
    if name in names:
        return [names[name]] * len(table)
    if name not in columns.fields:
        return ["workload"] * len(table)
    cells = cells_of(table, columns.fields[name])
    return [_text(cell) for cell in cells]


def _text(cell: Cell) -> str:
    if isinstance(cell, float) and cell.is_integer():  # of JSON: 1.0 is 1
        cell = int(cell)
    return unescape(str(cell).strip()) if cell is not None else ""


def _end(table: Table, columns: Columns, indexes: Sequence[int]) -> tuple[Status | None, Fault]:
    """Return how the run ended and what was at fault, where the status of its last rows is one that `records` writes."""
    status = _last_text(table, columns.fields.get(STATUS), indexes)
    status = "interrupted" if status == "unfinished" else status
    known = next((each for each in STATUSES if each == status), None)
    at_fault = _last_text(table, "at_fault" if "at_fault" in table.columns else None, indexes)
    faults: tuple[Fault, ...] = ("optimizer", "infrastructure")
    return known, next((each for each in faults if known and each == at_fault), "")


def _last_text(table: Table, column: str | None, indexes: Sequence[int]) -> str:
    cells = cells_of(table, column) if column is not None else ()
    words = (str(cells[index]).strip().lower() for index in reversed(indexes) if column is not None)
    return next((word for word in words if word), "")


def _rows(numbers: dict[str, Numbers], columns: Columns) -> tuple[list[Row], int]:
    """Return one run's rows, and how many have no clock."""
    metrics = [(column, *metric) for column, metric in columns.metrics.items() if column in numbers]
    fields = [name for name in numbers if name in NUMBERS and name not in columns.metrics and name != "step"]
    drop_fills(numbers, [*columns.metrics, "train_loss"], _losses(columns))
    clock = _clock(numbers, [column for column, _, _ in metrics])
    if clock is None:
        return [], len(next(iter(numbers.values()), []))
    times = numbers[clock]
    steps: Mapping[float, float]
    if clock == "step":
        steps = {time: time for time in times if time is not None}
    else:
        steps = {time: step for step, time in enumerate(sorted({t for t in times if t is not None}), start=1)}
    rows = []
    for index, time in enumerate(times):
        if time is None:
            continue
        values: dict[str, dict[str, float]] = {}
        for column, split, metric in metrics:
            value = numbers[column][index]
            if value is not None:
                values.setdefault(split, {})[metric] = value
        others = {name: NAN if (value := numbers[name][index]) is None else value for name in fields}
        if (
            "train_loss" in others
            and numbers["train_loss"][index] is not None
            and math.isnan(others["train_loss"])
        ):
            others["train_loss"] = math.inf  # NaN is what the log does not have
        rows.append(Row(step=int(steps[time]), metrics=values, **others))
    return rows, len(times) - len(rows)


def _clock(numbers: dict[str, Numbers], metrics: Sequence[str]) -> str | None:
    """Return what orders the rows: step, epoch or seconds, the first that nearly all rows with a metric have."""
    clocks = [name for name in CLOCKS if name in numbers]
    if not clocks:
        return None
    values = zip(*(numbers[column] for column in metrics), strict=True)
    measured = [index for index, row in enumerate(values) if any(value is not None for value in row)]
    measured = measured or list(range(len(numbers[clocks[0]])))
    counts = {name: sum(numbers[name][index] is not None for index in measured) for name in clocks}
    enough = [name for name in clocks if counts[name] >= 0.9 * len(measured)]
    return enough[0] if enough else max(clocks, key=lambda name: counts[name])


def _losses(columns: Columns) -> list[str]:
    """Return the columns of training losses, `train_loss` first."""
    return [
        "train_loss",
        *(name for name, (split, metric) in columns.metrics.items() if split == "train" and is_loss(metric)),
    ]


def is_loss(metric: str) -> bool:
    return "loss" in re.split(r"[^a-z]+", metric.lower())
