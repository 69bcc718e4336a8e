"""Measure memory: free bytes, failed allocations, and the transient peak of a step (rule 7)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch

from optbench.errors import first_line

_MARK = "optbench: measured from here"


def free_bytes(device: torch.device) -> int:
    """Return the bytes available for new tensors on the device; 4 GiB where the system does not report it."""
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
    """Return whether an allocation failed, on any device. The CPU's allocator raises a plain RuntimeError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def allocator_message(error: BaseException) -> str:
    """Return the message of the allocator, with the sizes that it reported; the status of the trial states that memory ran out."""
    message = first_line(error)
    message = message.rpartition("DefaultCPUAllocator: ")[2].removeprefix("CUDA out of memory. ")
    return message or "an allocation outside of torch failed; its size is not known"


def peak_of(action: Callable[[], object], device: torch.device, rehearsals: int = 0) -> int | None:
    """Return the peak of the bytes allocated during `action`, beyond those allocated before it; None if it can't be measured.

    On a CPU, memory that was allocated before and is freed in `action` is only counted if it was allocated in a rehearsal: an
    action that replaces tensors (such as state that each step allocates again) needs one.
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
    """Compute the peak from the profiler's allocation events, each with a signed size, in chronological order."""
    from torch.profiler import ProfilerActivity, profile, record_function

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise Kineto logs to standard error
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
