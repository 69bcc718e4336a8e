"""Limits of this process: of memory, to explain why a worker process could not start, and of open files."""

from __future__ import annotations

import contextlib
from pathlib import Path

_SMALL_BYTES = 2_000_000_000  # loading PyTorch takes up to this much
_OTHER_FILES = 1000  # pipes of workers, modules, connections to a cluster


def memory_limits() -> str:
    """Return a sentence on the limits that may keep PyTorch from loading; empty if there are none."""
    limits = [*_process_limits(), *_group_limits()]
    return f". Loading PyTorch may need more than {' and '.join(limits)}" if limits else ""


def _process_limits() -> list[str]:
    try:
        import resource
    except ImportError:
        return []
    names = {"RLIMIT_AS": "ulimit -v", "RLIMIT_DATA": "ulimit -d"}
    soft = {words: resource.getrlimit(getattr(resource, name))[0] for name, words in names.items()}
    return [
        f"the memory limit of {limit / 1e6:.0f} MB ({words})"
        for words, limit in soft.items()
        if limit != resource.RLIM_INFINITY
    ]


def _group_limits() -> list[str]:
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().rpartition("::")[2]
        text = Path(f"/sys/fs/cgroup{group}/memory.max").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return []
    if not text.isdecimal() or int(text) > _SMALL_BYTES:
        return []
    return [f"the memory limit of {int(text) / 1e6:.0f} MB of this job or container"]


def allow_open_files(count: int) -> None:
    """Raise this process's limit of open files, which is often 1024, so that it can open this many besides its own."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count + _OTHER_FILES
        if resource.RLIM_INFINITY != soft < wanted:
            limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
