"""Machine utilisation during training, sampled by a separate thread about once per second."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

PERIOD_SECONDS = 1.0
Sample = dict[str, float]
Summary = dict[str, dict[str, float]]


class Monitor:
    """Mean, minimum and maximum of all samples. Units are in the names; shares are fractions of the whole machine or device."""

    def __init__(self, device: torch.device) -> None:
        self._sources: list[Callable[[], Sample]] = [_process, _machine(), *_gpu(device)]
        self._sums: dict[str, list[float]] = {}
        self._count = 0
        self._lock = threading.Lock()

    def sample(self) -> None:
        """Take one sample. Values that can't be read are omitted."""
        sample: Sample = {}
        for source in self._sources:
            with contextlib.suppress(Exception):  # a driver or a system file may fail at any time
                sample |= source()
        with self._lock:
            self._count += 1
            for name, value in sample.items():
                sums = self._sums.setdefault(name, [0.0, 0.0, value, value])
                sums[0] += 1
                sums[1] += value
                sums[2], sums[3] = min(sums[2], value), max(sums[3], value)

    def summary(self) -> Summary:
        """Return {name: {mean, least, most}}; empty if nothing was sampled."""
        with self._lock:
            summary = {
                name: {"mean": total / count, "least": minimum, "most": maximum}
                for name, (count, total, minimum, maximum) in self._sums.items()
            }
            return summary | ({"samples": {"mean": float(self._count)}} if summary else {})

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sample at the start of the block and after every period; the caller takes the last sample."""
        stop = threading.Event()

        def work() -> None:
            self.sample()
            while not stop.wait(PERIOD_SECONDS):
                self.sample()

        thread = threading.Thread(target=work, name="resources", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _process() -> Sample:
    """Return the resident memory of this process, from /proc (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"process_memory_bytes": float(pages * os.sysconf("SC_PAGE_SIZE"))}


def _machine() -> Callable[[], Sample]:
    """Return a source for the shares of processor time since the previous sample that were busy and stolen by the hypervisor.

    From /proc/stat (Linux).
    """
    before: tuple[int, int, int] | None = None

    def read() -> Sample:
        nonlocal before
        with open("/proc/stat", encoding="ascii") as lines:
            times = [int(number) for number in lines.readline().split()[1:9]]
        now = times[3] + times[4], times[7], sum(times)
        previous, before = before, now
        if previous is None or now[2] == previous[2]:
            return {}
        idle, stolen, total = (new - old for new, old in zip(now, previous, strict=True))
        return {"cpu_utilisation": 1 - idle / total, "cpu_steal": stolen / total}

    return read


def _gpu(device: torch.device) -> Iterator[Callable[[], Sample]]:
    """Yield sources for NVIDIA's counters, if nvidia-ml-py is installed."""
    if device.type != "cuda":
        return
    try:
        import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore]

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
    except Exception:  # not installed, no driver, or an unknown device: the GPU is not sampled
        return

    # one source per counter: a device without a power counter may still have a clock counter
    yield lambda: {"gpu_utilisation": pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100}
    yield lambda: {"gpu_memory_bytes": float(pynvml.nvmlDeviceGetMemoryInfo(handle).used)}
    yield lambda: {"gpu_power_watts": pynvml.nvmlDeviceGetPowerUsage(handle) / 1000}
    yield lambda: {"gpu_clock_mhz": float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))}
    yield lambda: {
        "gpu_temperature_celsius": float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    }
