"""List the trials of a suite and estimate the remaining time.

Same as `run --dry-run`. The estimate uses the times of finished trials.

Examples:
  optbench plan digits
  optbench plan suites/digits.yaml --seeds 10
  optbench plan digits --detect 0.5%

Exit codes:
  0  the suite is valid
  2  bad input
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from optbench.catalog.metric_facts import metric_facts
from optbench.cli.live.plan import show_plan
from optbench.cli.options import Data, Only, ResultsRoot, Seeds, Set, Suites, option
from optbench.errors import OptbenchError
from optbench.runner import slurm
from optbench.runner.job import Job, check_distinct_folders, create_job
from optbench.runner.options import RunOptions
from optbench.runner.several_nodes import most_nodes, refuse_on_one_machine
from optbench.runner.suite_check import check_suites
from optbench.suite.find import find_all
from optbench.suite.metric_facts import MetricFacts

PLACE = "Compare optimizers", 3

#: endings of a difference in percentage points
_PERCENT = ("%", "pp")
#: a plain number from here on is more likely meant in percent, where the metric is a fraction
_LARGE = 0.05


def plan(
    suites: Suites,
    sets: Set = None,
    only: Only = None,
    seeds: Seeds = None,
    results: ResultsRoot = Path("results"),
    data: Data = None,
    detect: Annotated[
        str | None,
        option(
            "DELTA",
            "Also report the number of seeds needed to detect this difference of the final metric, for example 0.5%. "
            "A plain number is in the metric's own unit: 0.005 of an accuracy.",
        ),
    ] = None,
) -> None:
    options = RunOptions(tuple(sets or ()), tuple(only or ()), seeds, results, data=data)
    raise typer.Exit(show_plans(suites, options, detect))


def show_plans(
    suites: Sequence[str], options: RunOptions, detect: str | None = None, *, is_dry_run: bool = False
) -> int:
    """Show what `run` would do. `detect` is a difference for which to compute the number of seeds. Return the exit code.

    `is_dry_run`: raise `OptbenchError` for suites that the executor of `options` does not run.
    """
    delta = difference(detect) if detect is not None else None
    _check_device(options.device)
    jobs = planned_jobs(suites, options)
    for job, _ in jobs if is_dry_run else ():
        refuse_on_one_machine(job.loaded, options.executor)
    if detect is not None:
        for job, _ in jobs:
            facts = metric_facts(job.loaded.suite, job.loaded.folder)
            first = dict.fromkeys(trial.workload.metrics[0] for trial in job.wanted)
            check_unit(detect, {name: facts[name] for name in first if name in facts})
    for job, _ in jobs:
        show_plan(job.loaded, job.wanted, job.stored)
        if options.executor == "slurm":
            resources = job.loaded.suite.resources
            nodes = most_nodes(job.wanted)
            text = slurm.script(
                job.folder, job.loaded.name, options.workers, options.sbatch, resources, nodes
            )
            print(f"\n{text}", end="")
        if delta is not None:
            from optbench.cli.detect import show_seeds_needed

            show_seeds_needed(job, delta)
    return 0


def planned_jobs(suites: Sequence[str], options: RunOptions) -> list[tuple[Job, RunOptions]]:
    """Return the checked suites with what there is to run, each with its options. Raises `OptbenchError`.

    The results of a folder of suites are in a folder of its name.
    """
    loaded = iter(check_suites(suites, options.overrides, options.seeds, options.data))
    jobs = []
    for folder, paths in map(find_all, suites):
        of_suite = replace(options, results=options.results / folder)
        jobs += [(create_job(next(loaded), of_suite), of_suite) for _ in paths]
    check_distinct_folders([job for job, _ in jobs])
    return jobs


def _check_device(device: str) -> None:
    """Raise `OptbenchError` for a missing device, as a run would. Loads torch only if the device may be missing."""
    if device not in ("auto", "cpu"):
        from optbench.engine.devices import select_devices

        select_devices(device)


def check_unit(text: str, metrics: Mapping[str, MetricFacts]) -> None:
    """Raise `OptbenchError` if `--detect TEXT` is ambiguous or impossible for one of the metrics.

    A plain number is in the metric's own unit, so that 0.5 of an accuracy is 50 percentage points; a percentage is of a fraction only.
    """
    value, in_percent = difference(text), text.strip().endswith(_PERCENT)
    for metric, facts in metrics.items():
        message = ""
        if facts.is_fraction and not in_percent and value >= _LARGE:
            message = (
                f"ambiguous difference '{text}' of {metric}: write '{100 * value:g}%' for {100 * value:g} "
                f"percentage points, or '{value:g}%' for {value:g} points"
            )
        elif facts.is_fraction and value > 1:
            message = f"expected a difference of {metric} of at most 100%; found '{text}'"
        elif not facts.is_fraction and in_percent:
            message = f"{metric} is not a fraction: expected a difference in its own unit, for example 0.005; found '{text}'"
        if message:
            raise OptbenchError(message, where="--detect")


def difference(text: str) -> float:
    """Return `0.005`, `0.5%` or `0.5pp` as a fraction. Raises `OptbenchError`."""
    number, scale = text.strip(), 1.0
    for suffix in _PERCENT:
        if number.endswith(suffix):
            number, scale = number.removesuffix(suffix), 0.01
    try:
        value = float(number) * scale
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise OptbenchError(
            f"expected a difference above 0, for example 0.005 or 0.5%; found '{text}'", where="--detect"
        )
    return value
