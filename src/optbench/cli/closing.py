"""What a run says at its end: the table, what failed, where the files are, and how to go on."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from optbench.cli.job import Job, Options
from optbench.cli.signals import say
from optbench.errors import OptbenchError

if TYPE_CHECKING:
    from optbench.executor.local import Summary
    from optbench.store import Results


def close(job: Job, options: Options, summary: Summary) -> None:
    """The table on standard output; where the files are, and how to go on, on standard error."""
    from optbench.store import read

    results = read([job.folder.path])
    if not options.json and any(log.evaluations or log.is_complete for log in results.suites[0].logs):
        from optbench.cli.show import print_tables

        print_tables(_asked_for(results, options))
    written = _write_reports(results, job)
    say(f"\nResults: {job.folder.path}{os.sep} ({written}, trials{os.sep})")
    left = summary.left + summary.ended.get("interrupted", 0)
    if left:
        say(how_to_go_on(left))


def _write_reports(results: Results, job: Job) -> str:
    """Every format, and the figures unless OPTBENCH_FIGURES says `off`; what there is now. Reports that can't be made are no
    reason to lose a run."""
    from optbench.report import save, saved_formats

    figures = os.environ.get("OPTBENCH_FIGURES", "") != "off"
    if figures:
        say("\nAll of it is stored; drawing the figures (OPTBENCH_FIGURES=off leaves them out)")
    try:
        save(results, job.folder.path, saved_formats(), figures=figures)
    except OptbenchError:
        raise
    except Exception as error:
        say(f"note: not every report could be written: {type(error).__name__}: {error}")
        return "report.md, report.csv"
    return "report.html, report.md, report.csv" + (f", figures{os.sep}" if figures else "")


def _asked_for(results: Results, options: Options) -> Results:
    """With --only, rows that were neither asked for nor run before are not missing: nobody wants them now."""
    if not options.only:
        return results
    [suite] = results.suites
    if suite.plan is None:
        return results
    ran = {log.config_id for log in suite.logs}
    rows = tuple(row for row in suite.plan.rows if row.config_id in ran or row.trial["label"] in options.only)
    labels = {row.trial["label"] for row in rows}
    resolved = suite.plan.resolved
    if resolved.get("baseline") not in labels:
        resolved = resolved | {"baseline": None}
    plan = replace(suite.plan, rows=rows, resolved=resolved)
    return replace(results, suites=(replace(suite, plan=plan),))


def tell_failures(job: Job) -> bool:
    """What failed among the trials asked for, in this run or before, and where its traceback is. Whether anything did."""
    from optbench.store import read

    wanted = {trial.id for trial in job.wanted}
    stored = read([job.folder.path]).suites if any(job.folder.trials.glob("*.jsonl")) else ()
    failed = [
        (log, log.finished)
        for suite in stored
        for log in suite.logs
        if log.id in wanted
        and log.is_complete
        and log.finished
        and log.finished.status in ("failed", "out_of_memory")
    ]
    for log, end in failed[:5]:
        reason = end.reason or "no reason is recorded"
        say(f"{end.status}: {log.trial['label']} seed {log.trial['seed']}: {reason} (details: {log.path})")
    if failed:
        more = f"{len(failed) - 5} more failed. " if len(failed) > 5 else ""
        say(
            f"{more}Failed trials count as done: mend the cause, then --fresh (with --only LABEL) runs them anew"
        )
    return bool(failed)


def measured_before(job: Job) -> str:
    """Where finished results come from: they may have come with a clone, from another machine."""
    from optbench.store.read import read_log

    started = read_log(job.folder.trial_path(job.wanted[0])).started
    where = started.environment if started else {}
    return (
        f"All of it is in {job.folder.path} already, measured on {where.get('device_name', 'an unknown device')} with torch "
        f"{where.get('torch', '?')} ({str(where.get('started_at', 'at an unknown time'))[:10]}); --fresh measures it here and now, "
        "another --results folder beside it"
    )


def command() -> str:
    return shlex.join(["optbench", *sys.argv[1:]])


def how_to_go_on(left: int) -> str:
    return f"Stopped with {left} trial{'s' * (left != 1)} to go; to go on: {command()}"
