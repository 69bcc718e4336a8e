"""Set targets from runs of the best tuned entry on new seeds.

Runs the suite, which tunes its reference optimizers, as `optbench run` does. The best entry of each workload, by the mean of the
best validation metric over the seeds of the suite, is then trained with its selected settings on further seeds. The target is the
median over these seeds of the best validation metric of a run: half of the runs reach it within the budget of the workload.
AlgoPerf sets its targets in this way. The test split is not used.

Stored trials are not run again: on a folder with complete results, the command trains only what is missing. The reference runs of
a workload are in their own folder, SUITE-reference-WORKLOAD. Without `--write` the lines for the suite file are printed. With it,
they replace the target of each workload, with a comment about its origin; the rest of the file is unchanged.

Examples:
  optbench calibrate tuned --dry-run
  optbench calibrate my_suite.yaml --only AdamW --only SGD
  optbench calibrate my_suite.yaml --results results --write

Exit codes:
  0    all targets were found
  2    invalid input, missing trials, or reference runs that diverged
  130  stopped with Ctrl-C (143: by a scheduler)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from optbench.cli import completion
from optbench.cli.commands.plan import planned_jobs, show_plans
from optbench.cli.commands.run import TerminalObserver, command_line, run_suites
from optbench.cli.options import Data, Device, ResultsRoot, argument, flag, option
from optbench.cli.run_summary import show_end
from optbench.cli.signals import stop_requests
from optbench.console import wrapped
from optbench.errors import OptbenchError
from optbench.runner.calibration import (
    Calibration,
    calibration,
    check_calibration,
    further_seeds,
    reference_suites,
)
from optbench.runner.calibration import write as write_targets
from optbench.runner.job import create_job
from optbench.runner.options import RunOptions
from optbench.runner.suite_run import run_job
from optbench.store import SuiteFolder, read
from optbench.suite.find import shipped
from optbench.suite.load import Loaded

PLACE = "Compare optimizers", 7


@dataclass(frozen=True)
class Options:
    """Arguments and options of the command."""

    suite: Annotated[
        str,
        argument(
            "SUITE",
            "A suite file with tuned optimizers, or the name of a shipped suite.",
            complete=completion.suites,
        ),
    ]
    only: Annotated[
        list[str] | None,
        option(
            "LABEL",
            "Use only this entry as reference. Repeatable. Default: all entries.",
            complete=completion.labels,
        ),
    ] = None
    seeds: Annotated[int, option("N", "Number of further seeds of the best entry, at least 5.", min=5)] = 20
    results: ResultsRoot = Path("results")
    device: Device = "auto"
    threads: Annotated[int | None, option("N", "CPU threads per trial. Default: torch's choice.", min=1)] = (
        None
    )
    data: Data = None
    write: Annotated[bool, flag("--write", "Write the targets into the suite file.")] = False
    dry_run: Annotated[bool, flag("--dry-run", "Show what would run, without running it.")] = False


def calibrate(options: Options) -> None:
    suite, labels = options.suite, tuple(options.only or ())
    run = RunOptions(
        only=labels,
        results=options.results,
        device=options.device,
        threads=options.threads,
        data=options.data,
        reruns=0,  # no times are used
        command=command_line(),
    )
    if options.write and suite in shipped() and not Path(suite).is_file():
        message = f"a shipped suite is not changed: copy {shipped()[suite]}, and give the path of the copy"
        raise OptbenchError(message, where="--write")
    jobs = planned_jobs([suite], run)
    if len(jobs) != 1:
        raise OptbenchError(f"expected one suite; found the folder '{suite}' with {len(jobs)}")
    loaded = jobs[0][0].loaded
    check_calibration(loaded, labels)
    seeds = further_seeds(loaded, options.seeds)
    if options.dry_run:
        show_plans([suite], run)
        trials = options.seeds * len(loaded.suite.workloads)
        print(
            wrapped(
                f"\nThen: the best entry of each workload on {options.seeds} further seeds ({seeds[0]} to {seeds[-1]}): "
                f"{trials} trials"
            )
        )
        return
    code = run_suites([suite], run)
    if code >= 128:
        raise typer.Exit(code)
    found = _reference_runs(loaded, run, seeds)
    if isinstance(found, int):
        raise typer.Exit(found)
    _show(loaded, found, labels, write=options.write)


def _reference_runs(loaded: Loaded, options: RunOptions, seeds: tuple[int, ...]) -> list[Calibration] | int:
    """Train the reference of each workload. Return the targets, or the exit code of a run that was stopped."""
    stored = read([SuiteFolder.of(options.results, loaded.name).path])
    found: list[Calibration] = []
    for reference, one in reference_suites(loaded, stored, options.only, seeds):
        options = replace(options, only=())
        job = create_job(one, options)
        with stop_requests() as stop:
            end = run_job(job, options, stop, TerminalObserver())
            show_end(job, options, end, table=False)
        if stop.signal is not None:
            return 128 + stop.signal
        assert end.results is not None
        found.append(calibration(loaded, reference, end.results, seeds, job.folder.path))
    return found


def _show(loaded: Loaded, found: list[Calibration], labels: tuple[str, ...], *, write: bool) -> None:
    date = datetime.now(UTC).date().isoformat()
    entries = list(labels or loaded.suite.optimizers)
    tuning = loaded.suite.tuning
    trials = f", tuned with {tuning.trials} trials each" if tuning is not None and tuning.trials else ""

    def comment(one: Calibration) -> str:
        return one.provenance(date, entries, trials)

    for one in found:
        target = one.target
        print(f"{one.reference.workload}:")
        print(wrapped(f"  # {comment(one)}", indent=4))
        print(f"  target: {one.target_text}")
        print(f"  budget: {one.budget}")
        last = "" if target.epochs != target.epochs else f", the last of them after {target.epochs:g} epochs"
        print(wrapped(f"  {target.reached} of {target.seeds} reference runs reach it{last}", indent=4))
    if write:
        write_targets(loaded, found, comment)
        print(f"Written to {loaded.path}")
    else:
        print("To write these targets into the suite file: --write")
