"""Text: a file or a folder of texts; without a path, the source code of Python's standard library."""

from __future__ import annotations

import codecs
import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from optbench.catalog.data._text import Level, check_utf8, described, splits
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError

TASK = "language"
RANGES = {"vocabulary": (257, None), "context": (1, None), "characters": (1, None)}
#: defaults of `optbench new`
STARTER = {"target": 3.0, "batch_size": 32, "most_epochs": 5}

_STANDARD_LIBRARY_BYTES = 1_000_000


def describe(
    root: Path,
    *,
    path: str | None = None,
    pattern: str = "*.txt",
    level: Literal["char", "byte", "subword"] = "byte",
    vocabulary: int = 1024,
    context: int = 64,
    characters: int | None = None,
) -> DataInfo:
    """`path`: a file, or a folder whose files that match `pattern` are joined in order. `characters`: maximum length that is read, in
    bytes; null reads all of a path, and 1,000,000 of the standard library. 80 % of the text is for training, then 10 % each for
    validation and test. `level: subword` learns a byte pair encoding of `vocabulary` entries from the training part
    (`optbench[subword]`)."""
    text, source = _read(path, pattern, characters, level)
    return described(text, level, vocabulary, context, source, root, hashlib.sha256(text).hexdigest()[:16])


def load(
    root: Path,
    *,
    path: str | None = None,
    pattern: str = "*.txt",
    level: Literal["char", "byte", "subword"] = "byte",
    vocabulary: int = 1024,
    context: int = 64,
    characters: int | None = None,
) -> Splits:
    """Return windows of `context` tokens; arguments as for `describe`."""
    text, source = _read(path, pattern, characters, level)
    info = described(text, level, vocabulary, context, source, root, hashlib.sha256(text).hexdigest()[:16])
    return splits(text, info, level, vocabulary, root)


def _read(path: str | None, pattern: str, limit: int | None, level: Level) -> tuple[bytes, str]:
    if path is None:
        library = _standard_library(limit or _STANDARD_LIBRARY_BYTES)
        return library, "the source code of Python's standard library"
    place = Path(path).expanduser()
    files = [place] if place.is_file() else sorted(place.rglob(pattern)) if place.is_dir() else []
    if not files:
        looked = f"no files {pattern} in it" if place.is_dir() else "no such file or folder"
        raise OptbenchError(f"path: {place}: {looked}")
    parts, size = [], 0
    for file in files:
        try:
            parts.append(file.read_bytes())
        except OSError as error:
            raise OptbenchError(f"path: {file}: {error.strerror}") from error
        if level != "byte":
            check_utf8(parts[-1], str(file))
            parts[-1] = parts[-1].removeprefix(codecs.BOM_UTF8)
        size += len(parts[-1])
        if limit is not None and size >= limit:
            break
    return _cut(b"".join(parts), limit), str(place)


@lru_cache(maxsize=2)
def _standard_library(limit: int) -> bytes:
    """Return the modules of the standard library, joined in order of their names. They differ between versions of Python."""
    parts, size = [], 0
    for file in sorted(Path(os.__file__).parent.glob("*.py")):
        parts.append(file.read_bytes())
        size += len(parts[-1])
        if size >= limit:
            break
    return _cut(b"".join(parts), limit)


def _cut(text: bytes, limit: int | None) -> bytes:
    """Return the first `limit` bytes, without the part of a UTF-8 character that they would end in."""
    if limit is None or limit >= len(text):
        return text
    start = limit
    while start > max(0, limit - 3) and text[start] & 0xC0 == 0x80:
        start -= 1
    return text[: start if text[start] & 0xC0 != 0x80 else limit]
