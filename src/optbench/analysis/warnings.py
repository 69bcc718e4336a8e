"""Warnings about a table of results, one sentence each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from optbench.analysis.compare import FEW_SEEDS
from optbench.analysis.frames import counts
from optbench.analysis.implementations import capture_warnings, implementation_warnings
from optbench.analysis.lengths import same_length
from optbench.analysis.rows import TableRow, batch_size, seeds_not_shown_text, superseded, table_rows
from optbench.plurals import counted
from optbench.store import Results, SuiteResults, TrialLog
from optbench.store.attempts import disagreement

#: facts of the environment that must agree within a table, with their names in messages
_FACTS = {
    "device_name": "devices",
    "torch": "torch versions",
    "optbench": "optbench versions",
    "code": "revisions of the optbench code",
    "git_revision": "revisions of the suite repository",
    "python": "Python versions",
    "numpy": "numpy versions",
    "torchvision": "torchvision versions",
    "threads": "numbers of threads",
    "allocator": "memory allocators",
    "cuda": "CUDA versions",
    "cudnn": "cuDNN versions",
    "cudnn_benchmark": "settings of the cuDNN benchmark mode",
    "tf32_convolutions": "TF32 settings for convolutions",
    "float32_matmul_precision": "matmul precisions",
    "deterministic": "settings for deterministic algorithms",
}

_IDLE_SHARE = 0.1  # of the steps of a trial
_IDLE_RATE = 1e-12  # of the largest rate


def warnings_frame(results: Results) -> pd.DataFrame:
    """Return one row per warning: suite, workload (empty if it concerns the whole suite), kind, message."""
    records = []
    for suite in results.suites:
        rows = table_rows(Results((suite,)))
        found = [("", kind, message) for kind, message in _of_suite(suite)]
        for workload in dict.fromkeys(row.trial.workload_name for row in rows):
            block = [row for row in rows if row.trial.workload_name == workload]
            found += [(workload, kind, message) for check in _CHECKS for kind, message in check(block)]
        records += [
            {"suite": suite.name, "workload": workload, "kind": kind, "message": message}
            for workload, kind, message in found
        ]
    return pd.DataFrame(records, columns=["suite", "workload", "kind", "message"])


def _of_suite(suite: SuiteResults) -> Iterator[tuple[str, str]]:
    old = superseded(suite)
    if old:
        reason = "the suite no longer contains their configurations"
        if any(log.trial.get("selected_by") is not None for log in old):
            reason += ", or tuning now selects other settings"
        yield "superseded", f"{counted(len(old), 'trial')} left out: {reason}"
    if further := seeds_not_shown_text(suite):
        yield "unplanned", further
    for note in suite.plan.provenance.get("notes", ()) if suite.plan is not None else ():
        yield "entry", note
    for problem in suite.warnings:
        yield "file", str(problem)


def _few_seeds(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    ran = [sum(counts(log) for log in row.logs) for row in rows]
    most = max(ran, default=0)
    if most == 1:
        yield "seeds", "only one seed: no difference can be tested for significance"
    elif 1 < most < FEW_SEEDS:
        yield "seeds", f"preliminary: {most} seeds; conclusions need at least {FEW_SEEDS}"
    elif any(0 < n < FEW_SEEDS for n in ran):
        yield "seeds", f"some entries have fewer than {FEW_SEEDS} seeds: their results are preliminary"


def _missing(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    planned = sum(len(set(row.seeds) | {log.trial["seed"] for log in row.logs}) for row in rows)
    left = planned - sum(log.is_complete for row in rows for log in row.logs)
    if left:
        message = f"{left} of {counted(planned, 'trial')} not finished: excluded from all numbers; run the suite again to complete them"
        yield "missing", message
    faulty = sum(log.is_complete and not counts(log) for log in _logs(rows))
    if faulty:
        message = f"{counted(faulty, 'trial')} failed outside the optimizer: excluded; the records contain the errors"
        yield "failed", message


def _environment(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    logs = _logs(rows)
    environments = [environment for log in logs for environment in _environments(log)]
    for name, words in _FACTS.items():
        yield from _differ(words, (environment.get(name) for environment in environments))
    yield from _differ("precisions", (log.started.precision for log in logs if log.started))
    yield from _differ("implementations", (log.trial.get("implementation") for log in logs))


def _settings(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    horizons = list(dict.fromkeys(row.horizon for row in rows))
    first = rows[0]
    alike = all(
        same_length(first.length, row.length, first.steps_per_epoch)
        for row in rows
        if row.length != first.length
    )
    if len(horizons) > 1 and not alike:
        message = (
            f"different horizons ({', '.join(horizons)}): times to target are not comparable across them"
        )
        yield "horizon", message
    sizes = sorted({batch_size(row) for row in rows}, key=lambda size: (isinstance(size, str), size))
    if len(sizes) > 1:
        yield "batch_size", f"different batch sizes ({', '.join(map(str, sizes))}) in one comparison"


def _checkpoints(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    for row in rows:
        ends = [log.finished for log in row.logs if log.finished is not None and log.finished.resume_note]
        if ends:
            message = f"{row.trial.label} is not checkpointed ({ends[0].resume_note}): interrupted trials restart from step 0"
            yield "not_checkpointed", message


def _clock(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    resumed = sum(log.timings_interrupted for log in _logs(rows))
    if resumed:
        message = (
            f"training times of {counted(resumed, 'trial')} excluded: the trials were interrupted and resumed"
        )
        yield "resumed", message
    untimed = sum(not log.trial.get("timed", True) for log in _logs(rows))
    if untimed:
        message = f"no seconds: {counted(untimed, 'trial')} trained at the same time as others (timed: false)"
        is_timed = all(row.trial.timed for row in rows)
        yield "untimed", f"{message}: run with --fresh to measure them" if is_timed else message
    again = [log for log in _logs(rows) if log.attempts > 1]
    if again:
        calm = sum(not log.disturbed for log in again)
        calm_ones = "it" if calm == len(again) == 1 else "all" if calm == len(again) else calm or "none"
        yield (
            "run_again",
            f"{counted(len(again), 'trial')} {'was' if len(again) == 1 else 'were'} disturbed by other load and rerun: "
            f"{calm_ones} {'was' if calm == 1 else 'were'} undisturbed in a rerun",
        )
    noisy = [log for log in _logs(rows) if log.disturbed]
    if noisy:
        message = (
            f"training times of {counted(len(noisy), 'trial')} were disturbed by other load: {_named(noisy)}"
        )
        yield "disturbed", message
    disagreeing = [(log, difference) for log in again if (difference := disagreement(log))]
    if disagreeing:
        difference = disagreeing[0][1]
        yield (
            "attempts",
            f"NOT REPRODUCIBLE: {counted(len(disagreeing), 'trial')} gave different results when rerun on the same machine "
            f"({_named([log for log, _ in disagreeing])}; {difference}): this workload is nondeterministic",
        )


def _named(logs: list[TrialLog]) -> str:
    names = ", ".join(f"{log.trial['label']} seed {log.trial['seed']}" for log in logs[:3])
    return names + (f" and {len(logs) - 3} more" if len(logs) > 3 else "")


def _same_start(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    hashes: dict[int, set[str]] = {}
    for log in _logs(rows):
        if log.started is not None:
            hashes.setdefault(log.trial["seed"], set()).add(log.started.initial_weights)
    seeds = [str(seed) for seed, found in sorted(hashes.items()) if len(found) > 1]
    if seeds:
        message = f"initial weights differ between optimizers at seed {', '.join(seeds)}: their results are not comparable"
        yield "initial_weights", message


def _same_data(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    checksums = {log.started.data_checksum for log in _logs(rows) if log.started is not None}
    if len(checksums - {""}) > 1:
        message = "trials used different data: their results are not comparable; a data set must return the same samples each time"
        yield "data", message


def _gradients(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    """Yield warnings about exploded and vanished gradients, for trials that recorded gradients at every step."""
    for word, of in (("exploded", "exploded_steps"), ("vanished", "vanished_steps")):
        found: dict[str, int] = {}
        for log in _logs(rows):
            steps = log.evaluations.column(of)[-1] if log.evaluations else None
            if steps:
                found[log.trial["label"]] = found.get(log.trial["label"], 0) + steps
        if found:
            where = ", ".join(f"{label} ({steps} steps)" for label, steps in found.items())
            yield f"gradients_{word}", f"gradients {word}: {where}"


def _idle_rates(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    """Yield trials whose learning rate was 0 for a large part of their steps, as after a schedule that ends too early."""
    shares: dict[str, float] = {}
    for log in _logs(rows):
        if log.evaluations:
            steps, rates = log.evaluations.column("step"), log.evaluations.column("learning_rate")
            label = log.trial["label"]
            shares[label] = max(shares.get(label, 0.0), _idle_share(steps, rates))
    found = [
        f"{label} (at least {100 * share:.0f} % of the steps)"
        for label, share in shares.items()
        if share > _IDLE_SHARE
    ]
    if found:
        yield "learning_rate", f"the learning rate was 0 for a large part of the training: {', '.join(found)}"


def _idle_share(steps: Sequence[int], rates: Sequence[float]) -> float:
    """Return the share of the steps between two evaluations that both have a rate of 0."""
    least = _IDLE_RATE * max((rate for rate in rates if rate == rate), default=0.0)
    if min(map(abs, rates)) > least:
        return 0.0
    idle = sum(
        later - step
        for step, later, rate, then in zip(steps, steps[1:], rates, rates[1:], strict=False)
        if abs(rate) <= least and abs(then) <= least
    )
    return idle / steps[-1] if steps[-1] else 0.0


def _rates(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    """Yield what trials reported about learning rates that have no effect, once per reason."""
    labels: dict[str, list[str]] = {}
    for log in _logs(rows):
        if log.started is not None and log.started.rate_note:
            labels.setdefault(log.started.rate_note, []).append(log.trial["label"])
    for note, of_note in labels.items():
        yield "schedule", f"{', '.join(dict.fromkeys(of_note))}: {note}"


def _data(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    """Yield the findings of the data set checks, once per workload."""
    notes = (log.started.data_notes.splitlines() for log in _logs(rows) if log.started is not None)
    for note in dict.fromkeys(note for lines in notes for note in lines):
        yield "data", f"data: {note}"


_CHECKS: tuple[Callable[[list[TableRow]], Iterator[tuple[str, str]]], ...] = (
    _few_seeds,
    _missing,
    _data,
    _idle_rates,
    _rates,
    _same_data,
    _same_start,
    _environment,
    implementation_warnings,
    capture_warnings,
    _settings,
    _checkpoints,
    _clock,
    _gradients,
)


def _differ(words: str, facts: Iterable[Any]) -> Iterator[tuple[str, str]]:
    found = sorted({str(value) for value in facts if value is not None})
    if len(found) > 1:
        yield "mixed", f"different {words} in the same table: {', '.join(found)}"


def _logs(rows: list[TableRow]) -> list[TrialLog]:
    return [log for row in rows for log in row.logs]


def _environments(log: TrialLog) -> Iterator[dict[str, Any]]:
    """Yield the environment of each process that trained the trial: a resumed trial may have several."""
    if log.started is not None:
        yield log.started.environment
    yield from (event.environment for event in log.resumed)
