"""Text files as tools leave them: gzip, byte order marks, UTF-16, Windows-1252."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from optbench.errors import OptbenchError
from optbench.importing.findings import Findings

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook: save its table as CSV",
    b"PAR1": "a Parquet file: save its table as CSV",
    b"SQLite format 3": "an SQLite database: export its table as CSV",
    b"%PDF": "a PDF file",
}


def read_bytes(path: Path) -> bytes:
    """Return the file's content, decompressed if it is a gzip file. Raises `OptbenchError` if it cannot be read."""
    if path.is_char_device() or path.is_block_device():
        raise OptbenchError("a device: expected a file", file=str(path))
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except IsADirectoryError as error:
        raise OptbenchError("a folder: expected a file", file=str(path)) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise OptbenchError(f"damaged gzip file: {error}", file=str(path)) from error
    except OSError as error:
        raise OptbenchError(f"cannot read: {error.strerror}", file=str(path)) from error


def read_text(path: Path, findings: Findings) -> str:
    """Return the file's text. A byte order mark decides the encoding, else UTF-8, else Windows-1252, which is reported.

    Raises `OptbenchError` if the file cannot be read or is not text.
    """
    content = read_bytes(path)
    for start, kind in _BINARY.items():
        if content.startswith(start):
            raise OptbenchError(f"{kind}: expected text", file=str(path))
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), _unmarked(content[:4096]))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise OptbenchError(f"not valid {encoding.upper()} text", file=str(path)) from error
        cut_off = error.reason == "unexpected end of data"  # within a character
        text = content.decode("utf-8" if cut_off else "cp1252", errors="replace")
        findings.note("files that are not UTF-8: read as Windows-1252", str(path), not cut_off)
    if "\0" in text:
        raise OptbenchError("binary data: expected text", file=str(path))
    return text


def _unmarked(start: bytes) -> str:
    """Return the encoding of text without a byte order mark: UTF-16 has a zero byte beside nearly every ASCII character."""
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(start) > 8 and start[offset::2].count(0) > 0.8 * (len(start) // 2) > 2 * start[
            1 - offset :: 2
        ].count(0):
            return encoding
    return "utf-8"
