"""Anybody's tidy log: a table with a row an evaluation, its columns named by flags."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from optbench.errors import OptbenchError, Problem
from optbench.importing.columns import Columns, map_columns
from optbench.importing.delimited import number, read_lines
from optbench.importing.findings import Findings
from optbench.importing.rows import NAN, Facts, Row, course, events
from optbench.importing.tidy_targets import check_targets, of_workload, parse_target
from optbench.importing.write import ForeignWorkload, Run, Source, Written, write
from optbench.suite.types import Duration, Target

Key = tuple[str, str, str]  # workload, optimizer, run


@dataclass(frozen=True)
class Asked:
    """The flags. `maps` are FIELD=COLUMN, `targets` [WORKLOAD:][SPLIT.]METRIC>=VALUE, `percent` columns to divide by 100."""

    maps: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    percent: tuple[str, ...] = ()
    baseline: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Imported:
    written: Written
    optimizers: tuple[str, ...]
    workloads: tuple[str, ...]
    evaluations: int
    findings: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """`metrics` are (split, metric) in the order of the columns; `seeds` are the runs' numbers."""

    rows: dict[Key, tuple[Row, ...]]
    sources: dict[Key, str]
    seeds: dict[Key, int]
    metrics: tuple[tuple[str, str], ...]


def import_csv(files: Sequence[Path], results: Path, asked: Asked) -> Imported:
    """Read delimited files (comma, semicolon or tab) into the suite `asked.name` (default: the first file's stem).

    Rows that can't be read are left out and counted. Raises `OptbenchError` for columns or targets that are missing or
    don't fit, if there is no evaluation at all, or if the store refuses.
    """
    targets = [parse_target(text) for text in asked.targets]
    findings = Findings()
    found = _read(files, asked, findings)
    names = tuple(dict.fromkeys(workload for workload, _, _ in found.rows))
    check_targets(targets, names, found.metrics)
    workloads = {name: _workload(name, found, of_workload(targets, name)) for name in names}
    runs = [_run(key, found, workloads[key[0]], findings) for key in found.rows]
    labels = tuple(dict.fromkeys(run.label for run in runs))
    position = {name: index for index, name in enumerate((*names, *labels))}
    runs.sort(key=lambda run: (position[run.workload], labels.index(run.label), run.seed))
    written = write(results, _source(files, asked, found, workloads, labels), workloads, runs)
    evaluations = sum(len(rows) for rows in found.rows.values())
    return Imported(written, labels, names, evaluations, tuple(findings.lines()))


def _read(files: Sequence[Path], asked: Asked, findings: Findings) -> _Found:
    lines_of: dict[
        Key, list[tuple[Row, bool]]
    ] = {}  # and whether the line has nothing but blanks for metrics
    sources: dict[Key, str] = {}
    metrics: dict[tuple[str, str], None] = {}
    for path in files:
        lines = read_lines(path)
        columns = map_columns(lines.columns, asked.maps, asked.percent, path)
        metrics |= dict.fromkeys(columns.metrics.values())
        bad = 0
        for _, cells in lines:
            key, row = _key(cells, columns), _row(cells, columns)
            if key is None or row is None:
                bad += 1
                continue
            if sources.setdefault(key, str(path)) != str(path):
                message = f"run '{key[2]}' of '{key[1]}' is in {sources[key]} too: map a column that tells them apart to 'seed'"
                raise OptbenchError(Problem(message, file=str(path)))
            blank = not any(cells[column].strip() for column in columns.metrics)
            lines_of.setdefault(key, []).append((row, blank))
        findings.note("unreadable lines: left out", str(path), bad + len(lines.unreadable))
    if not lines_of:
        raise OptbenchError(*(Problem("no evaluation in this file", file=str(path)) for path in files))
    rows = {key: _evaluations(of_run, key, findings) for key, of_run in lines_of.items()}
    _check_shares(rows)
    return _Found(rows, sources, _seeds(list(rows)), tuple(metrics))


def _evaluations(lines: list[tuple[Row, bool]], key: Key, findings: Findings) -> tuple[Row, ...]:
    """Blank lines tell of training between evaluations; a run that has nothing else never saw a number: it diverged."""
    rows = [row for row, blank in lines if not blank]
    if rows:
        findings.note("lines without any metric: left out", " ".join(key), len(lines) - len(rows))
    return tuple(_stepped(rows or [row for row, _ in lines]))


def _key(cells: dict[str, str], columns: Columns) -> Key | None:
    optimizer, run = cells[columns.fields["optimizer"]].strip(), cells[columns.fields["seed"]].strip()
    workload = cells[columns.fields["workload"]].strip() if "workload" in columns.fields else "workload"
    return (workload, optimizer, run) if workload and optimizer and run else None


def _row(cells: dict[str, str], columns: Columns) -> Row | None:
    values = {
        field: number(cells[column])
        for field, column in columns.fields.items()
        if field not in ("optimizer", "seed", "workload")
    }
    step = values.pop("step", NAN)
    clocks = [step, values.get("epoch", NAN), values.get("seconds", NAN)]
    if not any(math.isfinite(value) and value >= 0 for value in clocks):
        return None
    if "step" in columns.fields and not (math.isfinite(step) and step >= 0 and step == int(step)):
        return None
    metrics: dict[str, dict[str, float]] = {}
    for column, (split, metric) in columns.metrics.items():
        scale = 100.0 if column in columns.percent else 1.0
        metrics.setdefault(split, {})[metric] = number(cells[column]) / scale
    return Row(step=int(step) if math.isfinite(step) else -1, metrics=metrics, **values)


