"""A real SLURM cluster of one or more nodes on this machine: slurmctld, slurmd and munge from Debian, without root services.

    apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
    python tests/cluster/slurm_cluster.py COMMAND...     run a command with SLURM_CONF set

Needs root, because slurmd starts jobs as their users.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
# cred_expire: otherwise a requeued job waits for two minutes
_CONFIGURATION = """
ClusterName=optbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=10
OverTimeLimit=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=2,batch_sched_delay=0
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


def why_not() -> str:
    """Return why no cluster can be started here, "" if one can."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (apt-get install slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "needs root"


@contextmanager
def cluster(nodes: int = 1) -> Iterator[dict[str, str]]:
    """Start a cluster of this many nodes with 2 CPUs each. Yield the environment variables that its commands need."""
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="optbench-slurm-")))
        names = [f"node{number}" for number in range(1, nodes + 1)]
        for name in ("state", *(f"spool-{name}" for name in names)):
            (folder / name).mkdir()
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
            _start_munge(ends)
        host = socket.gethostname().partition(".")[0]
        conf = folder / "slurm.conf"
        lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={_free_port()} CPUs=2 State=UNKNOWN"
            for name in names
        ]
        conf.write_text(
            _CONFIGURATION.format(folder=folder, host=host, port=_free_port(), nodes="\n".join(lines))
        )
        environment = {**os.environ, "SLURM_CONF": str(conf)}
        for command in (["slurmctld", "-D", "-i"], *(["slurmd", "-D", "-N", name] for name in names)):
            process = subprocess.Popen(
                [*command, "-f", str(conf)],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            ends.callback(_end, process)
        _wait_until_idle(environment, folder)
        yield environment


def _start_munge(ends: ExitStack) -> None:
    for path in (Path("/run/munge"), Path("/var/log/munge"), Path("/var/lib/munge")):
        path.mkdir(parents=True, exist_ok=True)
        shutil.chown(path, "munge", "munge")
    process = subprocess.Popen(
        ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "--foreground"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    ends.callback(_end, process)
    deadline = time.monotonic() + 30
    while subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, "munged does not start"
        time.sleep(0.1)


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, check=False
        )
        if set(done.stdout.split()) == {"idle"}:
            return
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
            raise AssertionError(f"no idle node: {done.stdout}{done.stderr}\n{logs}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(f"no SLURM cluster: {reason}")
    with cluster() as variables:
        sys.exit(subprocess.run(sys.argv[1:] or ["sinfo"], env=variables, check=False).returncode)
