"""What `run` prints at its end: the table, where the files are, failed trials, and how to resume."""

from __future__ import annotations

import os

from optbench.cli.signals import say
from optbench.runner.final_reports import failed_trials, requested_rows, write_reports
from optbench.runner.job import Job
from optbench.runner.options import RunOptions
from optbench.runner.suite_run import JobEnd

_SHOWN_FAILURES = 5


def show_end(job: Job, options: RunOptions, end: JobEnd, *, table: bool) -> bool:
    """Print the table on standard output, the rest on standard error. Return whether a requested trial failed."""
    failed = False
    if end.results is not None:
        logs = end.results.suites[0].logs
        if table and any(log.evaluations or log.is_complete for log in logs):
            from optbench.cli.show import print_tables

            print_tables(requested_rows(end.results, options.only))
        files = write_reports(end.results, job.folder, say)
        say(f"\nResults: {job.folder.path}{os.sep} ({files}, trials{os.sep})")
    if end.trials_left:
        n = end.trials_left
        say(f"Stopped with {n} trial{'s' * (n != 1)} to go. To resume: {options.command}")
    if end.results is not None:
        failed = _show_failures(job, end)
    return failed or end.summary.trouble


def _show_failures(job: Job, end: JobEnd) -> bool:
    assert end.results is not None
    failed = failed_trials(end.results, job)
    for log, finished in failed[:_SHOWN_FAILURES]:
        reason = finished.reason or "no reason is recorded"
        say(
            f"{finished.status}: {log.trial['label']} seed {log.trial['seed']}: {reason} (details: {log.path})"
        )
    if failed:
        more = f"{len(failed) - _SHOWN_FAILURES} more failed. " if len(failed) > _SHOWN_FAILURES else ""
        say(f"{more}Failed trials are not retried. Fix the cause, then run with --fresh (and --only LABEL).")
    return bool(failed)