def _stepped(rows: Sequence[Row]) -> Iterable[Row]:
    """Where the log has no steps, evaluations are numbered in the order of their epochs, or else of their seconds."""
    if all(row.step >= 0 for row in rows):
        return rows
    clock = "epoch" if all(math.isfinite(row.epoch) for row in rows) else "seconds"
    order = sorted({getattr(row, clock) for row in rows})
    numbers = {value: position for position, value in enumerate(order, start=1)}
    return [replace(row, step=numbers[getattr(row, clock)]) for row in rows]


def _seeds(keys: Sequence[Key]) -> dict[Key, int]:
    """Runs called by the same whole number pair up across optimizers. Names are numbered in the order of the log.

    Where no name is used by two optimizers, there is nothing to pair: every optimizer's runs are numbered from 0.
    """
    names = list(dict.fromkeys(run for _, _, run in keys))
    used = {(optimizer, run) for _, optimizer, run in keys}
    if len({optimizer for _, optimizer, _ in keys}) > 1 and len(used) == len(names):
        counts: Counter[tuple[str, str]] = Counter()
        seeds = {}
        for workload, optimizer, run in keys:
            seeds[workload, optimizer, run] = counts[workload, optimizer]
            counts[workload, optimizer] += 1
        return seeds
    whole = all(re.fullmatch(r"\d{1,9}(\.0+)?", name) for name in names)
    numbers = {name: int(float(name)) if whole else position for position, name in enumerate(names)}
    return {key: numbers[key[2]] for key in keys}


def _check_shares(rows: dict[Key, tuple[Row, ...]]) -> None:
    every = (metrics for of_run in rows.values() for row in of_run for metrics in row.metrics.values())
    for metric, value in (item for metrics in every for item in metrics.items()):
        if "accuracy" in metric.lower() and value > 1.5:
            message = f"an {metric} of {value:g}: expected fractions; name the columns that are in percent"
            raise OptbenchError(Problem(message, where="--percent"))


def _workload(name: str, found: _Found, targets: tuple[Target, ...]) -> ForeignWorkload:
    rows = [row for key, of_run in found.rows.items() if key[0] == name for row in of_run]
    metrics = [target.metric for target in targets]
    for split in ("validation", "test", "train"):
        metrics += [metric for of, metric in found.metrics if of == split]
    return ForeignWorkload(_budget(rows), targets, tuple(dict.fromkeys(metrics)))


def _budget(rows: Sequence[Row]) -> Duration:
    epochs = max((row.epoch for row in rows if row.epoch > 0), default=0.0)
    if epochs:
        return Duration(value=epochs, unit="epochs")
    seconds = max((row.seconds for row in rows if row.seconds > 0), default=0.0)
    steps = max(row.step for row in rows)
    return (
        Duration(value=steps, unit="steps") if steps > 0 else Duration(value=seconds or 1.0, unit="seconds")
    )


def _run(key: Key, found: _Found, workload: ForeignWorkload, findings: Findings) -> Run:
    name, label, run = key
    kept = course(found.rows[key], workload.targets)
    findings.note("evaluations repeated after a restart: replaced", f"{name} {label} {run}", kept.repeated)
    metric = workload.metrics[0]
    split = next(split for split in ("validation", "test", "train") if (split, metric) in found.metrics)
    environment = {"imported": "csv", "run": run, "source": found.sources[key]}
    higher = _higher(metric, workload.targets)
    facts = Facts(environment, metric=metric, split=split, higher_is_better=higher)
    return Run(name, label, found.seeds[key], events(kept.rows, facts), {})


def _higher(metric: str, targets: Sequence[Target]) -> bool:
    for target in targets:
        if target.metric == metric:
            return target.at_least is not None
    return not metric.lower().endswith(("loss", "error", "perplexity", "ppl", "wer"))


def _source(
    files: Sequence[Path],
    asked: Asked,
    found: _Found,
    workloads: dict[str, ForeignWorkload],
    labels: tuple[str, ...],
) -> Source:
    if asked.baseline is not None and asked.baseline not in labels:
        raise OptbenchError(Problem(f"no such optimizer: '{asked.baseline}'", where="--baseline"))
    has_test = any(split == "test" for split, _ in found.metrics)
    name = asked.name or files[0].stem
    flags = [f"--{flag} '{text}'" for flag, texts in _flags(asked) for text in texts]
    targets = [target for workload in workloads.values() for target in workload.targets]
    return Source(
        name=name,
        title=name,
        command=" ".join(["optbench import csv", *map(str, files), *flags, f"--name '{name}'"]),
        final="last" if has_test else "last_validation",
        baseline=asked.baseline or labels[0],
        provenance={"imported": "csv", "files": [str(path) for path in files]},
        higher_is_better={metric: _higher(metric, targets) for _, metric in found.metrics},
    )


def _flags(asked: Asked) -> list[tuple[str, tuple[str, ...]]]:
    baseline = (asked.baseline,) if asked.baseline else ()
    return [
        ("map", asked.maps),
        ("target", asked.targets),
        ("percent", asked.percent),
        ("baseline", baseline),
    ]
