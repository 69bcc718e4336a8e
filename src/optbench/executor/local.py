"""Execution on this machine: one process per unit, started by a fork server, so that a crash affects no other unit."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError
from optbench.executor.api import Ended, Message, Place, Settings, Slot, StopRequest, Unit
from optbench.executor.limits import memory_limits
from optbench.executor.process import Child, child, read_message, receive
from optbench.executor.rank_processes import train_on_ranks
from optbench.executor.worker import prepare, train_alone, work
from optbench.store.input_files import read_file
from optbench.suite.types import Trial

_OUTPUT_TAIL_BYTES = 16_000  # kept in the record of a crash
_MAX_OUTPUT_BYTES = 32_000_000  # of a unit's output log, which is truncated beyond it
_STOP_SECONDS = 2.0  # time limit to stop while data are prepared: there is nothing to save


@dataclass
class _Worker:
    unit: Unit
    child: Child
    resources: ExitStack
    output: Path
    memory_kills: int  # of the kernel, before the worker was started


class LocalExecutor:
    """Runs units in child processes. Slots are the devices that `device` names; `folder` is that of the suite's results.

    `suite_folder` has the plug-in files; `open` sets it to that of the trials.
    """

    def __init__(
        self, folder: Path, settings: Settings, data_root: Path, device: str = "auto", suite_folder: str = ""
    ) -> None:
        self._folder, self._settings = folder, settings
        self._data_root, self._device = data_root, device
        self._suite_folder = suite_folder
        self._workers: dict[str, _Worker] = {}

    def open(
        self, trials: Sequence[Trial], report: Callable[[str], None], stop: StopRequest
    ) -> tuple[Slot, ...]:
        """Load each data set once, in a separate process, and return one slot per device."""
        self._suite_folder = trials[0].folder
        with child(prepare, trials, self._device, self._settings, self._data_root) as helper:
            while True:
                answer = receive(helper, stop, patience=float("inf"), stop_patience=_STOP_SECONDS)
                if stop.is_requested:
                    helper.end()
                    return ()
                if isinstance(answer, Ended):
                    raise OptbenchError(f"while preparing the data: {answer.reason}{memory_limits()}")
                helper.answer(False)
                if isinstance(answer, dict):
                    return tuple(Slot(name, name, environment) for name, environment in answer.items())
                if not isinstance(answer, str):
                    raise OptbenchError(*answer)
                report(answer)

    def start(self, unit: Unit, slot: Slot) -> None:
        output = self._folder / "output" / f"{unit.name}.log"
        checkpoint = self._folder / "checkpoints" / unit.checkpoint if unit.checkpoint else None
        place = Place(self._suite_folder, self._data_root, checkpoint, output)
        kills = count_memory_kills()
        resources = ExitStack()
        train = train_on_ranks if unit.trials[0].workload.world_size > 1 else train_alone
        process = resources.enter_context(child(work, unit, slot, place, train))
        self._workers[unit.name] = _Worker(unit, process, resources, output, kills)

    def sources(self) -> list[Any]:
        """Return what becomes ready when there is a message, for `multiprocessing.connection.wait`."""
        workers = self._workers.values()
        return [source for one in workers for source in (one.child.connection, one.child.process.sentinel)]

    def receive(self, timeout_seconds: float) -> list[Message]:
        sources: dict[Any, _Worker] = {}
        for worker in self._workers.values():
            sources[worker.child.connection] = sources[worker.child.process.sentinel] = worker
        ready = {sources[source].unit.name for source in wait(list(sources), timeout_seconds)}
        return [self._read(self._workers[name]) for name in sorted(ready)]

    def acknowledge(self, message: Message, *, stop: bool) -> None:
        worker = self._workers.get(message.unit)
        if worker is None:
            return
        worker.child.answer(stop)
        if message.is_last:
            self._release(worker)

    def ask_to_stop(self, unit: Unit) -> None:
        self._workers[unit.name].child.ask_to_stop()

    def kill(self, unit: Unit, *, show_stacks: bool = False) -> str:
        worker = self._workers.get(unit.name)
        if worker is None:
            return ""
        if show_stacks:
            worker.child.show_stacks()
        worker.child.end()
        output = _read_output_tail(worker.output)
        self._release(worker)
        return output

    def close(self) -> None:
        for worker in list(self._workers.values()):
            worker.child.end()
            self._release(worker)

    def _read(self, worker: _Worker) -> Message:
        message = read_message(worker.child)
        _limit_size(worker.output)
        content = message.content if isinstance(message, Message) else message
        if isinstance(message, Message) and not (isinstance(content, Ended) and content.cause == "died"):
            return message
        ended = (
            content
            if isinstance(content, Ended)
            else Ended("died", "the trial's process sent an invalid message")
        )
        worker.child.end()
        output = _read_output_tail(worker.output)
        if ended.signal == signal.SIGKILL and count_memory_kills() > worker.memory_kills:
            reason = f"{ended.reason}: the kernel ran out of memory ({_memory_of_machine()})"
            ended = replace(ended, cause="memory", reason=reason)
        self._release(worker)
        return Message(worker.unit.name, worker.unit.execution, replace(ended, output=output))

    def _release(self, worker: _Worker) -> None:
        """End the worker's process; the next unit starts a new one. An empty output log is removed."""
        del self._workers[worker.unit.name]
        worker.resources.close()
        with contextlib.suppress(OSError):
            if worker.output.stat().st_size == 0:
                worker.output.unlink()


def _read_output_tail(output: Path) -> str:
    """Return the end of what the trial printed: long enough for the stacks of a crash, whose reason comes first."""
    try:
        return read_file(output, output.parent)[-_OUTPUT_TAIL_BYTES:].decode(errors="replace")
    except OSError:
        return ""


def _limit_size(output: Path) -> None:
    """Truncate the output log if it is too long: a plug-in that prints in each step must not fill the disk."""
    with contextlib.suppress(OSError):
        if output.lstat().st_size > _MAX_OUTPUT_BYTES:
            with output.open("r+b") as file:
                file.truncate(0)


def count_memory_kills() -> int:
    """Return the number of processes that the kernel has killed because memory ran out; 0 if it does not report it."""
    try:
        words = Path("/proc/vmstat").read_text(encoding="ascii").split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return 0


def _memory_of_machine() -> str:
    try:
        words = Path("/proc/meminfo").read_text(encoding="ascii").split()
        return f"{int(words[words.index('MemTotal:') + 1]) / 1e6:.1f} GB in this machine"
    except (OSError, ValueError, IndexError):
        return "memory size unknown"
