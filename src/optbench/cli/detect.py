"""Implementation of `plan --detect`: the number of seeds needed to detect a difference, from stored results."""

from __future__ import annotations

from collections.abc import Iterable

from optbench.errors import OptbenchError, Problem
from optbench.report.text import is_share
from optbench.store import Results, SuiteFolder, make_plan, read
from optbench.suite.load import Loaded

#: endings of a difference in percentage points
_PERCENT = ("%", "pp")
#: a plain number from here on is more likely meant in percent, where the metric is a share
_LARGE = 0.05


def show_seeds_needed(loaded: Loaded, folder: SuiteFolder, delta: float) -> None:
    """Print the table, by the suite as it is written now. Raises `OptbenchError` if nothing of it has run."""
    from dataclasses import replace

    from optbench.analysis.power import seeds_frame
    from optbench.catalog.directions import directions
    from optbench.cli.printing import print_report
    from optbench.report.detect import detect_report
    from optbench.suite.plan import plan

    if not any(folder.trials.glob("*.jsonl")):
        message = (
            f"'{loaded.name}' has no results yet: run at least two seeds of each entry to estimate the spread"
        )
        raise OptbenchError(Problem(message, where="--detect", file=str(folder.path)))
    [stored] = read([folder.path], all_seeds=True).suites  # all paired differences count for the spread
    planned = make_plan(
        loaded.name, loaded.suite, plan(loaded), higher_is_better=directions(loaded.suite, loaded.folder)
    )
    frame = seeds_frame(Results((replace(stored, plan=planned),)), delta)
    print_report(detect_report(loaded.suite.title or loaded.name, frame, delta))


def check_unit(text: str, metrics: Iterable[str]) -> None:
    """Raise `OptbenchError` if `--detect TEXT` can hardly mean what it says of one of the metrics.

    A plain number is in the metric's own unit, so that 0.5 of an accuracy is 50 percentage points; a percentage is of a share only.
    """
    value, in_percent = difference(text), text.strip().endswith(_PERCENT)
    for metric in dict.fromkeys(metrics):
        message = ""
        if is_share(metric) and not in_percent and value >= _LARGE:
            message = (
                f"ambiguous difference '{text}' of {metric}: write '{100 * value:g}%' for {100 * value:g} "
                f"percentage points, or '{value:g}%' for {value:g} points"
            )
        elif is_share(metric) and value > 1:
            message = f"expected a difference of {metric} of at most 100%; found '{text}'"
        elif not is_share(metric) and in_percent:
            message = f"{metric} is not a fraction: expected a difference in its own unit, for example 0.005; found '{text}'"
        if message:
            raise OptbenchError(Problem(message, where="--detect"))


def difference(text: str) -> float:
    """`0.005`, or `0.5%` and `0.5pp`, as a fraction. Raises `OptbenchError`."""
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
            Problem(
                f"expected a difference above 0, for example 0.005 or 0.5%; found '{text}'", where="--detect"
            )
        )
    return value
