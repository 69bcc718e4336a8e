"""What a run leaves to read: reports in all formats, figures, and the list of failed trials."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from optbench.errors import OptbenchError
from optbench.events import Finished
from optbench.report import save, saved_formats
from optbench.runner.job import Job
from optbench.store import Results, SuiteFolder, TrialLog


def write_reports(results: Results, folder: SuiteFolder, message: Callable[[str], None]) -> str:
    """Write all report formats, and the figures unless OPTBENCH_FIGURES is `off`. Return the names of the files.

    Reports that cannot be computed do not fail a run: `message` says what is missing. Raises `OptbenchError` where the folder
    cannot be written.
    """
    figures = os.environ.get("OPTBENCH_FIGURES", "") != "off"
    if figures:
        message("\nAll results are saved. Drawing the figures (OPTBENCH_FIGURES=off skips them)")
    try:
        save(results, folder.path, saved_formats(), figures=figures)
    except OptbenchError:
        raise
    except Exception as error:
        message(f"note: not all reports could be written: {type(error).__name__}: {error}")
        return "report.md, report.csv"
    return "report.html, report.md, report.csv" + (f", figures{os.sep}" if figures else "")


def requested_rows(results: Results, only: tuple[str, ...]) -> Results:
    """Return the results without rows that `--only` excluded and that have no trials: they are not missing."""
    if not only:
        return results
    [suite] = results.suites
    if suite.plan is None:
        return results
    ran = {log.config_id for log in suite.logs}
    rows = tuple(row for row in suite.plan.rows if row.config_id in ran or row.trial["label"] in only)
    labels = {row.trial["label"] for row in rows}
    resolved = suite.plan.resolved
    if resolved.get("baseline") not in labels:
        resolved = resolved | {"baseline": None}
    plan = replace(suite.plan, rows=rows, resolved=resolved)
    return replace(results, suites=(replace(suite, plan=plan),))


def failed_trials(results: Results, job: Job) -> list[tuple[TrialLog, Finished]]:
    """Return the requested trials that failed or ran out of memory, in this run or an earlier one, with how they ended."""
    wanted = {trial.id for trial in job.wanted}
    return [
        (log, log.finished)
        for suite in results.suites
        for log in suite.logs
        if log.id in wanted
        and log.is_complete
        and log.finished
        and log.finished.status in ("failed", "out_of_memory")
    ]
