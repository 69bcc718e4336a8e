"""Is this machine fit to measure on? One finding a question, each with what to do about it. For `optbench doctor`."""

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from optbench.errors import OptbenchError
from optbench.machine import cores
from optbench.plurals import counted
from optbench.store.files import cause

_PROBE_BYTES = 64_000_000
_ENOUGH_BYTES = 2_000_000_000
_SLOW_BYTES_PER_SECOND = 20e6
_SLOW_RECORD_SECONDS = 0.1
_BUSY = 0.25  # load a core before anything of ours runs


@dataclass(frozen=True)
class Finding:
    """`advice` is empty where all is well. `bad` means that runs fail; `warning` that they suffer."""

    topic: str
    state: Literal["ok", "warning", "bad"]
    found: str
    advice: str = ""


def examine(data_root: Path, results: Path, device: str = "auto") -> Iterator[Finding]:
    """All findings, each as soon as it is known. Leaves nothing behind."""
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
            yield Finding(topic, "bad", "; ".join(map(str, error.problems)), "fix it or choose another")
        except Exception as error:  # a broken installation can raise anything, and this is who must tell
            yield Finding(topic, "bad", f"{type(error).__name__}: {error}", "install optbench anew")


def installation() -> Iterator[Finding]:
    """Python and the packages that optbench needs, against its own requirements."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for requirement in importlib.metadata.requires("optbench") or []:
        match = re.match(r"([A-Za-z0-9_.-]+)>=([0-9.]+)$", requirement)
        if match is None:
            continue  # an extra
        name, least = match.groups()
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "bad", "not installed", f"pip install '{requirement}'")
            continue
        if _numbers(there) < _numbers(least):
            yield Finding(name, "bad", f"{there}; {least} is needed", f"pip install '{requirement}'")
    yield Finding("optbench", "ok", importlib.metadata.version("optbench"))


def torch_and_torchvision() -> Iterator[Finding]:
    """Both must come from one build: compiled operators of a torchvision for another torch do not load."""
    import torch

    yield Finding("torch", "ok", torch.__version__)
    there = importlib.metadata.version("torchvision")
    try:
        import torchvision.ops

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        why = str(error).strip().partition("\n")[0]
        yield Finding(
            "torchvision",
            "bad",
            f"{there} does not fit: {why}",
            "pip install --upgrade torch torchvision (together)",
        )
        return
    yield Finding("torchvision", "ok", f"{there}, which fits")


def gpu() -> Iterator[Finding]:
    """What torch can use, and what is there that it can't."""
    import torch

    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        found = f"cuda:{index} {facts.name}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"
        if free < 0.9 * total:
            yield Finding("GPU", "warning", found, "another program uses it: timed trials want it alone")
        else:
            yield Finding("GPU", "ok", found)
    if torch.cuda.device_count():
        return
    card = _nvidia_card()
    if card and torch.version.cuda is None:
        advice = "install a torch that is built for CUDA: https://pytorch.org/get-started/locally/"
        yield Finding("GPU", "warning", f"{card} is there, but this torch is built for CPUs only", advice)
    elif card:
        advice = (
            f"this torch is built for CUDA {torch.version.cuda}: update the driver, or install an older torch"
        )
        yield Finding("GPU", "warning", f"{card} is there, but torch can't use it", advice)
    elif torch.backends.mps.is_available():
        yield Finding("GPU", "ok", "Apple's, as mps")
    else:
        yield Finding("GPU", "ok", "none; trials run on the CPU")


def processor() -> Iterator[Finding]:
    """Cores that this process may use, threads that trials will use, and who else is at work."""
    import torch

    available, threads = cores(), torch.get_num_threads()
    found = f"{counted(available, 'core')}, {counted(threads, 'thread')} per trial"
    if threads > available:
        yield Finding("threads", "warning", found, f"more threads than cores: run with --threads {available}")
    else:
        yield Finding("threads", "ok", found)
    with contextlib.suppress(OSError, AttributeError):
        load = os.getloadavg()[0] / available
        busy = load > _BUSY
        yield Finding(
            "load",
            "warning" if busy else "ok",
            f"{load:.2f} running programs a core in the last minute",
            "other programs disturb timed trials: wait for them, or time on another machine" if busy else "",
        )


