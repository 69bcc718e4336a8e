"""One executor for several hosts, each with an executor of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any, Protocol

from optbench.executor.api import Executor, Message, Slot, StopRequest, Unit
from optbench.suite.types import Trial


class HostExecutor(Executor, Protocol):
    """The executor of one host. It receives messages from operating system objects, which several executors can be waited for by."""

    def sources(self) -> Sequence[Any]:
        """Return what becomes ready when there is a message, for `multiprocessing.connection.wait`."""


class SeveralHosts:
    """Starts each unit on the host of its slot. `executors` and `addresses` (IP addresses) are by name of the host."""

    def __init__(self, executors: Mapping[str, HostExecutor], addresses: Mapping[str, str]) -> None:
        self._executors, self._addresses = executors, addresses
        self._hosts: dict[str, str] = {}  # of the units that were started

    def open(
        self, trials: Sequence[Trial], report: Callable[[str], None], stop: StopRequest
    ) -> tuple[Slot, ...]:
        slots: list[Slot] = []
        for host, executor in self._executors.items():
            of_host = executor.open(trials, report, stop)
            if not of_host:
                return ()
            address = self._addresses[host]
            slots += [
                replace(slot, name=f"{host}:{slot.name}", host=host, address=address) for slot in of_host
            ]
        return tuple(slots)

    def start(self, unit: Unit, slot: Slot) -> None:
        self._hosts[unit.name] = slot.host
        self._executors[slot.host].start(unit, slot)

    def receive(self, timeout_seconds: float) -> list[Message]:
        executors = self._executors.values()
        wait([source for executor in executors for source in executor.sources()], timeout_seconds)
        return [message for executor in executors for message in executor.receive(0)]

    def acknowledge(self, message: Message, *, stop: bool) -> None:
        self._of(message.unit).acknowledge(message, stop=stop)

    def ask_to_stop(self, unit: Unit) -> None:
        self._of(unit.name).ask_to_stop(unit)

    def kill(self, unit: Unit, *, show_stacks: bool = False) -> str:
        return self._of(unit.name).kill(unit, show_stacks=show_stacks)

    def close(self) -> None:
        for executor in self._executors.values():
            executor.close()

    def _of(self, unit: str) -> HostExecutor:
        return self._executors[self._hosts[unit]]
