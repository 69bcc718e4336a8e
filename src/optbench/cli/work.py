"""Run one worker of a shared results folder, and report what it does on standard error."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from optbench.cli.signals import say, stop_requests
from optbench.events import Event, Finished
from optbench.runner import slurm
from optbench.runner.shared_work import Worker
from optbench.store import SuiteFolder
from optbench.suite.types import Trial


def run_worker(folder: Path, lease_seconds: float, slurm_requeue: bool) -> int:
    """Run trials until none is left. Return the exit code."""
    with stop_requests() as stop:
        worker = Worker(SuiteFolder(folder), stop, say, _show, lease_seconds)
        try:
            ended = worker.run()
        except KeyboardInterrupt:
            say("Stopped immediately. Saved results are intact")
            ended = {}
    if stop.signal is not None:
        if slurm_requeue and stop.signal == getattr(signal, "SIGUSR1", None):
            slurm.requeue(_slurm_job())
        return 128 + stop.signal
    return 1 if ended.get("failed") or ended.get("out_of_memory") else 0


def _slurm_job() -> str:
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID", "")


def _show(trial: Trial, event: Event) -> None:
    if isinstance(event, Finished):
        reason = f": {event.reason}" if event.detail else ""
        say(f"{trial.workload_name}, {trial.label}, seed {trial.seed}: {event.status}{reason}")
