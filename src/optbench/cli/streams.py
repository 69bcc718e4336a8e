"""Standard streams: closed ones are replaced, and a failed write to standard output is an error in one line."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
from typing import TextIO

from optbench.errors import OptbenchError, ReaderGone


def prepare_streams() -> None:
    """Replace the standard streams of the process by ones whose failures `main` can report.

    Writing to a closed standard output fails as writing to a full one does. Standard error is for messages only, so
    errors in writing it are ignored. Streams that a caller has redirected inside Python are left unchanged.
    """
    _open_missing(0, os.O_RDONLY)
    _open_missing(1, os.O_RDONLY)  # so that a write fails, and no other file gets this number
    _open_missing(2, os.O_WRONLY)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr, line_buffering=True)


def flush_or_discard_output() -> None:
    """Drop what cannot be written to standard output, so that the interpreter does not fail on it at its exit."""
    try:
        sys.stdout.flush()
    except (ReaderGone, OptbenchError):
        _point_to_null(1)
        sys.stdout.flush()


def accept_closed_output() -> None:
    """Discard output if standard output is closed: for commands whose results are files."""
    import fcntl

    with contextlib.suppress(OSError):
        if fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            _point_to_null(1)


def discard_messages(error: OSError | None = None) -> None:
    """Discard further messages: the terminal was closed, or the program that read them ended."""
    with contextlib.suppress(OSError):
        if os.path.sameopenfile(1, 2) and (error is None or error.errno != errno.ENOSPC):
            _point_to_null(1)
    _point_to_null(2)


class _Output(io.FileIO):
    def write(self, content: object) -> int:
        try:
            return super().write(content)  # type: ignore[arg-type]
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            if error.errno == errno.EIO and stat.S_ISCHR(os.fstat(1).st_mode):  # the terminal was closed
                _point_to_null(1)
                return super().write(content)  # type: ignore[arg-type]
            raise OptbenchError(f"cannot write to standard output: {error.strerror}") from None


class _Messages(io.FileIO):
    def write(self, content: object) -> int:
        try:
            return super().write(content)  # type: ignore[arg-type]
        except OSError as error:
            discard_messages(error)
            return len(memoryview(content).cast("B"))  # type: ignore[arg-type]


def _text(raw: io.FileIO, stream: TextIO | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    """Wrap `raw` as text in the encoding of `stream`; a character that the encoding lacks is escaped."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=line_buffering or raw.isatty(),
        write_through=getattr(stream, "write_through", False),
    )


def _open_missing(descriptor: int, flags: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        _point_to_null(descriptor, flags)


def _point_to_null(descriptor: int, flags: int = os.O_WRONLY) -> None:
    null = os.open(os.devnull, flags)
    if null == descriptor:
        os.set_inheritable(null, True)
    else:
        os.dup2(null, descriptor)
        os.close(null)
