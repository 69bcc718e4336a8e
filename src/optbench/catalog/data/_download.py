"""Downloads that leave nothing half done, and an error that helps a machine without a network."""

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
    """Run `download(folder)` aside and move what it made into `root`; safe with two writers.

    `archives` maps each file, relative to `root`, to its MD5: those already in `root` with that MD5 are used, the others are
    downloaded (torchvision shows the progress and compares checksums). Nothing else is unpacked, and of what is unpacked only
    regular files and folders inside the target. Raises OptbenchError that names each file, the place where it belongs and its MD5.
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
    """What is known of a file that is there; `found` is its MD5."""
    if found is None:
        return ""
    return "; it is there" if found == md5 else f"; the one that is there has {found}"


def _md5(path: Path) -> str:
    """The MD5 of a file, or why it has none."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return f"more than {_LARGEST_BYTES:,} bytes"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        return f"an error when it is read ({error.strerror})"


@contextmanager
def _safe_extraction() -> Iterator[None]:
    """Let tarfile refuse links and paths out of the target, and devices; not its default before Python 3.14."""
    before = vars(tarfile.TarFile)["extraction_filter"]
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before


def _move(source: Path, target: Path) -> None:
    """Folders are merged and files replaced, each at once; links point at what is in place already."""
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_symlink():
            continue
        if path.is_dir() and place.is_dir():
            _move(path, place)
        else:
            os.replace(path, place)
