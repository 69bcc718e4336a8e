"""One job: its trials run, its folder kept up to date."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.cli.again import run_again
from optbench.cli.closing import close, command, how_to_go_on, measured_before
from optbench.cli.job import Job, Options, directions_of, job_of, pending_of
from optbench.cli.signals import say, undisturbed
from optbench.cli.upkeep import kept_up_to_date
from optbench.errors import OptbenchError, Problem
from optbench.machine import cores

if TYPE_CHECKING:
    from optbench.executor.local import Summary
    from optbench.executor.process import StopRequest
    from optbench.executor.worker import Settings
    from optbench.store import SuiteFolder


def run_job(job: Job, options: Options, stop: StopRequest) -> Summary:
    from optbench.catalog.data_root import data_root
    from optbench.executor.local import Summary
    from optbench.executor.worker import Settings

    settings = Settings(
        options.device, data_root(options.data), options.threads, command(), options.stall_seconds
    )
    summary = Summary()
    with _held(job.folder):
        if options.fresh:
            for trial in job.wanted:
                job.folder.set_aside(trial)
        while True:
            if not _run_pending(job, options, settings, stop, summary):
                return summary
            known = {trial.id for trial in job.planned}
            job = job if stop.asked else job_of(job.loaded, options)
            if known >= {trial.id for trial in job.planned}:
                break
            say("The best point of a sweep lies at the edge of its grid: the grid grows for all entries")
        run_again(job, options, settings, stop, summary)
    close(job, options, summary)
    return summary


def _run_pending(job: Job, options: Options, settings: Settings, stop: StopRequest, summary: Summary) -> bool:
    """Run what is not complete and add to the summary how it ended. False if a stop came before anything began."""
    from optbench.cli.live.display import display
    from optbench.executor.local import prepare, run
    from optbench.executor.together import run_together
    from optbench.store import make_plan

    pending = pending_of(job)
    here = prepare(pending, settings, say, stop) if pending else {}
    if here is None:
        say(how_to_go_on(len(pending)))
        summary.left = len(pending)
        return False
    if not pending and not summary.ended:
        say(measured_before(job))
    if pending and not options.allow_mixed:
        _refuse_to_mix(job, here)
    job.folder.write_text("suite.yaml", _resolved(job))
    job.folder.write_plan(
        make_plan(
            job.loaded.name,
            job.loaded.suite,
            job.planned,
            command(),
            _provenance(job),
            directions_of(job.loaded),
        )
    )
    timed = [trial for trial in pending if not trial.point]
    at_once = options.jobs or (cores() if here.get("device") == "cpu" else 1)
    with display(
        job.loaded,
        job.wanted,
        pending,
        here,
        job.folder,
        stop=stop,
        at_once=at_once,
        as_json=options.json,
    ) as listen:
        listener = kept_up_to_date(job.folder, listen if options.json else undisturbed(listen))
        summary.add(run(timed, job.folder, settings, listener, stop))
        if swept := [trial for trial in pending if trial.point]:
            summary.add(run_together(swept, job.folder, settings, listener, stop, at_once))
    return True


@contextmanager
def _held(folder: SuiteFolder) -> Iterator[None]:
    """The suite's folder, locked; if the run is refused before anything is in it, the folders made for it are gone again.

    Only folders that this very call made are taken away, and only empty ones: what was there before stays.
    """
    made: list[Path] = []
    try:
        _make(folder, made)
        folder.create()
    except BaseException:
        _take_away(made)
        raise
    with folder.lock():
        folder.create()  # another run that was refused may have taken it away before the lock was ours
        began = False
        try:
            yield
            began = (folder.path / "plan.json").exists()
        finally:
            if not began:
                inside = [path for path in made if path.parent == folder.path]
                _take_away(inside)
                if folder.path in made and not (folder.path / "plan.json").exists():
                    with contextlib.suppress(OSError):
                        (folder.path / "run.lock").unlink(missing_ok=True)
                _take_away([path for path in made if path not in inside])


def _make(folder: SuiteFolder, made: list[Path]) -> None:
    """One folder after another, outermost first, as many as can be made; `made` gets those that were not there."""
    for path in (*reversed(folder.path.parents), folder.path, folder.trials, folder.checkpoints):
        if os.path.isdir(path):
            continue
        try:
            path.mkdir()
        except FileExistsError:  # somebody else was quicker
            continue
        except OSError:
            return  # `SuiteFolder.create` says why
        made.append(path)


def _take_away(made: list[Path]) -> None:
    for path in reversed(made):
        with contextlib.suppress(OSError):  # something lies in it, and keeps it
            path.rmdir()


def _refuse_to_mix(job: Job, here: dict[str, object]) -> None:
    """One table, one environment (decision 2)."""
    from optbench.events import FINGERPRINT
    from optbench.store import read

    rows = {trial.config_id for trial in job.planned}
    if not any(job.folder.trials.glob("*.jsonl")):
        return
    for log in (log for suite in read([job.folder.path]).suites for log in suite.logs):
        if log.config_id not in rows or log.started is None or not log.evaluations:
            continue
        there = log.started.environment
        facts = [key for key in FINGERPRINT if key != "threads" or not log.trial.get("point")]
        unlike = [key for key in facts if key in there and there[key] != here.get(key)]
        if unlike:
            changes = ", ".join(f"{key} was {there[key]!r} and is {here.get(key)!r} now" for key in unlike)
            raise OptbenchError(
                Problem(
                    f"measured elsewhere: {changes}. Numbers of both would meet in one table: use another --results folder, "
                    "--fresh to measure all of it anew, or --allow-mixed to accept it (the report will say so)",
                    file=str(log.path),
                )
            )


def _resolved(job: Job) -> str:
    """The suite as it was run, --set and all, in the form of a suite file."""
    from optbench.suite.dump import dump_text

    head = f"# As run, resolved from {_shown(job.loaded.path)}; files it names start from its folder.\n"
    return head + dump_text(job.loaded.suite)


def _provenance(job: Job) -> dict[str, str]:
    return {"suite_file": _shown(job.loaded.path)}


def _shown(path: Path) -> str:
    """Below the working folder where it is there: results are shared, and home folders are nobody's business."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.name