def data(root: Path) -> Iterator[Finding]:
    """The data root, and which of the catalog's data sets are in it."""
    yield from disk("data root", root, speed=False)
    from optbench.catalog import lookup

    sources = []
    for name in lookup.names("data"):
        with contextlib.suppress(OptbenchError, TypeError, AttributeError):
            info = lookup.load(lookup.resolve("data", name)).describe(root)
            sources.append((name, info.source))
    missing = [name for name, source in sources if "download" in source]
    absent = [name for name, source in sources if "not there" in source]
    there = [name for name, _ in sources if name not in (*missing, *absent)]
    yield Finding("data sets", "ok", f"at hand: {', '.join(there) or 'none'}")
    if missing:
        yield Finding("data sets", "ok", f"downloaded when a suite needs them: {', '.join(missing)}")
    if absent:
        yield Finding("data sets", "ok", f"to be put below the data root by hand: {', '.join(absent)}")


def disk(topic: str, folder: Path, speed: bool = True) -> Iterator[Finding]:
    """Whether a folder can be made and written, how much room there is, and how fast it is."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    name = f"{folder}" if place == folder else f"{folder} (to be made)"
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".optbench-doctor-") as file:
            free = shutil.disk_usage(place).free
            rate, record = _speed(file.fileno(), min(_PROBE_BYTES, free // 4)) if speed else (None, None)
    except OSError as error:
        advice = "choose another place: --results DIR, --data DIR or OPTBENCH_DATA"
        yield Finding(topic, "bad", f"{name}: cannot write here: {cause(error)}", advice)
        return
    found = f"{name}, {free / 1e9:.1f} GB free"
    if free < _ENOUGH_BYTES:
        yield Finding(topic, "warning", found, "large data sets and checkpoints may not fit: make space")
    else:
        yield Finding(topic, "ok", found)
    if rate is None or record is None:
        return
    found = f"{rate / 1e6:.0f} MB/s, {1000 * record:.1f} ms a record"
    if rate < _SLOW_BYTES_PER_SECOND or record > _SLOW_RECORD_SECONDS:
        yield Finding(
            "write speed", "warning", found, "records and checkpoints wait for this disk: take a local one"
        )
    else:
        yield Finding("write speed", "ok", found)


def training(data_root: Path, device: str) -> Iterator[Finding]:
    """A real trial of the smoke suite, in a process of its own, stored and read back."""
    from optbench.executor.local import Summary, run
    from optbench.executor.process import StopRequest
    from optbench.executor.worker import Settings
    from optbench.store import SuiteFolder, read
    from optbench.suite.find import find
    from optbench.suite.load import load
    from optbench.suite.plan import plan

    loaded = load(find("smoke"), ("workload.budget.epochs=1",), 1)
    with tempfile.TemporaryDirectory(prefix="optbench-doctor-") as place:
        folder = SuiteFolder.of(Path(place), "smoke")
        folder.create()
        since = time.monotonic()
        settings = replace(Settings(device, data_root), stall_seconds=120.0)
        summary: Summary = run(plan(loaded)[:1], folder, settings, lambda trial, event: None, StopRequest())
        seconds = time.monotonic() - since
        (log,) = read([folder.path]).suites[0].logs
    end, start = log.finished, log.started
    if end is None or start is None or summary.ended.get("completed") != 1:
        yield Finding(
            "training", "bad", f"a tiny trial failed: {end.reason if end else 'no result'}", "see above"
        )
        return
    where = start.environment.get("device_name")
    yield Finding(
        "training", "ok", f"{end.step} steps on {where}, with process, data and records in {seconds:.1f} s"
    )


def _speed(descriptor: int, size: int) -> tuple[float, float]:
    """Bytes a second of one large synced write; seconds of a small one, in the middle of twenty."""
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
