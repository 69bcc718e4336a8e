"""Downloads without partial files, and an error that states what to copy where on a machine without network."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import socket
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from optbench.errors import OptbenchError

_TIMEOUT = 30  # seconds without an answer
_LARGEST_BYTES = 4_000_000_000  # of an archive; a larger one is not read, not even for its checksum


def fetch(root: Path, archives: Mapping[str, str], download: Callable[[Path], None]) -> None:
    """Run `download(folder)` in a temporary folder and move the result into `root`. Safe with concurrent writers.

    `archives` maps each file, relative to `root`, to its MD5: those already in `root` with that MD5 are used, the others are
    downloaded (torchvision shows the progress and compares checksums). No other archive is unpacked, and only regular
    files and folders inside the target. Raises `OptbenchError` with each file, its destination and its MD5.
    """
    found = {name: _md5(root / name) for name in archives if (root / name).is_file()}
    present = [name for name in found if found[name] == archives[name]]
    missing = [name for name in archives if name not in present]
    if missing:
        logging.getLogger("optbench.data").info("downloading %s to %s", ", ".join(missing), root)
    before = socket.getdefaulttimeout()
    try:
        root.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".download-", dir=root))
        try:
            for name in present:
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                (aside / name).symlink_to((root / name).resolve())
            socket.setdefaulttimeout(_TIMEOUT)
            with _safe_extraction():
                download(aside)
            _move(aside, root)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except (
        OSError,
        RuntimeError,
        tarfile.TarError,
    ) as error:  # URLError is an OSError, torchvision raises RuntimeError
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        files = "".join(
            f"\n  {root / name}  (MD5 {md5}{_state(found.get(name), md5)})" for name, md5 in archives.items()
        )
        raise OptbenchError(
            f"the data could not be downloaded to {root}: {reason}. Without a network, put these files there:{files}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _state(found: str | None, md5: str) -> str:
    """Return a description of an existing file; `found` is its MD5."""
    if found is None:
        return ""
    return "; it is there" if found == md5 else f"; the one that is there has {found}"


def _md5(path: Path) -> str:
    """Return the MD5 of a file, or the reason why it cannot be read."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return f"more than {_LARGEST_BYTES:,} bytes"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        return f"an error when it is read ({error.strerror})"


@contextmanager
def _safe_extraction() -> Iterator[None]:
    """Make tarfile reject links and paths outside of the target, and devices; not the default before Python 3.14."""
    before = vars(tarfile.TarFile)["extraction_filter"]
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before


def _move(source: Path, target: Path) -> None:
    """Merge folders and replace files, each atomically. Links refer to files that were moved before."""
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_symlink():
            continue
        if path.is_dir() and place.is_dir():
            _move(path, place)
        else:
            os.replace(path, place)
