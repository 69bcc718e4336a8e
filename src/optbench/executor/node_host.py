"""What trains units in child processes on another node: an actor of a Ray cluster, or a node that has joined a worker.

It is the local executor of its node, with the results folder replaced by messages: the run stores events and checkpoints. Each unit has
its own thread, and its own folder, named after its execution, so that an earlier execution never changes the files of a later one.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

from optbench.catalog.data_root import data_root
from optbench.errors import OptbenchError, Problem
from optbench.executor.api import Message, Refused, Settings, Slot, StopRequest, Unit
from optbench.executor.local import LocalExecutor
from optbench.executor.process import POLL_SECONDS
from optbench.store.files import make_folder, write_whole
from optbench.suite.types import Trial

_PREFIX = f"optbench-{platform.node()}-"

#: what a unit sends: a message, or the content of a checkpoint that it has written
Item = tuple[Message | None, bytes | None]


@dataclass
class _Control:
    """Requests of the run to a unit that is training."""

    answers: SimpleQueue[bool] = field(default_factory=SimpleQueue)
    stop: bool = False
    kill: bool = False
    show_stacks: bool = False
    output: SimpleQueue[str] = field(default_factory=SimpleQueue)  # of a killed unit


class Host:
    """Trains units on one node. Its methods are called in several threads; `run` and `open` are generators."""

    def __init__(
        self, files: dict[str, bytes], settings: Settings, data: str | None, device: str, cores: int
    ) -> None:
        """Write the suite's `files` (by relative path). `cores`: CPU cores of the node that belong to this run, 0 if not known."""
        _remove_folders_of_ended_processes()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._suite = self._folder / "suite"
        self._settings, self._cores, self._device = settings, cores, device
        self._data_root = data_root(data)
        self._controls: dict[int, _Control] = {}
        self._ended: set[int] = set()
        make_folder(self._suite)
        for name, content in files.items():
            make_folder((self._suite / name).parent)
            write_whole(self._suite / name, content, sync=False)

    def open(self, trials: Sequence[Trial]) -> Iterator[str | tuple[Slot, ...] | tuple[Problem, ...]]:
        """Prepare the data of the trials on this node. Yield lines about progress, then the slots of the node or problems."""
        lines: SimpleQueue[str | None] = SimpleQueue()
        threads = self._settings.threads or self._cores or None
        settings = replace(self._settings, threads=threads)
        executor = LocalExecutor(self._folder, settings, self._data_root, self._device)
        here = [trial.model_copy(update={"folder": str(self._suite)}) for trial in trials]
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(executor.open, here, lines.put, StopRequest())
            future.add_done_callback(lambda _: lines.put(None))
            while (line := lines.get()) is not None:
                yield line
        try:
            slots = future.result()
        except OptbenchError as error:
            yield error.problems
            return
        yield tuple(replace(slot, threads=threads, host_cores=self._cores) for slot in slots)

    def run(self, unit: Unit, slot: Slot, checkpoint: bytes | None) -> Iterator[Item]:
        """Train a unit from the content of its checkpoint. Each event waits for `answer`, as on the local executor."""
        control = self._control(unit.execution)
        folder = self._folder / str(unit.execution)
        path = folder / "checkpoints" / unit.checkpoint if unit.checkpoint else None
        try:
            make_folder(folder)
            if path is not None:
                make_folder(path.parent)
                if checkpoint is not None:
                    write_whole(path, checkpoint)
            settings = self._settings
            executor = LocalExecutor(folder, settings, self._data_root, self._device, str(self._suite))
            with contextlib.closing(executor):
                executor.start(unit, slot)
                yield from self._messages(unit, control, executor, path)
        except OptbenchError as error:
            yield Message(unit.name, unit.execution, Refused(error.problems)), None
        finally:
            self._ended.add(unit.execution)
            control.output.put("")  # for a `kill` that comes too late
            del self._controls[unit.execution]
            shutil.rmtree(folder, ignore_errors=True)

    def _messages(
        self, unit: Unit, control: _Control, executor: LocalExecutor, checkpoint: Path | None
    ) -> Iterator[Item]:
        version = _version(checkpoint)
        while True:
            messages = executor.receive(POLL_SECONDS)
            if (latest := _version(checkpoint)) != version:
                version = latest
                assert checkpoint is not None
                with contextlib.suppress(FileNotFoundError):
                    yield None, checkpoint.read_bytes()
            for message in messages:
                yield message, None
                if not _waits(message):
                    return
                executor.acknowledge(message, stop=control.answers.get())
                if message.is_last:
                    return
            if control.kill:
                control.output.put(executor.kill(unit, show_stacks=control.show_stacks))
                return
            if control.stop:
                executor.ask_to_stop(unit)

    def answer(self, execution: int, stop: bool) -> None:
        """Let a unit continue, whose message was stored."""
        if execution not in self._ended:
            self._control(execution).answers.put(stop)

    def ask_to_stop(self, execution: int) -> None:
        if execution not in self._ended:
            self._control(execution).stop = True

    def kill(self, execution: int, show_stacks: bool) -> str:
        """End the processes of a unit. Return the end of its output."""
        if execution in self._ended:
            return ""
        control = self._control(execution)
        control.show_stacks, control.kill = show_stacks, True
        control.answers.put(True)
        return control.output.get(timeout=20)

    def _control(self, execution: int) -> _Control:
        """Return the control of a unit, which may not have started yet."""
        return self._controls.setdefault(execution, _Control())

    def ping(self) -> None:
        """Return, to show that this process and its node are alive."""

    def close(self) -> None:
        """Remove the files of this process from its node."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _waits(message: Message) -> bool:
    """Return whether the sender waits for an acknowledgement."""
    return getattr(message.content, "cause", "finished") == "finished"


def _version(path: Path | None) -> tuple[int, int] | None:
    """Return what changes whenever the file is replaced, None if there is no file."""
    try:
        facts = path.stat() if path is not None else None
    except OSError:
        return None
    return (facts.st_ino, facts.st_mtime_ns) if facts is not None else None


def _remove_folders_of_ended_processes() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)
