"""Who writes into a suite's folder, found out by reading alone: a look must never be in the way of a run."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from optbench.store.input_files import read_file
from optbench.store.records import from_json

MAX_LOCK_BYTES = 10_000


@dataclass(frozen=True)
class Holder:
    """What `run.lock` says of the process that took it last and did not give it back."""

    pid: int
    host: str
    since: float  # when it took the lock, by the clock of the file system that the records are on
    is_alive: bool | None  # None: on another machine, where nobody can tell

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def holder(folder: Path) -> Holder | None:
    """None if no run has begun here, or the last one ended by itself (also by Ctrl-C): only a killed one leaves its name."""
    path = folder / "run.lock"
    try:
        since, owner = path.stat().st_mtime, from_json(read_file(path, path.parent, MAX_LOCK_BYTES))
        pid, host = int(owner["pid"]), str(owner["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Holder(pid, host, since, _is_alive(pid, since) if host == socket.gethostname() else None)


def _is_alive(pid: int, since: float) -> bool:
    """Whether there is such a process, and no younger one that got its number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # there is one, somebody else's: its age decides, as for any other
    began = _began(pid)
    return began is None or began <= since + 2


def _began(pid: int) -> float | None:
    """Seconds since the epoch, from /proc (Linux); a process that has ended but not been waited for counts as gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime")
        )
        if fields[0] in "ZX":
            return float("inf")
        return boot + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return None
