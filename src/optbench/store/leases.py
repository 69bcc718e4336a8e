"""Leases: which worker on which host runs a unit of work in a shared results folder, without a server.

Attempt N on a unit is the file `leases/<unit>.<N>.json`, created exclusively. The file with the highest number is the current lease, so
that two workers cannot both take over one, and a worker has lost its lease as soon as the next number exists. The holder updates the
file's modification time; times are compared with that of a file written just before, so that clocks of hosts do not matter.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optbench.errors import OptbenchError, Problem
from optbench.events import Event
from optbench.store.files import explained, make_folder, write_whole
from optbench.store.folder import SuiteFolder
from optbench.store.input_files import read_file
from optbench.store.journal import TrialFile
from optbench.store.records import from_json
from optbench.suite.types import Trial

LEASE_SECONDS = 120.0
"""A lease whose holder shows no sign of life for this long may be taken over."""
_HEARTBEATS = 6  # per lease time
_NAME = re.compile(r"(?P<unit>.+)\.(?P<attempt>\d+)\.json")


class LeaseLost(OptbenchError):
    """Another worker has taken over the unit: this one must not write any more of it."""


@dataclass(frozen=True)
class Lease:
    """A claim on a unit. `attempt` is 1 for the first worker that claims it, and increases with each later one."""

    path: Path
    unit: str
    attempt: int

    @property
    def is_lost(self) -> bool:
        return self.path.with_name(_file_name(self.unit, self.attempt + 1)).exists()

    def release(self) -> None:
        """Allow the next attempt at once, unless the lease is lost."""
        with contextlib.suppress(OptbenchError):
            write_whole(self.path, json.dumps({"released": True}) + "\n")

    def withdraw(self) -> None:
        """Remove the lease, with which nothing was done."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other leases
            self.path.parent.rmdir()

    @contextlib.contextmanager
    def kept(self, seconds: float) -> Iterator[None]:
        """Update the modification time while the block runs, then release the lease."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(seconds / _HEARTBEATS):
                with contextlib.suppress(OSError):
                    os.utime(self.path)

        thread = threading.Thread(target=beat, daemon=True, name="lease")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.release()


class Leases:
    """The leases of a suite's folder."""

    def __init__(self, folder: SuiteFolder, seconds: float = LEASE_SECONDS) -> None:
        self._path, self.seconds = folder.path / "leases", seconds

    def claim(self, unit: str) -> Lease | None:
        """Return a lease of the unit, None if another worker holds it. Raises `OptbenchError` if the folder cannot be written."""
        make_folder(self._path)
        attempt = self._current().get(unit, 0)
        if attempt and self._is_held(unit, attempt):
            return None
        path = self._path / _file_name(unit, attempt + 1)
        content = {"host": platform.node(), "pid": os.getpid(), "attempt": attempt + 1}
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(content) + "\n")
        except FileExistsError:
            return None
        except OSError as error:
            raise explained(error, path) from error
        return Lease(path, unit, attempt + 1)

    def held(self) -> dict[str, str]:
        """Return the holders of the units that workers run now: unit -> host."""
        return {
            unit: str(_content(self._path / _file_name(unit, attempt)).get("host", "another host"))
            for unit, attempt in self._current().items()
            if self._is_held(unit, attempt)
        }

    def retire(self, folder: SuiteFolder) -> None:
        """Remove all leases, and give the checkpoints of their last attempts the names that runs without leases use."""
        for unit, attempt in self._current().items():
            for number in range(attempt, 0, -1):
                checkpoint = folder.checkpoints / checkpoint_name(unit, number)
                if number == attempt and checkpoint.exists():
                    os.replace(checkpoint, folder.checkpoints / f"{unit}.pt")
                checkpoint.unlink(missing_ok=True)
                (self._path / _file_name(unit, number)).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._path.rmdir()

    def _current(self) -> dict[str, int]:
        attempts: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._path):
                if match := _NAME.fullmatch(name):
                    unit, attempt = match["unit"], int(match["attempt"])
                    attempts[unit] = max(attempt, attempts.get(unit, 0))
        return attempts

    def _is_held(self, unit: str, attempt: int) -> bool:
        path = self._path / _file_name(unit, attempt)
        if _content(path).get("released"):
            return False
        try:
            return self._now() - path.stat().st_mtime <= self.seconds
        except FileNotFoundError:
            return False

    def _now(self) -> float:
        """Return the time of the file system that holds the leases."""
        path = self._path / f".now.{platform.node()}.{os.getpid()}"
        try:
            path.touch()
            os.utime(path)
            return path.stat().st_mtime
        except OSError as error:
            raise explained(error, path) from error
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


@dataclass(frozen=True)
class LeasedFolder(SuiteFolder):
    """A suite's folder as the holder of a lease sees it: checkpoints of its own attempt, and records only while it holds the lease."""

    lease: Lease

    def checkpoint_path(self, trial: Trial) -> Path:
        return self.checkpoints / checkpoint_name(trial.id, self.lease.attempt)

    def open_trial(self, trial: Trial, attempt: int = 1) -> TrialFile:
        """Resume the trial's file. It is replaced by a copy: an earlier holder may still have the old file open for writing."""
        path = self.trial_path(trial)
        if path.exists():
            write_whole(path, read_file(path, self.path))
        file = super().open_trial(trial, attempt)
        file.close()
        return _FencedFile.open_with(path, self.lease).continued(trial.rung)

    def adopt_checkpoint(self, trial: Trial) -> None:
        """Take over the checkpoint of the attempt before, or that of a run without leases."""
        own = self.checkpoint_path(trial)
        for name in (checkpoint_name(trial.id, self.lease.attempt - 1), f"{trial.id}.pt"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(self.checkpoints / name, own)
                return

    def hand_over_checkpoint(self, trial: Trial) -> None:
        """Make the checkpoint available to the next attempt and to runs without leases."""
        if not self.lease.is_lost:
            with contextlib.suppress(FileNotFoundError):
                os.replace(self.checkpoint_path(trial), self.checkpoints / f"{trial.id}.pt")


class _FencedFile(TrialFile):
    lease: Lease

    @classmethod
    def open_with(cls, path: Path, lease: Lease) -> TrialFile:
        file = cls.open(path)
        assert isinstance(file, _FencedFile)
        file.lease = lease
        return file

    def append(self, event: Event) -> bool:
        if self.lease.is_lost:
            raise LeaseLost(
                Problem(
                    f"another worker has taken over this trial from attempt {self.lease.attempt}",
                    file=str(self.path),
                )
            )
        return super().append(event)


def checkpoint_name(unit: str, attempt: int) -> str:
    return f"{unit}.{attempt}.pt"


def _file_name(unit: str, attempt: int) -> str:
    return f"{unit}.{attempt}.json"


def _content(path: Path) -> dict[str, object]:
    try:
        content = from_json(read_file(path, path.parent))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
