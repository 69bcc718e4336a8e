"""Implementation of `plan --detect`: the number of seeds needed to detect a difference, from stored results."""

from __future__ import annotations

from optbench.analysis.power import seeds_frame
from optbench.cli.printing import print_report
from optbench.errors import OptbenchError
from optbench.report.detect import detect_report
from optbench.runner.adaptive_plan import with_plan
from optbench.runner.job import Job
from optbench.store import Results, read
from optbench.store.archive import has_records


def show_seeds_needed(job: Job, delta: float) -> None:
    """Print the table, by the suite as it is written now. Raises `OptbenchError` if nothing of it has run."""
    loaded, folder = job.loaded, job.folder
    if not has_records(folder.path):
        message = (
            f"'{loaded.name}' has no results yet: run at least two seeds of each entry to estimate the spread"
        )
        raise OptbenchError(message, where="--detect", file=str(folder.path))
    [stored] = read([folder.path], all_seeds=True).suites  # all paired differences count for the spread
    frame = seeds_frame(Results((with_plan(stored, loaded, job.planned),)), delta)
    print_report(detect_report(loaded.suite.title or loaded.name, frame, delta))
