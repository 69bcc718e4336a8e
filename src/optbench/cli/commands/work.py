"""Run trials of a planned suite from a shared folder.

`optbench run SUITE --executor shared` plans the suite and waits. Any number of workers, on any machines that see the folder,
then claim its trials one by one and write their records. A lease file names the worker of each trial. If a worker dies, another
one takes over its trial and resumes from its checkpoint. The suite's folder must be at the same place relative to the results.
A worker ends when no trial is left.

Examples:
  optbench work results/digits
  optbench work /shared/results/digits --lease-timeout 300

Exit codes:
  0    no trial is left
  1    at least one trial failed or ran out of memory here
  2    invalid input, no disk space left, or the folder cannot be reached
  130  stopped with Ctrl-C (143: by a scheduler, 138: before a time limit)
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from optbench.cli.live.board import setting_of
from optbench.cli.options import argument, flag, option
from optbench.cli.signals import say, stop_requests
from optbench.errors import OptbenchError
from optbench.events import Event, Finished
from optbench.runner import slurm
from optbench.runner.shared_work import Worker
from optbench.store import SuiteFolder
from optbench.suite.types import Trial

PLACE = "Compare optimizers", 5
_TOO_SHORT = (
    "The time limit passed before a trial ended or wrote a later checkpoint: the job is not requeued. Run the suite again with a longer "
    "limit, as with --sbatch=--time=4:00:00"
)


def work(
    folder: Annotated[Path, argument("RESULTS", "The suite's results folder, shared by all workers.")],
    lease_timeout: Annotated[
        float,
        option(
            "SECONDS",
            "Take over a trial whose worker has not renewed its lease for this long. The same for all workers.",
            min=1,
        ),
    ] = 120,
    slurm_requeue: Annotated[
        bool, flag("--slurm-requeue", "In a SLURM job: run the job again after its time limit (SIGUSR1).")
    ] = False,
) -> None:
    raise typer.Exit(run_worker(folder, lease_timeout, slurm_requeue))


def run_worker(folder: Path, lease_seconds: float, slurm_requeue: bool) -> int:
    """Run trials until none is left. Return the exit code."""
    with stop_requests() as stop:
        worker = Worker(
            SuiteFolder(folder), stop, say, _show, lease_seconds, start_nodes=slurm.start_on_other_nodes
        )
        try:
            ended = worker.run()
        except KeyboardInterrupt:
            say("Stopped immediately. Saved results are intact")
            ended = {}
        except OSError as error:
            raise OptbenchError(f"cannot be reached: {error.strerror or error}", file=str(folder)) from error
    if stop.signal is not None:
        if slurm_requeue and stop.signal == getattr(signal, "SIGUSR1", None):
            if worker.has_progressed:
                slurm.requeue(_slurm_job())
            else:
                say(_TOO_SHORT)
        return 128 + stop.signal
    return 1 if ended.get("failed") or ended.get("out_of_memory") else 0


def _slurm_job() -> str:
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID", "")


def _show(trial: Trial, event: Event) -> None:
    if isinstance(event, Finished):
        reason = f": {event.reason}" if event.detail else ""
        sweep = " (sweep)" if trial.point else ""
        say(f"{trial.workload_name}, {trial.label}{sweep}{setting_of(trial)}: {event.status}{reason}")
