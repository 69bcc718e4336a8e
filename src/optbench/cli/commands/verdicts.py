"""Compare a suite's published values with measured ones.

Where no trial has measured the optimizer state, it is measured now by a few steps on the model. Nothing is trained.

Examples:
  optbench verdicts resnet50
  optbench verdicts gradient_descent --results results
  optbench verdicts resnet50 --format markdown

In a tuned suite, an entry has verdicts once its tuning is complete.

Exit codes:
  0  each row has a verdict
  2  bad input, or no published rows
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from optbench.analysis.published import verdicts_frame
from optbench.analysis.rows import seeds_not_shown_text
from optbench.catalog.data_root import data_root
from optbench.catalog.data_sets import describe_data
from optbench.cli import completion
from optbench.cli.options import AllSeeds, Data, ResultsRoot, Set, TextFormat, argument
from optbench.cli.printing import print_format
from optbench.errors import OptbenchError
from optbench.report import check_format
from optbench.report.published import published_report
from optbench.runner.adaptive_plan import with_plan
from optbench.runner.job import create_job
from optbench.runner.options import RunOptions
from optbench.runner.suite_check import check_suites
from optbench.store import Results, SuiteFolder, SuiteResults, read
from optbench.store.archive import has_records
from optbench.suite.load import Loaded
from optbench.suite.types import Trial

PLACE = "Read results", 4


def verdicts(
    suite: Annotated[
        str,
        argument(
            "SUITE",
            "A suite file with 'published:' rows, or the name of a shipped suite.",
            complete=completion.suites,
        ),
    ],
    sets: Set = None,
    results: ResultsRoot = Path("results"),
    data: Data = None,
    format: TextFormat = "terminal",
    all_seeds: AllSeeds = False,
) -> None:
    check_format(format)
    [loaded] = check_suites([suite], tuple(sets or ()), None, data)
    if not loaded.suite.published:
        raise OptbenchError("the suite has no 'published' rows", file=str(loaded.path))
    trials = create_job(loaded, RunOptions(results=results, data=data)).planned
    measured = _measured(loaded, trials, results, all_seeds=all_seeds)
    if further := seeds_not_shown_text(measured):
        print(f"note: {measured.path}: {further}", file=sys.stderr)
    multiples = _state_multiples(loaded, trials, measured, data)
    frame = verdicts_frame(Results((measured,)), multiples)
    report = published_report(f"{loaded.suite.title or loaded.name}: published rows", frame)
    print_format(report, format)


def _measured(loaded: Loaded, trials: Sequence[Trial], results: Path, *, all_seeds: bool) -> SuiteResults:
    """Return what is stored of the suite, by the present plan of the file, with the seeds of the last run."""
    folder = SuiteFolder.of(results, loaded.name)
    if not has_records(folder.path):
        return with_plan(SuiteResults(loaded.name, folder.path, None, ()), loaded, trials)
    [stored] = read([folder.path], all_seeds=all_seeds).suites
    planned = with_plan(stored, loaded, trials)
    if stored.plan is None or planned.plan is None:
        return planned
    return replace(planned, plan=replace(planned.plan, seeds=stored.plan.seeds))


def _state_multiples(
    loaded: Loaded, trials: Sequence[Trial], measured: SuiteResults, data: str | None
) -> dict[tuple[str, str], float]:
    """Return measured multiples by workload and label, for entries with published values whose state no trial has recorded."""
    asked = {row.optimizer for row in loaded.suite.published if row.values.memory_overhead is not None}
    asked |= {
        claim.over
        for row in loaded.suite.published
        for claim in row.values.given.values()
        if claim.over is not None
    }
    told = {
        (log.trial["workload_name"], log.trial["label"])
        for log in measured.logs
        if log.finished is not None and log.finished.state_bytes is not None
    }
    wanted = {
        (trial.workload_name, trial.label): trial
        for trial in reversed(trials)
        if trial.label in asked and not trial.point and (trial.workload_name, trial.label) not in told
    }
    if not wanted:
        return {}
    from optbench.engine.state_multiples import state_multiples

    found: dict[tuple[str, str], float] = {}
    for name in dict.fromkeys(name for name, _ in wanted):
        own = {key: trial for key, trial in wanted.items() if key[0] == name}
        workload = next(iter(own.values())).workload
        info = describe_data(workload.data, data_root(data), loaded.folder)
        if info is not None:
            found |= zip(own, state_multiples(list(own.values()), info), strict=True)
    return found
