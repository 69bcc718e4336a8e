"""A SLURM array of workers for a shared results folder: its script, its submission, and its state."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from optbench.errors import OptbenchError
from optbench.store import SuiteFolder
from optbench.store.files import write_whole
from optbench.store.input_files import read_file
from optbench.store.records import from_json
from optbench.suite.resources import Resources

_JOB_FILE = "slurm.json"
_NOTICE_SECONDS = 60  # before the time limit SLURM sends the signal, for a checkpoint
_TEMPLATE = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array={array}
#SBATCH --output={output}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@{notice}
{nodes}{options}
{lines}
exec {command}
"""


def user_file() -> Path:
    """Return the path of the user's lines for every script: `#SBATCH` options, `module load`, environment variables."""
    import platformdirs

    return Path(platformdirs.user_config_dir("optbench")) / "sbatch.sh"


def script(
    folder: SuiteFolder,
    name: str,
    workers: str,
    options: Sequence[str],
    resources: Resources,
    nodes: int = 1,
) -> str:
    """Return the script of an array of workers, each with an allocation of this many nodes.

    `workers` is a number, or a number and how many run at once, as in 64%8. `options` are options of sbatch, such as --time=2:00:00.
    GPUs that `resources` require are requested, unless the lines of the user already do so.
    Raises `OptbenchError` for an invalid number of workers.
    """
    count, _, at_once = workers.partition("%")
    if (
        not count.isdecimal()
        or int(count) < 1
        or ("%" in workers and not (at_once.isdecimal() and int(at_once)))
    ):
        message = f"expected a number of workers, or a number and a limit as in 64%8; found '{workers}'"
        raise OptbenchError(message, where="--workers")
    path = folder.path.resolve()
    try:
        lines = user_file().read_text(encoding="utf-8").rstrip()
    except OSError:
        lines = ""
    directives = [line for line in lines.splitlines() if line.startswith("#SBATCH")]
    directives += [f"#SBATCH {option}" for option in options]
    if resources.needs_gpu and not any(re.search(r"--(gres|gpus)\b|\s-G", line) for line in directives):
        kind = f":{resources.accelerator_type.lower()}" if resources.accelerator_type else ""
        directives.append(f"#SBATCH --gres=gpu{kind}:{resources.gpu or 1}")
    commands = [line for line in lines.splitlines() if not line.startswith(("#SBATCH", "#!"))]
    command = [sys.executable, "-m", "optbench", "work", str(path), "--slurm-requeue"]
    return _TEMPLATE.format(
        name=f"optbench-{name}",
        array=f"1-{workers}",
        output=f"{path}/output/slurm-%A_%a.log",
        notice=_NOTICE_SECONDS,
        nodes=f"#SBATCH --nodes={nodes}\n#SBATCH --ntasks-per-node=1\n" if nodes > 1 else "",
        options="\n".join(directives),
        lines="\n".join(commands),
        command=shlex.join(command),
    )


def submit(folder: SuiteFolder, text: str) -> str:
    """Submit the script and return the id of the job. Raises `OptbenchError` with what sbatch reports."""
    (folder.path / "output").mkdir(exist_ok=True)
    path = folder.write_text("sbatch.sh", text)
    job = _run("sbatch", "--parsable", str(path)).strip().partition(";")[0]
    write_whole(folder.path / _JOB_FILE, json.dumps({"job": job}) + "\n")
    return job


def running_job(folder: SuiteFolder) -> str | None:
    """Return the id of the job that was submitted for this folder, None if SLURM has ended it."""
    try:
        job = str(from_json(read_file(folder.path / _JOB_FILE, folder.path))["job"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return job if is_active(job) else None


def is_active(job: str) -> bool:
    """Return whether elements of the job are pending or running. True if SLURM does not answer now."""
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--jobs", job, "--format=%T"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        return False
    except (OSError, subprocess.SubprocessError):
        return True
    if "Invalid job id" in done.stderr:
        return False
    return done.returncode != 0 or bool(done.stdout.strip())


def start_on_other_nodes(count: int) -> subprocess.Popen[bytes]:
    """Start `optbench.executor.joined_nodes` on the `count` nodes of this job after the first, with a pipe as standard input.

    The process leads a session. Raises `OptbenchError` outside of a job with as many nodes.
    """
    if int(os.environ.get("SLURM_JOB_NUM_NODES", "1")) <= count:
        message = (
            f"a trial on {count + 1} nodes needs a SLURM job with as many: use `optbench run --executor slurm`, or sbatch "
            f"--nodes={count + 1} --ntasks-per-node=1"
        )
        raise OptbenchError(message, where="nodes")
    command = ["srun", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--relative=1"]
    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):  # a step does not inherit it
        command.append(f"--cpus-per-task={cores}")
    module = [sys.executable, "-m", "optbench.executor.joined_nodes"]
    try:
        return subprocess.Popen([*command, *module], stdin=subprocess.PIPE, start_new_session=True)
    except OSError as error:
        raise OptbenchError(f"`srun` cannot be started: {error.strerror}") from error


def requeue(job: str) -> None:
    """Ask SLURM to run the job, or one element of an array, again. Raises `OptbenchError` with what scontrol reports."""
    _run("scontrol", "requeue", job)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        message = f"`{command[0]}` was not found: run this command on a machine of a SLURM cluster, or use --executor local"
        raise OptbenchError(message) from None
    except (OSError, subprocess.SubprocessError) as error:
        raise OptbenchError(f"`{command[0]}` failed: {error}") from error
    if done.returncode:
        raise OptbenchError(f"`{command[0]}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
