"""`run`, `plan` and the checking they share: suites in, measured trials and a table out."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.cli.signals import say, stop_requests, undisturbed
from optbench.errors import OptbenchError, Problem, nearest
from optbench.suite.types import Trial

if TYPE_CHECKING:
    from optbench.executor.local import Summary
    from optbench.executor.process import StopRequest
    from optbench.executor.worker import Settings
    from optbench.store import SuiteFolder
    from optbench.suite.load import Loaded


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    seeds: int | None = None
    results: Path = Path("results")
    device: str = "auto"
    threads: int | None = None
    data: str | None = None
    fresh: bool = False
    allow_mixed: bool = False
    json: bool = False
    stall_seconds: float = 1800.0
    jobs: int | None = None  # trials of a sweep at once


@dataclass(frozen=True)
class Job:
    """One suite, ready to run: all its trials, and those asked for."""

    loaded: Loaded
    planned: tuple[Trial, ...]
    wanted: tuple[Trial, ...]
    folder: SuiteFolder


def checked(
    suites: Sequence[str], overrides: Sequence[str], seeds: int | None, data: str | None
) -> list[Loaded]:
    """Load and check suites, all problems of all of them at once."""
    from optbench.catalog.check import examine
    from optbench.catalog.data_root import data_root
    from optbench.suite.find import find

    found: list[Problem] = []
    loaded = []
    for suite in suites:
        try:
            one, problems = examine(find(suite), overrides, seeds, data_root(data))
        except OptbenchError as error:
            one, problems = None, list(error.problems)
        found += problems
        loaded += [one] if one else []
    if found:
        raise OptbenchError(*found)
    return loaded


def run_suites(suites: Sequence[str], options: Options, dry_run: bool, detect: str | None = None) -> int:
    """Returns the exit code. Nothing runs unless every suite is right. `detect` is a difference to plan seeds for."""
    from optbench.cli.detect import difference, show_seeds_needed

    delta = difference(detect) if detect is not None else None
    jobs = [
        _job(loaded, options) for loaded in checked(suites, options.overrides, options.seeds, options.data)
    ]
    _no_two_in_one_folder(jobs)
    if dry_run:
        from optbench.cli.progress import show_plan

        for job in jobs:
            show_plan(job.loaded, job.wanted, job.folder)
            if delta is not None:
                show_seeds_needed(job.loaded, job.folder, delta)
        return 0
    trouble = False
    with stop_requests() as stop:
        try:
            for job in jobs:
                summary = _run(job, options, stop)
                trouble = _tell_failures(job) or trouble or summary.trouble
                if stop.asked:
                    break
        except KeyboardInterrupt:
            say(f"ended at once; nothing that is stored is lost. To go on: {_command()}")
    if stop.signal is not None:
        return 128 + stop.signal
    return 1 if trouble else 0


def _job(loaded: Loaded, options: Options) -> Job:
    from optbench.store import SuiteFolder

    labels = list(loaded.suite.optimizers)
    unknown = [label for label in options.only if label not in labels]
    if unknown:
        raise OptbenchError(
            *(
                Problem(f"no optimizer '{label}' in {loaded.path}; {nearest(label, labels)}", where="--only")
                for label in unknown
            )
        )
    folder = SuiteFolder.of(options.results, loaded.name)
    planned = _planned(loaded, folder, options.data)
    wanted = tuple(trial for trial in planned if not options.only or trial.label in options.only)
    return Job(loaded, planned, wanted, folder)


def _planned(loaded: Loaded, folder: SuiteFolder, data: str | None) -> tuple[Trial, ...]:
    """The suite's trials; with the wider grids that stored sweeps ask for, whose optimum lies at the edge."""
    from optbench.catalog.data_root import data_root
    from optbench.catalog.data_sets import identified_by_data
    from optbench.suite.plan import plan

    def identified(trials: Sequence[Trial]) -> tuple[Trial, ...]:
        return identified_by_data(trials, data_root(data))

    planned = identified(plan(loaded))
    if not loaded.suite.sensitivity or not any(folder.trials.glob("*.jsonl")):
        return planned
    from optbench.analysis.sensitivity import extension
    from optbench.store import Results, make_plan, read
    from optbench.suite.sweep import Extensions

    [stored] = read([folder.path]).suites
    extended: Extensions | None = {}
    while extended is not None:
        planned = identified(plan(loaded, extended))
        known = replace(
            stored, plan=make_plan(loaded.name, loaded.suite, planned, higher_is_better=_directions(loaded))
        )
        extended = extension(Results((known,)), extended)
    return planned


def _directions(loaded: Loaded) -> dict[str, bool]:
    from optbench.catalog.directions import directions

    return directions(loaded.suite, loaded.folder)


def _no_two_in_one_folder(jobs: Sequence[Job]) -> None:
    seen: dict[Path, Path] = {}
    for job in jobs:
        other = seen.setdefault(job.folder.path, job.loaded.path)
        if other != job.loaded.path:
            message = f"has the same name as {other}, so both would write to {job.folder.path}; rename one or run them apart"
            raise OptbenchError(Problem(message, file=str(job.loaded.path)))


