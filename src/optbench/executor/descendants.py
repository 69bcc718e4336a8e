"""Descendant processes that left the process group of a trial: find them through their parent and kill them. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS, _ROUND_SECONDS = 100, 0.01  # each round kills the children of those killed in the round before


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent ends (a child subreaper), in place of the init process."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children(pid: int, keep: Collection[int] = ()) -> None:
    """Kill all children of a process except `keep`, then the children that it adopted from them, until none are left."""
    for _ in range(_ROUNDS):
        remaining = [child for child in children(pid) if child not in keep]
        if not remaining:
            return
        for child in remaining:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        time.sleep(_ROUND_SECONDS)


def children(pid: int) -> list[int]:
    """Return the living children of a process; none if the system does not list them."""
    found: set[int] = set()
    with contextlib.suppress(OSError, ValueError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.update(map(int, (task / "children").read_text(encoding="ascii").split()))
    return [child for child in found if _is_alive(child)]


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"
