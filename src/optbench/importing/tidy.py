"""Import the tables of any reader as a suite in the store."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.importing.findings import Findings
from optbench.importing.own_records import one_run_per_trial
from optbench.importing.readers import reader
from optbench.importing.rows import Course, Facts, Row, events, merged_course
from optbench.importing.runs import Choices, Key, Metric, RunLog, is_loss, read_runs
from optbench.importing.tidy_targets import check_targets, of_workload, parse_target
from optbench.importing.write import ForeignWorkload, Run, Source, Written, command_text, write
from optbench.suite.metric_facts import MetricFacts, facts_by_name
from optbench.suite.types import Duration, Target

_SPLITS = ("validation", "test", "train")
#: estimand of the final metric, by the first split that has it
_FINALS = {"test": "last", "validation": "last_validation", "train": "last_train"}


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import. `maps` are FIELD=COLUMN, `targets` [WORKLOAD:][SPLIT.]METRIC>=VALUE, `percent` columns to divide by
    100, `runs` a pattern of runs' names such as `{optimizer}/{seed}`."""

    maps: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    percent: tuple[str, ...] = ()
    baseline: str | None = None
    name: str | None = None
    runs: str = ""


@dataclass(frozen=True)
class Imported:
    written: Written
    optimizers: tuple[str, ...]
    workloads: tuple[str, ...]
    evaluations: int
    findings: tuple[str, ...]


def import_logs(kind: str, paths: Sequence[Path], results: Path, options: ImportOptions) -> Imported:
    """Read logs with the reader `kind` into the suite `options.name` (default: the first path's stem).

    Skipped rows are counted in `findings`. Raises `OptbenchError` for missing or unsuitable columns or targets, for cells
    that are not numbers, and for logs without an evaluation.
    """
    targets = [parse_target(text) for text in options.targets]
    findings = Findings()
    tables = [one_run_per_trial(table, findings) for table in reader(kind).read(paths, findings)]
    logs, metrics = read_runs(tables, Choices(options.maps, options.percent, options.runs), findings)
    if not logs:
        raise OptbenchError(*(Problem("no evaluation in this log", file=str(path)) for path in paths))
    _check_shares(logs)
    names = tuple(dict.fromkeys(workload for workload, _, _ in logs))
    check_targets(targets, names, list(metrics))
    seeds = _seeds(list(logs), findings)
    workloads, runs, evaluations = {}, [], 0
    for name in names:
        own = {key: log for key, log in logs.items() if key[0] == name}
        asked_targets = of_workload(targets, name)
        courses = {key: _course(key, log, asked_targets, findings) for key, log in own.items()}
        workloads[name], facts = _workload(own, courses, list(metrics), asked_targets)
        for key, log in own.items():
            environment = {"imported": kind, "run": key[2], "source": log.source}
            of_run = Facts(environment, **facts, status=log.status, at_fault=log.at_fault)
            runs.append(Run(name, key[1], seeds[key], events(courses[key].rows, of_run), {}))
            evaluations += len(courses[key].rows)
    labels = tuple(dict.fromkeys(run.label for run in runs))
    order = {name: index for index, name in enumerate(labels)}
    runs.sort(key=lambda run: (names.index(run.workload), order[run.label], run.seed))
    source = _source(kind, paths, results, options, list(metrics), targets_of(workloads), labels)
    written = write(results, source, workloads, runs)
    return Imported(written, labels, names, evaluations, tuple(findings.lines()))


def targets_of(workloads: Mapping[str, ForeignWorkload]) -> list[Target]:
    return [target for workload in workloads.values() for target in workload.targets]


def _course(key: Key, log: RunLog, targets: Sequence[Target], findings: Findings) -> Course:
    course = merged_course(log.rows, targets)
    run = " ".join(key)
    findings.note(
        "evaluations with different values in a later row of the same step, as after a restart: replaced",
        run,
        course.repeated,
    )
    findings.note("rows without a validation or test metric: skipped", run, course.unused)
    first = course.rows[0] if course.rows else None
    findings.note(
        "runs with an evaluation at epoch or step 0, read as one before the training: wrong by one if the tool counts from 0",
        run,
        first is not None and 0 in (first.epoch, first.step),
    )
    findings.note("runs whose rows were not ordered by step: sorted", run, bool(course.unordered))
    return course