def _run(job: Job, options: Options, stop: StopRequest) -> Summary:
    from optbench.catalog.data_root import data_root
    from optbench.executor.local import Summary
    from optbench.executor.worker import Settings
    from optbench.report import save
    from optbench.store import read

    settings = Settings(
        options.device, data_root(options.data), options.threads, _command(), options.stall_seconds
    )
    job.folder.create()
    summary = Summary()
    with job.folder.lock():
        if options.fresh:
            for trial in job.wanted:
                job.folder.set_aside(trial)
        while True:
            if not _run_pending(job, options, settings, stop, summary):
                return summary
            known = {trial.id for trial in job.planned}
            job = job if stop.asked else _job(job.loaded, options)
            if known >= {trial.id for trial in job.planned}:
                break
            say("The best point of a sweep lies at the edge of its grid: the grid grows for all entries")
        save(read([job.folder.path]), job.folder.path)
    _close(job, options, summary)
    return summary


def _run_pending(job: Job, options: Options, settings: Settings, stop: StopRequest, summary: Summary) -> bool:
    """Run what is not complete and add to the summary how it ended. False if a stop came before anything began."""
    from optbench.cli.progress import display
    from optbench.executor.local import prepare, run
    from optbench.store import make_plan

    pending = _pending(job)
    here = prepare(pending, settings, say, stop) if pending else {}
    if here is None:
        say(_how_to_go_on(len(pending)))
        summary.left = len(pending)
        return False
    if not pending and not summary.ended:
        say(_measured_before(job))
    if pending and not options.allow_mixed:
        _refuse_to_mix(job, here)
    job.folder.write_text("suite.yaml", _resolved(job))
    job.folder.write_plan(
        make_plan(
            job.loaded.name,
            job.loaded.suite,
            job.planned,
            _command(),
            _provenance(job),
            _directions(job.loaded),
        )
    )
    with display(job.loaded, job.wanted, pending, here, job.folder, as_json=options.json) as listen:
        listener = listen if options.json else undisturbed(listen)
        timed = [trial for trial in pending if not trial.point]
        summary.add(run(timed, job.folder, settings, listener, stop))
        if swept := [trial for trial in pending if trial.point]:
            from optbench.executor.together import cores, run_together

            at_once = options.jobs or (cores() if here["device"] == "cpu" else 1)
            summary.add(run_together(swept, job.folder, settings, listener, stop, at_once))
    return True


def _tell_failures(job: Job) -> bool:
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
        said = (end.detail.strip().splitlines() or [end.status])[-1]
        say(f"{end.status}: {log.trial['label']} seed {log.trial['seed']}: {said} (all of it in {log.path})")
    if failed:
        more = f"{len(failed) - 5} more failed. " if len(failed) > 5 else ""
        say(
            f"{more}Failed trials count as done: mend the cause, then --fresh (with --only LABEL) runs them anew"
        )
    return bool(failed)


def _pending(job: Job) -> list[Trial]:
    """The trials that are not complete, in running order."""
    pending = []
    for trial in job.wanted:
        path = job.folder.trial_path(trial)
        there = path.exists()
        begun = job.folder.reopen_trial(trial)
        if begun is None and there:
            say(f"note: {path}: cut off in its first line, so set aside; its trial starts anew")
        if begun is not None:
            with begun as file:
                if file.torn_bytes:
                    say(f"note: {path}: cut off {file.torn_bytes} bytes of a record that was never finished")
                if file.is_complete:
                    job.folder.checkpoint_path(trial).unlink(missing_ok=True)
                    continue
        pending.append(trial)
    return pending


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


def _measured_before(job: Job) -> str:
    """Where finished results come from: they may have come with a clone, from another machine."""
    from optbench.store.read import read_log

    started = read_log(job.folder.trial_path(job.wanted[0])).started
    where = started.environment if started else {}
    return (
        f"All of it is in {job.folder.path} already, measured on {where.get('device_name', 'an unknown device')} with torch "
        f"{where.get('torch', '?')} ({str(where.get('started_at', 'at an unknown time'))[:10]}); --fresh measures it here and now, "
        "another --results folder beside it"
    )


def _provenance(job: Job) -> dict[str, str]:
    return {"suite_file": _shown(job.loaded.path)}


def _shown(path: Path) -> str:
    """Below the working folder where it is there: results are shared, and home folders are nobody's business."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.name


def _command() -> str:
    return shlex.join(["optbench", *sys.argv[1:]])


def _close(job: Job, options: Options, summary: Summary) -> None:
    """The table on standard output; where the files are, and how to go on, on standard error."""
    if not options.json:
        from optbench.cli.show import print_tables
        from optbench.store import read

        print_tables(read([job.folder.path]))
    say(f"\nResults: {job.folder.path}{os.sep} (report.md, report.csv, trials{os.sep})")
    left = summary.left + summary.ended.get("interrupted", 0)
    if left:
        say(_how_to_go_on(left))


def _how_to_go_on(left: int) -> str:
    return f"Stopped with {left} trial{'s' * (left != 1)} to go; to go on: {_command()}"
