"""Cache of parsed records of large suites, in the user's cache folder, so that a report does not parse them again.

Nothing depends on it. It may be deleted at any time, is rebuilt where it is damaged or of another version, and left alone where it
can't be written. A file counts as known only if its name, size, times (also of its last change of any kind) and inode are what
they were, and if it was not written just when it was read; else it is parsed again. `OPTBENCH_CACHE=off` does without.

It is a pickle that runs nothing: only the few classes that a parsed file is made of are found when it is read, and it is read
only if this user owns it and nobody else may write it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from optbench.events import Record
from optbench.suite_folders import ARCHIVE
from optbench.version import __version__

if TYPE_CHECKING:
    from optbench.store.log import TrialLog

_LEAST_BYTES = 4_000_000  # of trials' files in a folder; less is read as fast without
_WORTH = 0.02  # share of the files that must be new for the cache to be written again
_SETTLED_NS = 2_000_000_000  # a file younger than this when it is read could change again without a trace
_VERSION = 4  # of what is pickled: raised when `TrialLog` or what it holds changes

#: all that may be named in a cache; none of it does anything but hold values
_HOLDERS = {
    ("optbench.store.log", "TrialLog"),
    ("optbench.store.evaluations", "Evaluations"),
    *(("optbench.events", cls.__name__) for cls in get_args(Record)),
    ("array", "array"),
    ("array", "_array_reconstructor"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
}

#: hash of size, times of modification and change, and inode
Stamp = int


class Cache:
    """Parsed files of a suite's folder."""

    def __init__(self, folder: Path, known: dict[str, tuple[Stamp, TrialLog]]) -> None:
        self._trials, self._archive = folder / "trials", folder / ARCHIVE
        self._known = known
        self.kept: dict[str, tuple[Stamp, TrialLog]] = {}
        self.new = 0
        self._parsed = 0

    @property
    def is_unchanged(self) -> bool:
        """Whether the folder has the files that were known before, and no file was parsed."""
        return not self._parsed and len(self.kept) == len(self._known)

    def log(self, name: str) -> TrialLog | None:
        """Return the cached content of a file if the file is unchanged."""
        found = self._known.get(name)
        if found is None or stamp_of(f"{self._trials}{os.sep}{name}", self._archive) != found[0]:
            return None
        self.kept[name] = found
        return found[1]

    def read(self, name: str, parse: Callable[[Path], TrialLog]) -> TrialLog:
        """Parse the file and cache it, unless it was modified so recently that it may still change."""
        self._parsed += 1
        file = self._trials / name
        facts, now = _facts(file, self._archive), time.time_ns()
        log = parse(file)
        is_settled = facts is not None and now - max(facts[1], facts[2]) > _SETTLED_NS
        if is_settled and _facts(file, self._archive) == facts:
            self.kept[log.name] = hash(facts), log
            self.new += 1
        return log


@contextmanager
def read_before(folder: Path, memory: dict[str, tuple[Stamp, TrialLog]] | None = None) -> Iterator[Cache]:
    """Yield the cache of a suite's folder; additions are written at the end if they save time.

    `memory` is what this process read before; it is updated, and used instead of the file.
    """
    place = _place(folder)
    cache = Cache(folder, memory or (_load(place, folder / "trials") if place is not None else {}))
    yield cache
    if memory is not None:
        memory.clear()
        memory.update(cache.kept)
    if place is not None and cache.new > _WORTH * len(cache.kept):
        _save(place, cache.kept)


def _place(folder: Path) -> Path | None:
    """Return None if a cache would not save time or is disabled."""
    if os.environ.get("OPTBENCH_CACHE", "").lower() in ("off", "0", "no"):
        return None
    try:
        if _record_bytes(folder) < _LEAST_BYTES:
            return None
        key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]
    except OSError:
        return None
    import platformdirs

    return Path(platformdirs.user_cache_dir("optbench")) / "reports" / f"{key}.pickle"


def _record_bytes(folder: Path) -> int:
    """Return the bytes of the single files of trials, and of the archive, uncompressed about ten times as large."""
    with contextlib.suppress(FileNotFoundError):
        return 10 * (folder / ARCHIVE).stat().st_size
    with os.scandir(folder / "trials") as files:
        return sum(file.stat().st_size for file in files if file.name.endswith(".jsonl"))


def _signature() -> tuple[Any, ...]:
    return _VERSION, __version__, sys.version_info[:2]


def _load(place: Path, folder: Path) -> dict[str, tuple[Stamp, TrialLog]]:
    """Return the logs of the files in `folder`. An empty cache if it is missing, damaged, or written by another user."""
    try:
        with place.open("rb") as file:
            facts = os.fstat(file.fileno())
            if hasattr(os, "getuid") and (facts.st_uid != os.getuid() or facts.st_mode & 0o022):
                return {}
            if _Reader(file).load() != _signature():
                return {}
            found: dict[str, tuple[Stamp, TrialLog]] = _Reader(file).load()
        return {name: (stamp, replace(log, folder=folder)) for name, (stamp, log) in found.items()}
    except Exception:  # a pickle can fail with anything
        return {}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HOLDERS:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a cache")
        return super().find_class(module, name)


def _save(place: Path, kept: dict[str, tuple[Stamp, TrialLog]]) -> None:
    aside = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                pickle.dump(_signature(), file, pickle.HIGHEST_PROTOCOL)
                pickle.dump(kept, file, pickle.HIGHEST_PROTOCOL)
            os.replace(aside, place)
        finally:
            aside.unlink(missing_ok=True)


def stamp_of(file: Path | str, archive: Path) -> Stamp | None:
    """Return what changes when the file does, or the archive where it is in there; None if there is neither."""
    facts = _facts(file, archive)
    return hash(facts) if facts is not None else None


def _facts(file: Path | str, archive: Path) -> tuple[int, int, int, int] | None:
    for path in (file, archive):
        try:
            found = os.stat(path)
        except OSError:
            continue
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
    return None
