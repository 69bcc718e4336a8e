"""A real Ray cluster of several nodes on this machine: one `ray start` process group per node.

pip install 'optbench[ray]'
python tests/cluster/ray_cluster.py COMMAND...     run a command with RAY_ADDRESS set
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: of the head node: a dead node is found within about three seconds, a cut-off one within about ten
SETTINGS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_grpc_client_keepalive_time_ms": "5000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # not 15: beside other work on this machine trials would take minutes
}


def why_not() -> str:
    """Return why no cluster can be started here, "" if one can."""
    return "" if importlib.util.find_spec("ray") else "ray is not installed: pip install 'optbench[ray]'"


@dataclass
class Cluster:
    """A running cluster. `environment`: variables that a driver needs."""

    folder: Path
    port: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_node(self, cpus: int) -> subprocess.Popen[bytes]:
        """Start a node with this many CPUs; the first is the head. Returns when it has joined."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--num-cpus={cpus}"]
        command += ["--object-store-memory=100000000"]
        if not self.nodes:
            self.port = _free_port()
            command += ["--head", f"--port={self.port}", "--include-dashboard=false"]
            command += [f"--temp-dir={self.folder}/ray"]
            self.environment = {**SETTINGS, "RAY_ADDRESS": f"127.0.0.1:{self.port}"}
        else:
            command += [f"--address=127.0.0.1:{self.port}"]
        command += ["--node-ip-address=127.0.0.1"]
        log = (self.folder / f"node{len(list(self.folder.glob('node*.log')))}.log").open("wb")
        node = subprocess.Popen(
            command, env={**os.environ, **SETTINGS}, stdout=log, stderr=log, start_new_session=True
        )
        self.nodes.append(node)
        deadline = time.monotonic() + 120
        while b"--block" not in Path(log.name).read_bytes():
            failed = node.poll() is not None or time.monotonic() > deadline
            assert not failed, Path(log.name).read_text()
            time.sleep(0.1)
        return node

    def kill_node(self, node: subprocess.Popen[bytes]) -> None:
        """Kill all processes of a node, as a power cut does."""
        for pid in _descendants(node.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()
        self.nodes.remove(node)

    def node_id(self, node: subprocess.Popen[bytes]) -> str:
        """Return Ray's id of a node, which its raylet has in its command line."""
        [raylet] = [pid for pid in _descendants(node.pid) if "/raylet/raylet " in _command_line(pid)]
        return re.search(r"--node[-_]id=(\w+)", _command_line(raylet))[1]  # type: ignore[index]

    def drain(self, node_id: str) -> None:
        """Announce that a node will be preempted in ten minutes, as the autoscaler does."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--node-id", node_id]
        command += ["--address", self.environment["RAY_ADDRESS"], "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
        command += ["--reason-message", "test", "--deadline-remaining-seconds", "600"]
        subprocess.run(command, env={**os.environ, **SETTINGS}, check=True, capture_output=True)

    def trial_processes(self) -> list[int]:
        """Return the ids of the processes that train now: children of the fork servers of optbench."""
        children = _children()
        servers = [pid for host in self.hosts() for pid in children.get(host, [])]
        return [pid for server in servers for pid in children.get(server, [])]

    def training_node(self) -> subprocess.Popen[bytes]:
        """Return a node that trains now and is not the head."""
        training = set(self.trial_processes())
        return next(node for node in self.nodes[1:] if training.intersection(_descendants(node.pid)))

    def hosts(self) -> list[int]:
        """Return the ids of the processes that run trials for optbench."""
        return [pid for node in self.nodes for pid in hosts_below(node.pid)]


def hosts_below(pid: int) -> list[int]:
    """Return the ids of the processes that run trials for optbench, among those that a process started."""
    return [one for one in _descendants(pid) if "ray::Host" in _command_line(one)]


@contextlib.contextmanager
def cluster(*cpus: int) -> Iterator[Cluster]:
    """Start a cluster with one node for each number of CPUs."""
    with tempfile.TemporaryDirectory(prefix="ob-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        running = Cluster(Path(folder))
        try:
            for count in cpus:
                running.add_node(count)
            yield running
        finally:
            for node in running.nodes[::-1]:
                if node.poll() is None:
                    running.kill_node(node)


def _children() -> dict[int, list[int]]:
    """Return the children of each process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    return children


def _descendants(pid: int) -> list[int]:
    """Return a process and all that it started, parents first."""
    children, found = _children(), [pid]
    for one in found:
        found += children.get(one, [])
    return found


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(f"no Ray cluster: {reason}")
    with cluster(1, 1) as running:
        sys.exit(
            subprocess.run(
                sys.argv[1:] or [sys.executable, "-m", "ray.scripts.scripts", "status"],
                env={**os.environ, **running.environment},
                check=False,
            ).returncode
        )
