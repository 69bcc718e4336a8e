"""Compare two sets of results per entry, with intervals.

For example, results of two versions of torch, of two machines, or from before and after a change. Reports AFTER minus
BEFORE for each suite, workload, horizon, target and optimizer in both, the differences in suite and environment, and
entries in only one of them. The comparison is paired by seed where both ran the same seeds from the same weights, otherwise
the groups are independent (Welch's test). With fewer than 5 seeds it is preliminary.

A gate fails if the nearer bound of the 95 % interval (Holm-adjusted over the entries) exceeds the threshold. If only the
estimate exceeds it, the gate is inconclusive: a warning, or a failure with --strict. A gate that cannot be evaluated fails:
no common entry, no values, one seed, trials of AFTER that have not run, seeds that diverged or failed only in AFTER, or
identical records on both sides. Sizes that are equal for all seeds need no interval.

Examples:
  optbench compare results-torch-2.11 results-torch-2.12
  optbench compare baseline/digits results/digits --fail-if-slower 5% --fail-if-worse 0.5%
  optbench compare baseline results --fail-if-more-memory 2% --strict --output changes.md

Exit codes:
  0  compared, and all gates passed
  1  a gate failed or could not be evaluated
  2  bad input
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from optbench import report as reports
from optbench.analysis.changes import Compared, compared
from optbench.analysis.gates import Gate, Judgement, Kind, fails, judge
from optbench.analysis.matching import match
from optbench.analysis.settings import differences, one_sided_frame
from optbench.cli import printing
from optbench.cli.options import AllSeeds, Output, OutputFormat, argument, flag, option
from optbench.errors import OptbenchError, Problem
from optbench.report.change_cells import judgement_text
from optbench.report.changes import changes_report
from optbench.report.text import clean
from optbench.store import Results, read
from optbench.suite.metric_facts import FRACTION

PLACE = "Read results", 3


@dataclass(frozen=True)
class Options:
    """Arguments and options of the command."""

    before: Annotated[Path, argument("BEFORE", "Results folder, or a folder that contains results.")]
    after: Annotated[Path, argument("AFTER", "Results to compare with BEFORE.")]
    format: OutputFormat = None
    output: Output = None
    slower: Annotated[
        str | None,
        option("5%", "Fail if training seconds per epoch increase by more than this.", "--fail-if-slower"),
    ] = None
    worse: Annotated[
        str | None,
        option(
            "0.5%",
            "Fail if the final metric is worse by more than this, in the metric's unit: 0.5% of accuracy is half a point.",
            "--fail-if-worse",
        ),
    ] = None
    more_memory: Annotated[
        str | None,
        option(
            "5%",
            "Fail if optimizer state, peak memory of step() or peak GPU memory increase by more than this.",
            "--fail-if-more-memory",
        ),
    ] = None
    strict: Annotated[bool, flag("--strict", "Also fail on inconclusive gates.")] = False
    all_seeds: AllSeeds = False


def compare(options: Options) -> None:
    raise typer.Exit(run(options))


def run(options: Options) -> int:
    """Print the comparison. Return the exit code."""
    format = reports.chosen_format(options.format, options.output)
    gates = _gates(options)
    first, second = _read(options.before, options.after, all_seeds=options.all_seeds)
    matched = match(first, second)
    items = compared(matched)
    if options.worse is not None:
        _check_unit(items, options.worse.strip())
    difference = differences(one_sided_frame(matched))
    judgements = [judgement for gate in gates for judgement in judge(items, gate, difference)]
    report = changes_report(matched, items, judgements, (str(options.before), str(options.after)))
    if format == "terminal" and options.output is None:
        printing.print_report(report)
    else:
        printing.write(reports.render_report(report, format), options.output)
    _print_failed_gates(judgements)
    return int(fails(judgements, strict=options.strict))


def _check_unit(items: Sequence[Compared], text: str) -> None:
    """Raise `OptbenchError` if the threshold of `--fail-if-worse` does not suit the metric: a percentage of a metric that is no
    fraction, or a difference of fractions of 1 or more, which no change can exceed.
    """
    where, is_percentage = "--fail-if-worse", text.endswith("%")
    for change in (item.change for item in items):
        if change.quantity != "final_metric" or not change.metric:
            continue
        if change.metric_unit != FRACTION and is_percentage:
            message = f"{change.metric} is not a fraction: expected a difference in its own unit, for example 0.005; found '{text}'"
            raise OptbenchError(message, where=where)
        if change.metric_unit == FRACTION and _threshold(text, where) >= 1:
            meant = "" if is_percentage else f"; did you mean {text}%?"
            message = (
                f"{change.metric} is a fraction: expected a difference below 1 (100%); found '{text}'{meant}"
            )
            raise OptbenchError(message, where=where)


def _read(before: Path, after: Path, *, all_seeds: bool) -> tuple[Results, Results]:
    problems: list[Problem] = []
    found = []
    for path in (before, after):
        try:
            found.append(read([path], all_seeds=all_seeds))
        except OptbenchError as error:
            problems += error.problems
    if problems:
        raise OptbenchError(*problems)
    first, second = found
    shared = {suite.path.resolve() for suite in first.suites} & {
        suite.path.resolve() for suite in second.suites
    }
    if shared:
        message = f"'{before}' and '{after}' contain the same results; pass two different folders"
        raise OptbenchError(message, file=str(min(shared)))
    return first, second


def _gates(options: Options) -> list[Gate]:
    thresholds: tuple[tuple[Kind, str | None, str], ...] = (
        ("slower", options.slower, "--fail-if-slower"),
        ("worse", options.worse, "--fail-if-worse"),
        ("more memory", options.more_memory, "--fail-if-more-memory"),
    )
    return [Gate(kind, _threshold(text, name)) for kind, text, name in thresholds if text is not None]


def _threshold(text: str, option: str) -> float:
    """Parse `5%` or `0.05`. Raises `OptbenchError` for negative or invalid values."""
    number, scale = text.strip(), 1.0
    if number.endswith("%"):
        number, scale = number.removesuffix("%"), 0.01
    try:
        value = float(number) * scale
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise OptbenchError(f"expected 0 or more, for example 5% or 0.05; found '{text}'", where=option)
    return value


def _print_failed_gates(judgements: list[Judgement]) -> None:
    """Print failed and inconclusive gates on standard error, so that they are at the end of a job's log."""
    for of in judgements:
        if of.outcome != "passed":
            entry = f"{clean(of.compared.change.optimizer)}: " if of.compared else ""
            said = "warning: inconclusive" if of.outcome == "inconclusive" else of.outcome
            print(f"{said}: {of.gate.kind}: {entry}{judgement_text(of)}", file=sys.stderr)
