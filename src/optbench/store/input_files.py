"""Read files of results folders, which may be untrusted."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 256_000_000  # of one trial's records: about half a million evaluations
_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK")
)


def read_file(path: Path, folder: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file in `folder`, or below it.

    Raises `OSError`, with the reason as `strerror`, for a symbolic link that leads out of the folder, for a larger file, and
    for anything but a regular file: a FIFO would block, and a device may be endless.
    """
    real, root = os.path.realpath(path), os.path.realpath(folder)
    if os.path.commonpath([real, root]) != root:
        raise OSError(errno.EPERM, "a symbolic link that leads out of the results folder", str(path))
    if not stat.S_ISREG(os.stat(real).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with open(os.open(real, _FLAGS), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):  # replaced since
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if facts.st_size > max_bytes:
            limit = f"{max_bytes / 1e6:g} MB"
            raise OSError(
                errno.EFBIG, f"expected at most {limit}; found {facts.st_size / 1e6:.0f} MB", str(path)
            )
        return file.read(max_bytes)
