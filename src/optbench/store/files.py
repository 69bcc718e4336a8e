"""Write files atomically, choose portable file names, and explain errors of the file system."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path

from optbench.errors import OptbenchError, ReaderGone

_FREE = "free some space and run the same command again; it resumes from here"
_MOVE = "choose another folder with --results"
_TEMPORARY = ".tmp"
#: cause and advice
_CAUSES = {
    errno.ENOSPC: ("the disk is full", _FREE),
    errno.EDQUOT: ("the disk quota is exceeded", _FREE),
    errno.EFBIG: (
        "the file size limit (ulimit -f) is reached",
        "raise it and run the same command again",
    ),
    errno.EROFS: ("the file system is read-only", _MOVE),
    errno.EACCES: ("no permission", _MOVE),
    errno.EPERM: ("no permission", _MOVE),
    errno.ENOTDIR: ("a file is where a folder is expected", f"{_MOVE}, or move the file"),
    errno.EEXIST: ("a file is where a folder is expected", f"{_MOVE}, or move the file"),
    errno.ELOOP: ("symbolic links form a loop, or a link where none is allowed", "remove it"),
    errno.ENAMETOOLONG: ("the path is too long", _MOVE),
}


def cause(error: OSError) -> str:
    """Return the reason why a file could not be written."""
    return _CAUSES.get(error.errno or 0, (error.strerror or str(error), ""))[0]


def explained(error: OSError, path: Path, needed_bytes: int | None = None) -> OptbenchError:
    """Return an error with the cause and a fix. `needed_bytes` is the size of the file."""
    advice = ": ".join(filter(None, (cause(error), _CAUSES.get(error.errno or 0, ("", ""))[1])))
    if error.errno == errno.ENOSPC and needed_bytes is not None:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            advice += f" ({needed_bytes:,} bytes are needed, {free:,} are free; allow another megabyte)"
    return OptbenchError(f"cannot write here: {advice}", file=str(path))


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explained(error, path) from error


def write_whole(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Replace a regular file atomically: readers see the old content or the new one, also after a crash.

    A symbolic link is followed, and the file's permissions are kept. Anything else (a device, a FIFO, standard
    output) is opened and written. Without `sync` a power cut may lose the file: for many files that can be made again,
    with one `sync_all` at the end. Raises `OptbenchError` if the file cannot be written.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    try:
        facts = _facts(path)
        if facts is not None and (not stat.S_ISREG(facts.st_mode) or _standard_descriptor(facts)):
            _write_into(path, data, _standard_descriptor(facts))
            return
        target = Path(os.path.realpath(path))
        _replace(target, data, None if facts is None else stat.S_IMODE(facts.st_mode), sync=sync)
        if sync:
            sync_folder(target.parent)
    except OSError as error:
        raise explained(error, path, len(data)) from error


def _facts(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # also a link to a file that is not there yet
        return None


def is_standard_stream(path: Path) -> bool:
    """Return whether the path is the file, device or pipe of standard output or standard error."""
    try:
        return _standard_descriptor(path.stat()) is not None
    except OSError:
        return False


def _standard_descriptor(facts: os.stat_result) -> int | None:
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(facts, os.fstat(descriptor)):
                return descriptor
    return None


def _write_into(path: Path, data: bytes, descriptor: int | None) -> None:
    """Write to an open descriptor at its position, or to what `path` names, which is not created or truncated."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()  # what was printed before comes first
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
    opened = os.open(path, flags) if descriptor is None else os.dup(descriptor)
    try:
        with open(opened, "wb") as file:
            file.write(data)
    except BrokenPipeError:
        raise ReaderGone from None


def _replace(target: Path, data: bytes, mode: int | None, *, sync: bool) -> None:
    temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            if mode is not None:
                with contextlib.suppress(OSError):  # file systems that cannot do it
                    temporary.chmod(mode)
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(folder: Path) -> None:
    """Remove temporary files of `write_whole` in processes that were killed."""
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
    """Make a created or renamed file survive a power cut. File systems without support are ignored."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def sync_all() -> None:
    """Sync all writes to disk, where the system has a call for it."""
    if hasattr(os, "sync"):
        os.sync()


@lru_cache(maxsize=10_000)
def slug(text: str, length: int = 40) -> str:
    """Return a readable part of a file name. It is not unique: pair it with an id.

    Letters and digits of any script stay; no separators, no leading dot, at most `length` characters
    and three times as many bytes.
    """
    plain = unicodedata.normalize("NFKC", text)
    kept = re.sub(r"[^\w.+-]+", "-", plain)
    kept = re.sub(r"-{2,}", "-", kept)[:length].strip("-.")
    while len(kept.encode("utf-8", "surrogatepass")) > 3 * length:
        kept = kept[:-1]
    return kept or "unnamed"


def folder_name(text: str) -> str:
    """Return a folder name for a suite: the suite's name if that is safe, otherwise a slug with a short hash."""
    name = slug(text, 60)
    return (
        name
        if name == text
        else f"{name}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
    )
