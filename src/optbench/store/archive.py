"""Records of a results folder in one compressed archive, `records.tar.xz`, and reading them from there or from single files.

The archive is an ordinary tar file with `plan.json`, `trials/*.jsonl` and `superseded/*.jsonl`. Reports, comparisons and exports read
it; whatever adds records unpacks it first. A single file takes precedence over the archived file of the same name, since an interrupted
`pack` or `unpack` leaves both, with equal content.
"""

from __future__ import annotations

import io
import lzma
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from optbench.errors import OptbenchError
from optbench.store.files import explained, make_folder, sync_all, sync_folder, write_whole
from optbench.store.input_files import MAX_BYTES, read_file
from optbench.suite_folders import ARCHIVE

MAX_UNPACKED_BYTES = 1_000_000_000
_MAX_MEMORY = 256_000_000  # of the decompressor; xz presets need up to 65 MB
_MEMBER = re.compile(r"plan\.json|(trials|superseded)/[^/\\\0]+\.jsonl")
_MAX_TIME = 2**40  # of a modification time, in seconds
_PATTERNS = ("plan.json", "trials/*.jsonl", "superseded/*.jsonl")


@dataclass(frozen=True)
class Packed:
    """What `pack` or `unpack` did. The bytes are those of the single files and of the archive."""

    folder: Path
    trials: int
    file_bytes: int
    archive_bytes: int


def has_records(folder: Path) -> bool:
    """Return whether any trial has records. Raises `OptbenchError` if the archive is damaged."""
    return any((folder / "trials").glob("*.jsonl")) or bool(record_paths(folder))


def record_paths(folder: Path, kind: str = "trials") -> list[Path]:
    """Return the paths of all records in `trials` or `superseded`, sorted. `read_record` reads them.

    Raises `OptbenchError` if the archive is damaged.
    """
    return [folder / kind / name for name in record_names(folder, kind)]


def record_names(folder: Path, kind: str = "trials") -> list[str]:
    """Return the names of these records, sorted. Raises as `record_paths`."""
    single: list[str] = []
    with suppress(FileNotFoundError, NotADirectoryError):
        single = [name for name in os.listdir(folder / kind) if name.endswith(".jsonl")]
    packed = (name for name in _members(folder) if name.startswith(f"{kind}/"))
    return sorted({*single, *(name.removeprefix(f"{kind}/") for name in packed)})


def has_record(path: Path) -> bool:
    """Return whether `read_record` can read `<folder>/<kind>/<name>`. Raises `OptbenchError` if the archive is damaged."""
    return path.exists() or _name(path) in _members(path.parent.parent)


def read_record(path: Path) -> bytes:
    """Return the content of the records at `<folder>/<kind>/<name>`. Raises `OSError`, or `OptbenchError` for a damaged archive."""
    return _read(path, path.parent.parent, _name(path), MAX_BYTES)


def read_stored_plan(folder: Path, max_bytes: int) -> bytes:
    """Return the text of the plan. Raises as `read_record`."""
    return _read(folder / "plan.json", folder, "plan.json", max_bytes)


def pack(folder: Path) -> Packed | None:
    """Move all records of the folder into its archive. Return None if there are none outside of it.

    The caller holds the lock. The archive is decoded and compared with the records before it is written, and files are removed after it
    was synced to disk and read back.
    """
    archived = _members(folder)
    files = {path.relative_to(folder).as_posix(): path for path in _single_files(folder)}
    if not files:
        return None
    goal = folder / ARCHIVE
    try:
        single = {name: _file(path, folder) for name, path in files.items()}
        newer = {name: of for name, of in single.items() if not _is_prefix(of[0], archived.get(name))}
        content = dict(archived) | newer
        unpacked = sum(len(data) for data, _ in content.values())
        if unpacked > MAX_UNPACKED_BYTES:
            message = (
                f"expected at most {MAX_UNPACKED_BYTES:,} bytes of records in one archive; found {unpacked:,}"
            )
            raise OptbenchError(message, file=str(folder))
        packed, differs = _compressed(content), "the archive differs from the records"
        if _decoded(packed, goal, differs, "the records are unchanged") != content:
            raise OptbenchError(f"{differs}: the records are unchanged", file=str(goal))
        write_whole(goal, packed)
        if _members(folder) != content:
            raise OptbenchError(f"{differs} after writing: the records are unchanged", file=str(goal))
        for path in files.values():
            path.unlink()
        for kind in ("trials", "superseded", "checkpoints"):
            with suppress(OSError):  # missing, or not empty
                (folder / kind).rmdir()
        sync_folder(folder)
    except OSError as error:
        raise explained(error, folder) from error
    return _packed(folder, content)


