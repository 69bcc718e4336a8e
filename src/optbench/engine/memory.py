"""Memory overhead, measured: bytes of optimizer state, and what `step()` allocates for a moment beyond it (rule 7)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch

_MARK = "optbench: measured from here"


def free_bytes(device: torch.device) -> int:
    """That new tensors on the device may take; a modest guess where the system doesn't tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 4 * 2**30


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on whatever device. The CPU's allocator raises a plain RuntimeError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def memory_asked_for(error: BaseException) -> str:
    """One sentence with the sizes that the allocator told."""
    words = str(error).strip().partition("\n")[0]
    words = words.rpartition("DefaultCPUAllocator: ")[2].removeprefix("CUDA out of memory. ")
    return f"out of memory: {words or 'an allocation outside of torch failed; its size is not known'}"


def peak_of(action: Callable[[], object], device: torch.device, rehearsals: int = 0) -> int | None:
    """Bytes that `action` had allocated at its worst moment beyond what was allocated before. None where nothing tells.

    On a CPU what was allocated before and is freed in `action` can only be counted if it was allocated in a rehearsal: an
    action that replaces tensors (state that a step makes anew) needs one.
    """
    if device.type == "cuda":
        for _ in range(rehearsals):
            action()
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        action()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    return _cpu_peak(action, rehearsals) if device.type == "cpu" else None


def _cpu_peak(action: Callable[[], object], rehearsals: int) -> int | None:
    """From the profiler's allocation events: each carries a signed size, in the order in which they happened."""
    from torch.profiler import ProfilerActivity, profile, record_function

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would report on standard error
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        for _ in range(rehearsals):
            action()
        with record_function(_MARK):
            action()
    results = profiler.profiler.kineto_results if profiler.profiler is not None else None
    if results is None:
        return None
    events = results.events()
    since = next(event.start_ns() for event in events if event.name() == _MARK)
    sizes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    level = peak = 0
    for _, size in sorted((pair for pair in sizes if pair[0] >= since), key=lambda pair: pair[0]):
        level += size
        peak = max(peak, level)
    return peak
