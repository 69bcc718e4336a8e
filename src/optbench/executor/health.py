"""Checks of this machine for `optbench doctor`: each yields findings, with a fix for each problem."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optbench.catalog import lookup
from optbench.cpu_cores import cores
from optbench.errors import OptbenchError
from optbench.executor.api import Settings, StopRequest
from optbench.executor.dispatch import Dispatcher
from optbench.executor.local import LocalExecutor
from optbench.plurals import counted
from optbench.store import SuiteFolder, read
from optbench.store.files import cause
from optbench.suite.find import find
from optbench.suite.load import load
from optbench.suite.plan import plan

_PROBE_BYTES = 64_000_000
_ENOUGH_BYTES = 2_000_000_000
_SLOW_BYTES_PER_SECOND = 20e6
_SLOW_RECORD_SECONDS = 0.1
_BUSY = 0.25  # load per core before optbench starts anything


@dataclass(frozen=True)
class Finding:
    """The result of one check. `bad`: runs fail. `warning`: runs are affected. `advice`: the fix; empty if `ok`."""

    topic: str
    state: Literal["ok", "warning", "bad"]
    detail: str
    advice: str = ""


def examine(data_root: Path, results: Path, device: str = "auto") -> Iterator[Finding]:
    """Yield the findings of all checks as they become available. All files created are removed."""
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("installation", installation),
        ("torch", torch_and_torchvision),
        ("GPU", gpu),
        ("processor", processor),
        ("data", lambda: data(data_root)),
        ("results", lambda: disk("results", results)),
        ("training", lambda: training(data_root, device)),
    )
    for topic, check in checks:
        try:
            yield from check()
        except OptbenchError as error:
            yield Finding(
                topic,
                "bad",
                "; ".join(map(str, error.problems)),
                "fix the cause, or choose another device or folder",
            )
        except Exception as error:  # a broken installation can raise any exception
            yield Finding(topic, "bad", f"{type(error).__name__}: {error}", "reinstall optbench")


def installation() -> Iterator[Finding]:
    """Compare Python and the installed packages with the requirements of optbench."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for requirement in importlib.metadata.requires("optbench") or []:
        match = re.match(r"([A-Za-z0-9_.-]+)>=([0-9.]+)$", requirement)
        if match is None:
            continue  # an extra
        name, minimum = match.groups()
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "bad", "not installed", f"pip install '{requirement}'")
            continue
        if _numbers(installed) < _numbers(minimum):
            yield Finding(
                name, "bad", f"{installed}; at least {minimum} is required", f"pip install '{requirement}'"
            )
    yield Finding("optbench", "ok", importlib.metadata.version("optbench"))


def torch_and_torchvision() -> Iterator[Finding]:
    """Check that torch and torchvision match: compiled operators of a torchvision for another torch do not load."""
    import torch

    yield Finding("torch", "ok", torch.__version__)
    version = importlib.metadata.version("torchvision")
    try:
        import torchvision.ops

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        yield Finding(
            "torchvision",
            "bad",
            f"{version} does not match this torch: {reason}",
            "pip install --upgrade torch torchvision (together)",
        )
        return
    yield Finding("torchvision", "ok", f"{version}, matches this torch")


def gpu() -> Iterator[Finding]:
    """Report the GPUs that torch can use, and those that it cannot."""
    import torch

    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        detail = f"cuda:{index} {facts.name}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"
        if free < 0.9 * total:
            yield Finding(
                "GPU", "warning", detail, "another program uses this GPU: stop it before timed trials"
            )
        else:
            yield Finding("GPU", "ok", detail)
    if torch.cuda.device_count():
        return
    card = _nvidia_card()
    if card and torch.version.cuda is None:
        advice = "install a torch build with CUDA: https://pytorch.org/get-started/locally/"
        yield Finding("GPU", "warning", f"{card} found, but this torch supports CPUs only", advice)
    elif card:
        advice = (
            f"this torch is built for CUDA {torch.version.cuda}: update the driver, or install an older torch"
        )
        yield Finding("GPU", "warning", f"{card} found, but torch cannot use it", advice)
    elif torch.backends.mps.is_available():
        yield Finding("GPU", "ok", "Apple GPU (mps)")
    else:
        yield Finding("GPU", "ok", "none; trials run on the CPU")


def processor() -> Iterator[Finding]:
    """Report the cores and threads available to trials, and the load by other programs."""
    import torch

    available, threads = cores(), torch.get_num_threads()
    detail = f"{counted(available, 'core')}, {counted(threads, 'thread')} per trial"
    if threads > available:
        yield Finding(
            "threads", "warning", detail, f"more threads than cores: run with --threads {available}"
        )
    else:
        yield Finding("threads", "ok", detail)
    with contextlib.suppress(OSError, AttributeError):
        load = os.getloadavg()[0] / available
        busy = load > _BUSY
        yield Finding(
            "load",
            "warning" if busy else "ok",
            f"{load:.2f} running processes per core over the last minute",
            "other programs affect timed trials: wait until they end, or use another machine" if busy else "",
        )


