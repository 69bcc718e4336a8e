"""`run` and `plan`: suites in, measured trials and a table out."""

from __future__ import annotations

from collections.abc import Sequence

from optbench.cli.job import Options, checked, job_of, no_two_in_one_folder

__all__ = ["Options", "checked", "run_suites"]


def run_suites(suites: Sequence[str], options: Options, dry_run: bool, detect: str | None = None) -> int:
    """Returns the exit code. Nothing runs unless every suite is right. `detect` is a difference to plan seeds for."""
    from optbench.cli.detect import difference

    delta = difference(detect) if detect is not None else None
    if dry_run:
        _check_device(options.device)
    jobs = [
        job_of(loaded, options) for loaded in checked(suites, options.overrides, options.seeds, options.data)
    ]
    no_two_in_one_folder(jobs)
    if dry_run:
        from optbench.cli.detect import show_seeds_needed
        from optbench.cli.live.plan import show_plan

        for job in jobs:
            show_plan(job.loaded, job.wanted, job.folder)
            if delta is not None:
                show_seeds_needed(job.loaded, job.folder, delta)
        return 0

    from optbench.cli.closing import command, tell_failures
    from optbench.cli.measure import run_job
    from optbench.cli.signals import say, stop_requests

    trouble = False
    with stop_requests() as stop:
        try:
            for job in jobs:
                summary = run_job(job, options, stop)
                trouble = tell_failures(job) or trouble or summary.trouble
                if stop.asked:
                    break
        except KeyboardInterrupt:
            say(f"ended at once; nothing that is stored is lost. To go on: {command()}")
    if stop.signal is not None:
        return 128 + stop.signal
    return 1 if trouble else 0


def _check_device(wanted: str) -> None:
    """As the run would. Only what may be missing is worth loading torch for."""
    if wanted not in ("auto", "cpu"):
        from optbench.engine.devices import pick

        pick(wanted)
