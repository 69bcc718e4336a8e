"""The log folders of the AlgoPerf competition.

`<submission>/study_<s>/<workload>_<framework>/trial_<t>/eval_measurements.csv` with `hparams.json` beside it, as in
https://github.com/mlcommons/submissions_algorithms. A study is a repetition; its trials are tuning points.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError
from optbench.importing.algoperf_folders import Place, find
from optbench.importing.cells import is_text
from optbench.importing.delimited import number, read_lines
from optbench.importing.findings import Findings, short
from optbench.importing.rows import Facts, Row, course, events
from optbench.importing.targets import Targets, read_targets
from optbench.importing.write import ForeignWorkload, Run, Source, Written, command_text, write
from optbench.suite.metric_facts import facts_by_name
from optbench.suite.types import Duration, Target

STEP, CLOCK = "global_step", "accumulated_submission_time"
MEASUREMENTS, HYPERPARAMETERS = "eval_measurements.csv", "hparams.json"


@dataclass(frozen=True)
class Imported:
    written: Written
    submissions: tuple[str, ...]
    workloads: tuple[str, ...]
    evaluations: int
    findings: tuple[str, ...]


def import_algoperf(logs: Path, targets_file: Path, results: Path, name: str | None = None) -> Imported:
    """Read a folder of submissions into the suite `name` (default: the folder's name) below `results`.

    Problems in single logs are repaired or skipped, and counted in `findings`. Raises `OptbenchError` if there
    is nothing to read, if the targets file is wrong, or if the store refuses.
    """
    targets = read_targets(targets_file)
    findings = Findings()
    places = [place for place in find(logs, targets, findings) if _known(place, targets, findings, logs)]
    if not places:
        raise OptbenchError(_no_runs(findings), file=str(logs))
    order = {workload: position for position, workload in enumerate([*targets.scored, *targets.targets])}
    places.sort(key=lambda place: (order[place.workload], place.submission, place.seed, place.framework))
    name = name or logs.resolve().name
    runs, evaluations = [], 0
    for place in places:
        rows = read_rows(place, targets.targets[place.workload], findings, logs)
        evaluations += len(rows)
        runs.append(_run(place, rows, targets.targets[place.workload], logs, findings))
    workloads = {place.workload: _workload(place.workload, targets) for place in places}
    _check_sets(places, findings)
    written = write(
        results, _source(name, logs, targets_file, results, targets, places, findings), workloads, runs
    )
    submissions = tuple(sorted({place.submission for place in places}))
    return Imported(written, submissions, tuple(workloads), evaluations, tuple(findings.lines()))


def read_rows(place: Place, target: Target, findings: Findings, logs: Path) -> tuple[Row, ...]:
    """Return the trial's evaluations without repetitions after restarts; none if nothing can be read."""
    path = place.path / MEASUREMENTS
    name = short(path, logs)
    if not path.is_file():
        findings.note(f"trials without {MEASUREMENTS}: count as target not reached", name)
        return ()
    try:
        lines = read_lines(path, required=(STEP, CLOCK))
    except OptbenchError as error:
        kind = f"logs that cannot be read ({error.problems[0].message.partition(':')[0]})"
        findings.note(f"{kind}: count as target not reached", name)
        return ()
    if f"{target.split}/{target.metric}" not in lines.columns:
        findings.note(
            f"logs without the column {target.split}/{target.metric}: count as target not reached", name
        )
    rows, bad, texts = [], 0, 0
    for _, cells in lines:
        row = _row(cells)
        if row is None:
            bad += 1
        else:
            rows.append(row)
            texts += sum(
                is_text(cells[f"{split}/{metric}"])
                for split, values in row.metrics.items()
                for metric, value in values.items()
                if math.isnan(value)
            )
    findings.note("unreadable lines: skipped", name, bad + len(lines.unreadable))
    findings.note("metrics that are not numbers: treated as missing", name, texts)
    found = course(rows, [target])
    findings.note("evaluations repeated after a restart: replaced", name, found.repeated)
    if any(after.seconds < before.seconds for before, after in zip(found.rows, found.rows[1:], strict=False)):
        findings.note("logs with decreasing times: used unchanged", name)
    bad_values = sum(not math.isfinite(row.value(target)) for row in found.rows)
    findings.note("evaluations without a finite target metric: count as target not reached", name, bad_values)
    if not found.rows:
        findings.note("logs without a single evaluation: count as target not reached", name)
    return found.rows


def _row(cells: dict[str, str]) -> Row | None:
    step, seconds = number(cells.get(STEP)), number(cells.get(CLOCK))
    if not (math.isfinite(step) and math.isfinite(seconds) and step >= 0 and seconds >= 0):
        return None
    metrics: dict[str, dict[str, float]] = {}
    for name, cell in cells.items():
        split, slash, metric = name.partition("/")
        if slash and metric != "num_examples" and cell and not cell.isspace():
            metrics.setdefault(split, {})[metric] = number(cell)
    train = metrics.get("train", {})
    return Row(
        step=int(step),
        metrics=metrics,
        seconds=seconds,
        evaluation_seconds=number(cells.get("accumulated_eval_time")),
        train_loss=train.get("loss", train.get("ctc_loss", math.nan)),
    )


def _run(place: Place, rows: tuple[Row, ...], target: Target, logs: Path, findings: Findings) -> Run:
    environment: dict[str, Any] = {
        "imported": "algoperf",
        "framework": place.framework,
        "study": place.study,
        "trial": place.trial,
        "source": short(place.path, logs),
    }
    facts = Facts(
        environment=environment,
        hyperparameters=_hyperparameters(place, findings, logs),
        metric=target.metric,
        higher_is_better=target.at_least is not None,
    )
    arguments = {"framework": place.framework} if place.framework else {}
    return Run(place.workload, place.submission, place.seed, events(rows, facts), arguments)


def _hyperparameters(place: Place, findings: Findings, logs: Path) -> dict[str, Any]:
    path = place.path / HYPERPARAMETERS
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        findings.note(f"trials without {HYPERPARAMETERS}", short(path, logs))
        return {}
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        findings.note(f"trials with an unreadable {HYPERPARAMETERS}", short(path, logs))
        return {}
    return content


def _known(place: Place, targets: Targets, findings: Findings, logs: Path) -> bool:
    if place.workload in targets.targets:
        return True
    findings.note(f"trials of '{place.workload}', which has no target: skipped", short(place.path, logs))
    return False


def _check_sets(places: list[Place], findings: Findings) -> None:
    """Report trials that the rules of the competition do not cover, though they can be scored."""
    frameworks: dict[tuple[str, str], set[str]] = {}
    studies: dict[str, set[int]] = {}
    of_cell: dict[tuple[str, str], set[int]] = {}
    for place in places:
        cell = place.submission, place.workload
        frameworks.setdefault(cell, set()).add(place.framework)
        of_cell.setdefault(cell, set()).add(place.study)
        studies.setdefault(place.submission, set()).add(place.study)
    for (submission, workload), found in frameworks.items():
        if len(found) > 1:
            kind = (
                "workloads of a submission with runs of several frameworks: their trials are pooled per study"
            )
            findings.note(kind, f"{submission} {workload}: {', '.join(sorted(found))}")
    for (submission, workload), here in of_cell.items():
        if missing := studies[submission] - here:
            kind = "workloads present in only some studies of a submission: the median is over those studies"
            findings.note(
                kind, f"{submission} {workload}: not in study {', '.join(map(str, sorted(missing)))}"
            )


def _workload(name: str, targets: Targets) -> ForeignWorkload:
    """Return the workload. Its budget is that of the targets file, so that a log that grows stays the same trial."""
    target = targets.targets[name]
    budget = targets.budgets.get(name, Duration(value=1, unit="steps"))
    return ForeignWorkload(budget, (target,), (target.metric,), "best_validation")


def _source(
    name: str,
    logs: Path,
    targets_file: Path,
    results: Path,
    targets: Targets,
    places: list[Place],
    findings: Findings,
) -> Source:
    submissions = sorted({place.submission for place in places})
    version = f" {targets.version}" if targets.version else ""
    return Source(
        name=name,
        title=f"AlgoPerf{version}: {name}",
        command=command_text(["algoperf", str(logs), "--targets", str(targets_file)], results, name),
        baseline="baseline" if "baseline" in submissions else submissions[0],
        provenance={
            "imported": "algoperf",
            "logs": str(logs),
            "targets_file": str(targets_file),
            "targets": targets.content,
            "findings": findings.lines(),
            "leaderboard": {"base": list(targets.base), "held_out": targets.held_out},
        },
        metrics={
            target.metric: facts_by_name(target.metric, target.at_least is not None)
            for target in targets.targets.values()
        },
    )


def _no_runs(findings: Findings) -> str:
    expected = f"expected <submission>/study_<s>/<workload>_<framework>/trial_<t>/{MEASUREMENTS}"
    return "; ".join(["no trials here", expected, *findings.lines()])