def _seeds(keys: Sequence[Key], findings: Findings) -> dict[Key, int]:
    """Return the seeds of runs: their names if these are integers, so that they pair across optimizers, else numbers in the order
    of the log.

    If two runs of one optimizer have the same number, as `1` and `1.0`, names are numbered too. If no name is used by two
    optimizers, the runs of each optimizer are numbered from 0.
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
    if all(re.fullmatch(r"[0-9]{1,9}(\.0+)?", name) for name in names):
        numbers = {key: int(float(key[2])) for key in keys}
        if len({(*key[:2], number) for key, number in numbers.items()}) == len(keys):
            return numbers
        findings.note(
            "logs with runs whose names are the same number: treated as different runs", ", ".join(names[:3])
        )
    positions = {name: position for position, name in enumerate(names)}
    return {key: positions[key[2]] for key in keys}


def _check_shares(logs: Mapping[Key, RunLog]) -> None:
    every = (metrics for log in logs.values() for row in log.rows for metrics in row.metrics.values())
    for metric, value in (item for metrics in every for item in metrics.items()):
        if facts_by_name(metric).is_fraction and 1.5 < value < math.inf:
            message = f"an {metric} of {value:g}: expected fractions; set --percent for columns in percent"
            raise OptbenchError(message, where="--percent")


def _workload(
    logs: Mapping[Key, RunLog],
    courses: Mapping[Key, Course],
    metrics: Sequence[Metric],
    targets: tuple[Target, ...],
) -> tuple[ForeignWorkload, dict[str, Any]]:
    """Return the workload and the facts that its runs share. Its metrics are those with a finite value."""
    measured = {
        (split, metric)
        for course in courses.values()
        for row in course.rows
        for split, values in row.metrics.items()
        for metric, value in values.items()
        if math.isfinite(value)
    }
    known = [metric for metric in metrics if metric in measured] or list(metrics)
    names = [target.metric for target in targets]
    names += [metric for split in _SPLITS for of, metric in known if of == split]
    first = names[0]
    split = next((split for split in _SPLITS if (split, first) in known), "validation")
    facts = {
        "metric": first,
        "split": split,
        "higher_is_better": _facts(first, targets).higher_is_better,
        "losses": tuple(metric for metric in known if is_loss(metric[1])),
    }
    final = next((_FINALS[of] for of in _FINALS if (of, first) in known), "last_validation")
    rows = [row for log in logs.values() for row in log.rows]
    return ForeignWorkload(_budget(rows), targets, tuple(dict.fromkeys(names)), final), facts


def _budget(rows: Sequence[Row]) -> Duration:
    epochs = max((row.epoch for row in rows if row.epoch > 0), default=0.0)
    if epochs:
        return Duration(value=epochs, unit="epochs")
    steps = max((row.step for row in rows), default=0)
    if steps > 0:
        return Duration(value=steps, unit="steps")
    return Duration(value=max((row.seconds for row in rows if row.seconds > 0), default=1.0), unit="seconds")


def _facts(metric: str, targets: Sequence[Target]) -> MetricFacts:
    """Return the facts of a metric of a log: its direction as in a target, else by its name."""
    directions = [target.at_least is not None for target in targets if target.metric == metric]
    return facts_by_name(metric, directions[0] if directions else False if is_loss(metric) else None)


def _source(
    kind: str,
    paths: Sequence[Path],
    results: Path,
    options: ImportOptions,
    metrics: Sequence[Metric],
    targets: Sequence[Target],
    labels: tuple[str, ...],
) -> Source:
    if options.baseline is not None and options.baseline not in labels:
        raise OptbenchError(f"no such optimizer: '{options.baseline}'", where="--baseline")
    name = options.name or _name(paths[0])
    flags = [part for option, texts in _flags(options) for text in texts for part in (f"--{option}", text)]
    return Source(
        name=name,
        title=name,
        command=command_text([kind, *map(str, paths), *flags], results, name),
        baseline=options.baseline or labels[0],
        provenance={"imported": kind, "files": [str(path) for path in paths]},
        metrics={metric: _facts(metric, targets) for _, metric in metrics},
    )


def _name(path: Path) -> str:
    """Return the name of a folder, or that of a file without its suffixes."""
    return path.resolve().name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem


def _flags(options: ImportOptions) -> list[tuple[str, tuple[str, ...]]]:
    baseline = (options.baseline,) if options.baseline else ()
    runs = (options.runs,) if options.runs else ()
    texts = [("map", options.maps), ("runs", runs), ("target", options.targets), ("percent", options.percent)]
    return [*texts, ("baseline", baseline)]