def data(root: Path) -> Iterator[Finding]:
    """Report the data root and which of the catalog's data sets are available in it."""
    yield from disk("data root", root, speed=False)
    sources = []
    for name in lookup.names("data"):
        with contextlib.suppress(OptbenchError, TypeError, AttributeError):
            info = lookup.load(lookup.resolve("data", name)).describe(root)
            sources.append((name, info.source))
    missing = [name for name, source in sources if "download" in source]
    absent = [name for name, source in sources if "not there" in source]
    available = [name for name, _ in sources if name not in (*missing, *absent)]
    yield Finding("data sets", "ok", f"available: {', '.join(available) or 'none'}")
    if missing:
        yield Finding("data sets", "ok", f"downloaded when first used: {', '.join(missing)}")
    if absent:
        yield Finding("data sets", "ok", f"to be copied to the data root by hand: {', '.join(absent)}")


def disk(topic: str, folder: Path, speed: bool = True) -> Iterator[Finding]:
    """Check that a folder can be created and written, its free space, and its write speed."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    name = f"{folder}" if existing == folder else f"{folder} (to be created)"
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".optbench-doctor-") as file:
            free = shutil.disk_usage(existing).free
            rate, record = _speed(file.fileno(), min(_PROBE_BYTES, free // 4)) if speed else (None, None)
    except OSError as error:
        advice = "choose another folder: --results DIR, --data DIR or OPTBENCH_DATA"
        yield Finding(topic, "bad", f"{name}: not writable: {cause(error)}", advice)
        return
    detail = f"{name}, {free / 1e9:.1f} GB free"
    if free < _ENOUGH_BYTES:
        yield Finding(
            topic, "warning", detail, "large data sets and checkpoints may not fit: free disk space"
        )
    else:
        yield Finding(topic, "ok", detail)
    if rate is None or record is None:
        return
    detail = f"{rate / 1e6:.0f} MB/s, {1000 * record:.1f} ms per record"
    if rate < _SLOW_BYTES_PER_SECOND or record > _SLOW_RECORD_SECONDS:
        yield Finding(
            "write speed", "warning", detail, "this disk slows down records and checkpoints: use a local disk"
        )
    else:
        yield Finding("write speed", "ok", detail)


def training(data_root: Path, device: str) -> Iterator[Finding]:
    """Run one trial of the smoke suite in its own process, store its records and read them."""
    loaded = load(find("smoke"), ("workload.budget.epochs=1",), 1)
    with tempfile.TemporaryDirectory(prefix="optbench-doctor-") as temporary:
        folder = SuiteFolder.of(Path(temporary), "smoke")
        folder.create()
        since = time.monotonic()
        settings, stop, trials = Settings(), StopRequest(), plan(loaded)[:1]
        with contextlib.closing(LocalExecutor(folder.path, settings, data_root, device)) as executor:
            slots = executor.open(trials, lambda line: None, stop)
            dispatcher = Dispatcher(executor, folder, settings, stop, stall_seconds=120.0)
            summary = dispatcher.run_timed(trials, slots[:1], lambda trial, event: None)
        seconds = time.monotonic() - since
        (log,) = read([folder.path]).suites[0].logs
    end, start = log.finished, log.started
    if end is None or start is None or summary.ended.get("completed") != 1:
        yield Finding(
            "training",
            "bad",
            f"a test trial failed: {end.reason if end else 'no result'}",
            "fix the cause named here",
        )
        return
    device_name = start.environment.get("device_name")
    yield Finding(
        "training",
        "ok",
        f"{end.step} steps on {device_name} in {seconds:.1f} s, including process start, data and records",
    )


def _speed(descriptor: int, size: int) -> tuple[float, float]:
    """Return bytes per second of one large synced write, and the median seconds of 20 small ones."""
    block = os.urandom(1_000_000)
    since = time.perf_counter()
    for _ in range(max(1, size // len(block))):
        os.write(descriptor, block)
    os.fsync(descriptor)
    rate = max(1, size // len(block)) * len(block) / (time.perf_counter() - since)
    small = []
    for _ in range(20):
        since = time.perf_counter()
        os.write(descriptor, block[:500])
        os.fsync(descriptor)
        small.append(time.perf_counter() - since)
    return rate, sorted(small)[10]


def _nvidia_card() -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
