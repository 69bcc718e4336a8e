"""Determine which process writes into a suite's folder, by reading only, so that a run is never blocked."""

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
    """The process that `run.lock` names: the last one that locked the folder without releasing it."""

    pid: int
    host: str
    since: float  # when it took the lock, by the clock of the file system that the records are on
    is_alive: bool | None  # None: on another machine, unknown

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def holder(folder: Path) -> Holder | None:
    """Return the holder, None if no run has started or the last one ended normally (also by Ctrl-C), not by a kill."""
    path = folder / "run.lock"
    try:
        since, owner = path.stat().st_mtime, from_json(read_file(path, path.parent, MAX_LOCK_BYTES))
        pid, host = int(owner["pid"]), str(owner["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Holder(pid, host, since, _is_alive(pid, since) if host == socket.gethostname() else None)


def _is_alive(pid: int, since: float) -> bool:
    """Return whether the process is alive, and not a younger one with the same pid."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # a process of another user: its age decides, as for any other
    began = _start_time(pid)
    return began is None or began <= since + 2


def _start_time(pid: int) -> float | None:
    """Return the start time in seconds since the epoch, from /proc (Linux); infinity for a zombie."""
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