def unpack(folder: Path) -> Packed | None:
    """Restore the single files and remove the archive. Return None if there is none. The caller holds the lock."""
    archive = folder / ARCHIVE
    if not archive.exists():
        return None
    content = _members(folder)
    done = _packed(folder, content)
    try:
        for name, (data, modified) in content.items():
            path = folder / name
            if path.exists() and not _is_prefix(_file(path, folder)[0], (data, modified)):
                continue
            make_folder(path.parent)
            write_whole(path, data, sync=False)
            os.utime(path, (modified, modified))
        sync_all()
        archive.unlink()
        sync_folder(folder)
    except OSError as error:
        raise explained(error, folder) from error
    return done


def _is_prefix(data: bytes, archived: tuple[bytes, int] | None) -> bool:
    """Return whether a single file has nothing that the archive lacks: it is equal, or an `unpack` was killed while writing it."""
    return archived is not None and archived[0].startswith(data)


def _packed(folder: Path, content: Mapping[str, tuple[bytes, int]]) -> Packed:
    trials = sum(name.startswith("trials/") for name in content)
    size = sum(len(data) for data, _ in content.values())
    return Packed(folder, trials, size, (folder / ARCHIVE).stat().st_size)


def _single_files(folder: Path) -> Iterator[Path]:
    for pattern in _PATTERNS:
        yield from sorted(folder.glob(pattern))


def _file(path: Path, folder: Path) -> tuple[bytes, int]:
    try:
        return read_file(path, folder), int(path.stat().st_mtime)
    except OSError as error:
        raise OptbenchError(f"cannot read: {error.strerror}", file=str(path)) from error


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _read(path: Path, folder: Path, name: str, max_bytes: int) -> bytes:
    try:
        return read_file(path, folder, max_bytes)
    except FileNotFoundError:
        found = _members(folder).get(name)
        if found is None:
            raise
        return found[0]


def _compressed(content: Mapping[str, tuple[bytes, int]]) -> bytes:
    """Return the archive. Equal records give equal bytes: sorted by name, without an owner."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=6, format=tarfile.PAX_FORMAT) as tar:
        for name, (data, modified) in sorted(content.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), modified
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _members(folder: Path) -> Mapping[str, tuple[bytes, int]]:
    """Return the content and modification time of each member by name, empty without an archive."""
    archive = folder / ARCHIVE
    try:
        facts = archive.stat()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise OptbenchError(f"cannot read: {error.strerror}", file=str(archive)) from error
    return _content(archive, (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino))


@lru_cache(maxsize=2)
def _content(archive: Path, _: tuple[int, ...]) -> Mapping[str, tuple[bytes, int]]:
    try:
        packed = read_file(archive, archive.parent)
    except OSError as error:
        raise OptbenchError(f"cannot read: {error.strerror or error}", file=str(archive)) from error
    advice = "expected the archive that `optbench pack` writes. Restore it from a copy, or move it away and run the suite again"
    return _decoded(packed, archive, "damaged", advice)


def _decoded(packed: bytes, file: Path, problem: str, advice: str) -> Mapping[str, tuple[bytes, int]]:
    """Return the members of an archive, as `_members`. Raises `OptbenchError` with `problem`, the reason and `advice`."""
    try:
        with tarfile.open(fileobj=io.BytesIO(_decompressed(packed)), mode="r:") as tar:
            return {member.name: (_data(tar, member), int(member.mtime)) for member in tar}
    except (lzma.LZMAError, tarfile.TarError, EOFError, OSError, OverflowError, ValueError) as error:
        raise OptbenchError(f"{problem} ({str(error).rstrip('.')}): {advice}", file=str(file)) from error


def _decompressed(data: bytes) -> bytes:
    """Return the content of an xz file. Raises `ValueError` or `LZMAError` if it is damaged, incomplete or too large."""
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_MEMORY)
    text = reader.decompress(data, MAX_UNPACKED_BYTES + 1)
    if len(text) > MAX_UNPACKED_BYTES:
        raise ValueError(f"more than {MAX_UNPACKED_BYTES:,} bytes of records")
    if not reader.eof:
        raise ValueError("its end is missing")
    return text


def _data(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if not member.isreg() or _MEMBER.fullmatch(member.name) is None:
        raise ValueError(f"unexpected content '{member.name}'")
    if not abs(member.mtime) < _MAX_TIME:
        raise ValueError(f"'{member.name}' has an invalid modification time")
    file = tar.extractfile(member)
    data = file.read() if file is not None else b""
    if len(data) != member.size:
        raise ValueError(f"'{member.name}' is incomplete")
    return data
