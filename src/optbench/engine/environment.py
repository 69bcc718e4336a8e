"""Facts about the machine and the software that are needed to repeat a trial (rule 8)."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from optbench.engine import allocator
from optbench.revision import revision
from optbench.version import __version__

command = " ".join(sys.argv)
"""Recorded as the command of the trials of this process."""


def environment(device: torch.device, folder: str, threads: int | None = None) -> dict[str, Any]:
    """Return versions, device, threads, settings, revision of the suite's repository and command. All values are plain JSON.

    `threads` are those of all processes of the trial; None: those of this process.
    """
    facts: dict[str, Any] = {
        **software(),
        "host": platform.node(),
        "device": device.type,
        "device_name": _device_name(device),
        "threads": threads or torch.get_num_threads(),
        "allocator": allocator.describe_allocator(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "command": command,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **revision(folder),
    }
    if device.type == "cuda":
        facts |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "tf32_convolutions": torch.backends.cudnn.allow_tf32,
            "device_memory_bytes": torch.cuda.get_device_properties(device).total_memory,
        }
    return facts


@cache
def software() -> dict[str, Any]:
    """Return the versions of the packages and a hash of optbench's sources: the same for all trials of one process and its children."""
    return {
        "optbench": __version__,
        "code": _code(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # a subclass of str; unpickling it would import torch
        "torchvision": _version("torchvision"),
        "numpy": _version("numpy"),
        "platform": platform.platform(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _code() -> str:
    """Return a hash of the sources that determine results, to distinguish revisions of one version."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for subpackage in ("catalog", "engine"):
        for path in sorted((package / subpackage).rglob("*.py")):
            digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
