"""Whole files written safely, names that people and file systems live with, errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import unicodedata
from functools import lru_cache
from pathlib import Path

from optbench.errors import OptbenchError, Problem

_FREE = "free some space and run the same command again, it goes on from here"
_MOVE = "choose another place with --results"
_TEMPORARY = ".tmp"
_ADVICE = {
    errno.ENOSPC: f"the disk is full: {_FREE}",
    errno.EDQUOT: f"the disk quota is used up: {_FREE}",
    errno.EROFS: f"the file system is read-only: {_MOVE}",
    errno.EACCES: f"no permission: {_MOVE}",
    errno.EPERM: f"no permission: {_MOVE}",
    errno.ENOTDIR: f"a file is where a folder is expected: {_MOVE}, or move the file",
    errno.EEXIST: f"a file is where a folder is expected: {_MOVE}, or move the file",
    errno.ENAMETOOLONG: f"the path is too long: {_MOVE}",
}


def explained(error: OSError, path: Path, needed_bytes: int | None = None) -> OptbenchError:
    """The same failure in words that say what a person can do about it."""
    advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
    if error.errno == errno.ENOSPC and needed_bytes is not None:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            advice += f" ({needed_bytes:,} bytes are needed, {free:,} are free; a megabyte more is wise)"
    return OptbenchError(Problem(f"cannot write here: {advice}", file=str(path)))


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explained(error, path) from error


def write_whole(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Replace the file in one move: a reader, or a crash, sees the old content or the new, never a part.

    Without `sync` that holds but for a power cut: for many files that can be made again, with one `sync_all` at the end.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    temporary = path.with_name(f".{path.name[:40]}.{os.getpid()}{_TEMPORARY}")
    try:
        try:
            with temporary.open("wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if sync:
            sync_folder(path.parent)
    except OSError as error:
        raise explained(error, path, len(data)) from error


def sweep(folder: Path) -> None:
    """Remove what `write_whole` left behind in processes that were killed."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        pid = path.name.removesuffix(_TEMPORARY).rpartition(".")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def sync_folder(path: Path) -> None:
    """Make a created or renamed file survive a power cut. File systems that cannot do it are left alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def sync_all() -> None:
    """Everything written so far survives a power cut, where the system has a call for that."""
    if hasattr(os, "sync"):
        os.sync()


@lru_cache(maxsize=10_000)
def slug(text: str, length: int = 40) -> str:
    """A readable part of a file name. Not unique: pair it with an id.

    Letters and digits of any script stay; no separators, no leading dot, at most `length` characters
    and three times as many bytes.
    """
    plain = unicodedata.normalize("NFKC", text)
    kept = re.sub(r"[^\w.+-]+", "-", plain)
    kept = re.sub(r"-{2,}", "-", kept)[:length].strip("-.")
    while len(kept.encode()) > 3 * length:
        kept = kept[:-1]
    return kept or "unnamed"


def folder_name(text: str) -> str:
    """A folder's name for a suite: the suite's own name where that is safe, else a slug with a short hash."""
    name = slug(text, 60)
    return name if name == text else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
