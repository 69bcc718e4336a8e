"""Utilisation and memory of the device, read every two seconds from system files or NVIDIA's counters.

Trials are not queried, because that would affect their measured time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PERIOD_SECONDS = 2.0
_PROC = Path("/proc")


class Meter:
    """`facts` is one line of text, "" if nothing can be read."""

    def __init__(self, device: str, proc: Path = _PROC) -> None:
        self._proc = proc
        self._gpus = _gpus() if device == "cuda" else []
        self._before: tuple[int, int] | None = None
        self._sampled = -PERIOD_SECONDS
        self.facts = ""

    def sample(self) -> None:
        """Update `facts`, at most once per period."""
        now = time.monotonic()
        if now - self._sampled < PERIOD_SECONDS:
            return
        self._sampled = now
        pids = list(trial_processes(os.getpid(), self._proc))
        parts = [*self._gpu(pids), *self._machine(), *self._memory(pids)]
        self.facts = ", ".join(parts)

    def _machine(self) -> Iterator[str]:
        with contextlib.suppress(OSError, ValueError, IndexError):
            with (self._proc / "stat").open(encoding="ascii") as lines:
                times = [int(text) for text in lines.readline().split()[1:9]]
            idle, total = times[3] + times[4], sum(times)
            last, self._before = self._before, (idle, total)
            if last is not None and total > last[1]:
                yield f"CPU {100 * (1 - (idle - last[0]) / (total - last[1])):.0f} % busy"

    def _memory(self, pids: list[int]) -> Iterator[str]:
        used = 0
        for pid in pids:
            with contextlib.suppress(OSError, ValueError, IndexError):
                pages = int((self._proc / str(pid) / "statm").read_text(encoding="ascii").split()[1])
                used += pages * os.sysconf("SC_PAGE_SIZE")
        if used:
            yield f"{'trials use' if len(pids) > 1 else 'trial uses'} {size(used)} of memory"

    def _gpu(self, pids: list[int]) -> Iterator[str]:
        """Yield the facts of the device that runs the trials, or of the first device if that is unknown."""
        with contextlib.suppress(Exception):  # a driver may fail at any time
            found = [gpu for gpu in self._gpus if gpu.holds(set(pids))] or self._gpus[:1]
            for gpu in found:
                yield gpu.text()


class Gpu:
    def __init__(self, nvml: object, handle: object) -> None:
        self._nvml, self._handle = nvml, handle

    def _query(self, name: str) -> object:
        query: Callable[[object], object] = getattr(self._nvml, f"nvmlDeviceGet{name}")
        return query(self._handle)

    def holds(self, pids: set[int]) -> bool:
        processes = self._query("ComputeRunningProcesses")
        return any(process.pid in pids for process in processes)  # type: ignore[attr-defined]

    def text(self) -> str:
        memory, rates = self._query("MemoryInfo"), self._query("UtilizationRates")
        used, total = memory.used, memory.total  # type: ignore[attr-defined]
        return f"GPU {rates.gpu} % busy, {size(used)} of {size(total)} used"  # type: ignore[attr-defined]


def trial_processes(root: int, proc: Path = _PROC) -> Iterator[int]:
    """Yield the descendants of `root` that lead their own session, as trials do; none without /proc."""
    waiting, seen = [root], {root}
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            if pid != root:
                after_name = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(after_name[3]) == pid:
                    yield pid
                    continue
            for task in (proc / str(pid) / "task").iterdir():
                children = {int(text) for text in (task / "children").read_text(encoding="ascii").split()}
                waiting += children - seen
                seen |= children


def size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB" if count < 1000 else f"{count / 1000:.1f} TB"


def _gpus() -> list[Gpu]:
    try:
        import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore]

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # not installed, or no driver
        return []
    return [Gpu(pynvml, handle) for handle in handles]
