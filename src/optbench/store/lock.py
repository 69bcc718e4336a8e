"""One writer per folder. The kernel releases the lock with its process, so a dead run never blocks the next one."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from optbench.errors import OptbenchError
from optbench.store.files import explained
from optbench.store.holder import MAX_LOCK_BYTES
from optbench.store.input_files import read_file
from optbench.store.records import from_json


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the file while the block runs. Raises `OptbenchError` with the process that has the lock."""
    import fcntl  # not on Windows, where reports must still work

    descriptor = _opened(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while not _is_at(descriptor, path):  # the holder removed the file before releasing the lock
                os.close(descriptor)
                descriptor = -1
                descriptor = _opened(path)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OptbenchError(_busy(path), file=str(path.parent)) from None
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP):
                message = "this file system has no locks: choose another folder with --results"
                raise OptbenchError(message, file=str(path.parent)) from error
            raise explained(error, path) from error
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
        }
        with contextlib.suppress(OSError):  # full disk: the lock works without the name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        try:
            yield
        finally:  # only a killed process leaves its name
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise explained(error, path) from error


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _busy(path: Path) -> str:
    try:
        owner = from_json(read_file(path, path.parent, MAX_LOCK_BYTES))
        holder = f"process {owner['pid']} on {owner['host']} (since {owner['started']})"
    except (OSError, ValueError, KeyError, TypeError):
        holder = "another process"
    return (
        f"{holder} is running this suite in this folder: wait for it, stop it, "
        f"or choose another folder with --results"
    )
