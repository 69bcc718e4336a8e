"""Downloads that leave nothing half done, and an error that helps a machine without a network."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from optbench.errors import OptbenchError

_TIMEOUT = 30  # seconds without an answer


def fetch(root: Path, archives: Mapping[str, str], download: Callable[[Path], None]) -> None:
    """Run `download(folder)` aside and move what it made into `root`; safe with two writers.

    `archives` maps each file, relative to `root`, to its MD5: those already in `root` are used, the others are
    downloaded (torchvision shows the progress and compares checksums). Raises OptbenchError that names each file, the
    place where it belongs and its MD5.
    """
    present = [name for name in archives if (root / name).is_file()]
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
            download(aside)
            _move(aside, root)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError, torchvision raises RuntimeError
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        files = "".join(
            f"\n  {root / name}  (MD5 {md5}{_found(root / name, md5)})" for name, md5 in archives.items()
        )
        raise OptbenchError(
            f"the data could not be downloaded to {root}: {reason}. Without a network, put these files there:{files}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _found(path: Path, md5: str) -> str:
    """What is wrong with a file that is there."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    return "; it is there" if found == md5 else f"; the one that is there has {found}"


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
