"""What `run` prints at its end: the table, where the files are, failed trials, and how to resume."""

from __future__ import annotations

import os
import sys

from optbench.cli.printing import print_tables
from optbench.cli.signals import say
from optbench.errors import OptbenchError, ReaderGone
from optbench.runner.final_reports import failed_trials, requested_rows, write_reports
from optbench.runner.job import Job
from optbench.runner.options import RunOptions
from optbench.runner.suite_run import JobEnd
from optbench.store import Results, TrialLog

_SHOWN_FAILURES = 5


def show_end(job: Job, options: RunOptions, end: JobEnd, *, table: bool) -> bool:
    """Print the table on standard output, the rest on standard error. Return whether a requested trial failed or is unfinished."""
    failed = False
    if end.results is not None:
        unprinted = _print_table(requested_rows(end.results, options.only)) if table else None
        files = write_reports(end.results, job.folder, say)
        say(f"\nResults: {job.folder.path}{os.sep} ({files}, trials{os.sep})")
    if end.trials_left:
        n = end.trials_left
        say(f"Stopped with {n} unfinished trial{'s' * (n != 1)}. To resume: {options.command}")
        _show_restarts(end)
    if end.results is not None:
        failed = _show_failures(job, end)
        if unprinted is not None:
            raise unprinted
    return failed or end.summary.trouble or end.trials_left > 0


def _print_table(results: Results) -> Exception | None:
    """Print the table. Return the error if standard output is full or closed: the files are written all the same."""
    try:
        if any(log.evaluations or log.is_complete for log in results.suites[0].logs):
            print_tables(results)
            sys.stdout.flush()
    except (OptbenchError, ReaderGone) as error:
        return error
    return None


def _show_restarts(end: JobEnd) -> None:
    """Print which of the interrupted trials have no checkpoint to resume from, one line per entry."""
    logs = end.results.suites[0].logs if end.results is not None else ()
    notes = {
        log.trial["label"]: log.finished.resume_note
        for log in logs
        if log.finished is not None and log.finished.status == "interrupted" and log.finished.resume_note
    }
    for label, note in notes.items():
        say(f"note: {label} has no checkpoint ({note}): its trials may restart from step 0")


def _show_failures(job: Job, end: JobEnd) -> bool:
    assert end.results is not None
    failed = failed_trials(end.results, job)
    alike: dict[tuple[str, str, str], list[TrialLog]] = {}
    for log, finished in failed:
        reason = finished.reason or "no reason is recorded"
        alike.setdefault((finished.status, log.trial["label"], reason), []).append(log)
    for (status, label, reason), logs in list(alike.items())[:_SHOWN_FAILURES]:
        seeds = ", ".join(dict.fromkeys(str(log.trial["seed"]) for log in logs))
        say(f"{status}: {label} seed{'s' * (',' in seeds)} {seeds}: {reason} (details: {logs[0].path})")
    if failed:
        hidden = sum(len(logs) for logs in list(alike.values())[_SHOWN_FAILURES:])
        more = f"{hidden} more failed. " if hidden else ""
        say(f"{more}Failed trials are not retried. Fix the cause, then run with --fresh (and --only LABEL).")
    return bool(failed)
