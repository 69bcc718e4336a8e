"""Checkpoints on disk: written to a temporary file, synced and renamed; read without executing code."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from optbench.engine import safe_pickle
from optbench.errors import OptbenchError, Problem

FORMAT = 1
_RESERVE_BYTES = 1_000_000  # kept free for records, which matter more than a checkpoint
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is exceeded",
    errno.EFBIG: "the file size limit (ulimit -f) is reached",
}


class NoSpace(OptbenchError):
    """The disk is full: neither this trial nor any other can continue."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically: a crash at any moment leaves the old file or the new one.

    Raises `NoSpace` with the required bytes, before anything is damaged; `OSError` for other disk errors.
    """
    path.parent.mkdir(exist_ok=True)  # not its parents: the results may be on a file system that is away
    needed = _bytes_in(state) * 101 // 100 + 100_000 + _RESERVE_BYTES
    if shutil.disk_usage(path.parent).free < needed:
        raise _no_space(path, needed)
    temporary = path.with_name(f"{_temporary_prefix(path)}{os.getpid()}")
    hashing: _Hashing | None = None
    try:
        with temporary.open("wb") as file:
            hashing = _Hashing(file)
            safe_pickle.write({"format": FORMAT, **state}, hashing)
            file.write(hashing.digest.digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError where a write failed
        cause = hashing.failure if hashing is not None and hashing.failure is not None else error
        if is_disk_full(cause) or shutil.disk_usage(path.parent).free < needed:
            raise _no_space(path, needed, getattr(cause, "errno", None)) from error
        raise cause from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


class Unusable(Exception):
    """A checkpoint exists and cannot be used; the message is the reason, as a clause."""


def load(path: Path, trial_id: str, packages: Collection[str] = ()) -> dict[str, Any] | None:
    """Return the state saved for this trial, on the CPU; None if there is none or it cannot be used."""
    try:
        return read(path, trial_id, packages)
    except Unusable:
        return None


def read(path: Path, trial_id: str, packages: Collection[str] = ()) -> dict[str, Any] | None:
    """Return the state saved for this trial, on the CPU; None if there is none. Raises `Unusable`.

    It may contain classes of `packages` (`engine/safe_pickle.py`). Deletes temporary files of a process killed during `save`.
    """
    for temporary in path.parent.glob(f"{_temporary_prefix(path)}*"):
        with contextlib.suppress(OSError):
            temporary.unlink()
    if not path.exists():
        return None
    try:
        if not path.is_file() or not _is_whole(path):
            raise Unusable("it is damaged")
        state: dict[str, Any] = safe_pickle.read(path, packages)
    except Unusable:
        raise
    except safe_pickle.NotAllowed as error:
        raise Unusable(str(error)) from error
    except Exception as error:
        raise Unusable(f"it cannot be read ({type(error).__name__})") from error
    if not isinstance(state, dict) or (state.get("format"), state.get("trial_id")) != (FORMAT, trial_id):
        raise Unusable("it is of another trial or of another version of optbench")
    return state


def is_disk_full(error: BaseException) -> bool:
    """Return whether a write failed because of a full disk, a quota, or a limit on file sizes."""
    return isinstance(error, OSError) and error.errno in _FULL


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of the global generators, as plain numbers and tensors."""
    kind, keys, *rest = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def torch_generators(device: torch.device) -> list[Tensor]:
    """Return the states of torch's global generators, on the host and on the device."""
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *on_device]


def restore_torch_generators(states: list[Tensor], device: torch.device) -> None:
    """Set the states that `torch_generators` returned."""
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set the states that `random_state` returned."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


class _Hashing:
    """A file for `torch.save` that hashes what is written. The digest is appended after it, where torch does not read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.failure: OSError | None = None

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        try:
            return self.file.write(content)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _is_whole(path: Path) -> bool:
    """Return whether the file's digest matches its content: torch loads corrupted weights without an error."""
    digest, size = hashlib.sha256(), hashlib.sha256().digest_size
    remaining = path.stat().st_size - size
    with path.open("rb") as file:
        while remaining > 0 and (chunk := file.read(min(remaining, 1 << 20))):
            digest.update(chunk)
            remaining -= len(chunk)
        return file.read() == digest.digest()


def _temporary_prefix(path: Path) -> str:
    return f".{path.name}."


def _no_space(path: Path, needed: int, number: int | None = errno.ENOSPC) -> NoSpace:
    free = shutil.disk_usage(path.parent).free
    limit = _FULL.get(number or 0, _FULL[errno.ENOSPC])
    left = f" and {free / 1e6:.1f} MB are free" if limit == _FULL[errno.ENOSPC] else ""
    return NoSpace(
        Problem(
            f"{limit}: a checkpoint needs {needed / 1e6:.1f} MB{left}. Saved results are intact: "
            "make space and run the same command again to resume from the last checkpoint",
            file=str(path.parent),
        )
    )


def _bytes_in(root: Any) -> int:
    """Estimate the size of the file; a container that contains itself is counted once."""
    total, stack, visited = 0, [root], set()
    while stack:
        node = stack.pop()
        if isinstance(node, Tensor):
            total += node.numel() * node.element_size()
        elif isinstance(node, (dict, list, tuple)):
            if id(node) not in visited:
                visited.add(id(node))
                stack.extend(node.values() if isinstance(node, dict) else node)
        else:
            total += getattr(node, "nbytes", 16)
    return total
