"""The interface between a run and the engines that execute its trials, and the data that both exchange.

An executor has slots and starts units of work on them. A worker sends a message and continues only after the run has stored its
content and acknowledged it. Everything that a worker needs is in its `Unit` and `Slot`, except the plug-in files and the data, which
the executor provides: a unit contains no path of this machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from optbench.errors import OptbenchError, Problem
from optbench.events import Event
from optbench.suite.resources import Resources
from optbench.suite.types import Trial

Listener = Callable[[Trial, Event], None]
Events = tuple[tuple[str, Event], ...]
"""Events by trial id; stored together before they are acknowledged."""


@dataclass
class StopRequest:
    """A stop request, set by a signal handler. The running trials then write a checkpoint and end as `interrupted`."""

    signal: int | None = None
    is_shown: bool = False  # a display shows the request, so that nothing else need print it

    @property
    def is_requested(self) -> bool:
        return self.signal is not None

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Mark the request as shown by a display for the duration of the block."""
        self.is_shown = True
        try:
            yield
        finally:
            self.is_shown = False


@dataclass(frozen=True)
class Place:
    """Where a worker finds and writes files on its machine."""

    suite_folder: str  # plug-in files are relative to it
    data_root: Path
    checkpoint: Path | None
    output: Path


@dataclass(frozen=True)
class Settings:
    """How trials run. Not part of a trial's id; recorded except for the checkpoint interval and the required resources."""

    threads: int | None = None  # CPU threads; None: torch's default
    command: str = ""
    allocator: str = "tuned"  # or default: leave the C library's allocator unchanged
    checkpoint_seconds: float | None = None  # between checkpoints; None: the engine's default
    resources: Resources = field(default_factory=Resources)  # required by the suite


@dataclass(frozen=True)
class Slot:
    """A device on a host, which runs one unit at a time.

    `environment` is what a trial on this slot records. `threads` overrides the settings; `cores` are the only CPU cores to use.
    `host`: the node of a cluster; `host_cores`: number of its cores that belong to the run, None for this machine; `address`: the IP
    address at which other nodes reach it. `others` are the slots of a trial on its other nodes.
    """

    name: str
    device: str = "auto"
    environment: dict[str, Any] = field(default_factory=dict)
    threads: int | None = None
    cores: tuple[int, ...] = ()
    host: str = ""
    host_cores: int | None = None
    address: str = ""
    others: tuple[Slot, ...] = ()


class SlotLost(Exception):
    """A host has left the cluster: nothing can be started on its slots."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


@dataclass(frozen=True)
class Part:
    """The processes of a trial on one of its nodes, of which number 0 has the first rank and sends the events.

    `rendezvous`: HOST:PORT at which the first rank waits for the others. Node 0 chooses it and sends it as `Rendezvous`.
    """

    node: int
    rendezvous: str = ""


@dataclass(frozen=True)
class Unit:
    """One trial, or a stack of trials that train as one program in one process.

    `trials` have an empty `folder`; `Trial.sources` lists the plug-in files with their hashes, relative to the suite's folder.
    `checkpoint` is relative to the folder of checkpoints, empty if the unit has none. `execution` is the fencing number: it is in
    each message, and the run drops messages of an earlier execution than the current one. `part` is set for a trial on several nodes.
    """

    name: str
    trials: tuple[Trial, ...]
    settings: Settings
    checkpoint: str = ""
    is_stack: bool = False
    execution: int = 1
    part: Part | None = None


@dataclass(frozen=True)
class Rendezvous:
    """The first part of a trial on several nodes waits for the others at this address, HOST:PORT."""

    address: str


@dataclass(frozen=True)
class Refused:
    """A problem because of which no other unit can run either, such as a full disk."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class CannotStack:
    """These trials cannot be trained as one stack. `then`: how to train them instead."""

    reason: str
    then: Literal["smaller", "plain"]


@dataclass(frozen=True)
class Ended:
    """The end of a worker, which sends no more messages. `signal` is set if a signal ended it.

    `cause`: `finished` (after its last event), `died` (by itself or a signal), `memory` (killed because the machine ran out of
    memory), `lost` (with the server that started it), `host` (with its host: the run starts the unit again elsewhere), `silent` (no
    message in time) or `stopped` (killed after a stop request without effect). `output` is the end of what it printed, where that may
    explain the end.
    """

    cause: Literal["finished", "died", "memory", "lost", "host", "silent", "stopped"]
    reason: str = ""
    signal: int | None = None
    output: str = ""


@dataclass(frozen=True)
class Message:
    """A message of a worker. It waits for the acknowledgement, except after `Ended` with another cause than `finished`."""

    unit: str
    execution: int
    content: Events | Rendezvous | Refused | CannotStack | Ended

    @property
    def is_last(self) -> bool:
        """Whether the worker sends no more messages."""
        return not isinstance(self.content, (tuple, Rendezvous))


class Executor(Protocol):
    """An engine of execution. One thread calls it."""

    def open(
        self, trials: Sequence[Trial], report: Callable[[str], None], stop: StopRequest
    ) -> tuple[Slot, ...]:
        """Make the plug-in files and the data of `trials` available to the workers, and return the slots.

        `trials` have the suite's folder on this machine. `report` is called with lines about progress. Returns no slots after a stop
        request. May be called again with other trials. Raises `OptbenchError` if data or devices are not available.
        """

    def start(self, unit: Unit, slot: Slot) -> None:
        """Start the unit. Raises `OptbenchError` if no worker can be started, `SlotLost` if a host of the slot no longer exists."""

    def receive(self, timeout_seconds: float) -> Sequence[Message]:
        """Return at most one message per running unit, as soon as there is one; none after the timeout."""

    def acknowledge(self, message: Message, *, stop: bool) -> None:
        """Let the worker continue, after the content was stored. `stop` asks it to write a checkpoint and to end."""

    def ask_to_stop(self, unit: Unit) -> None:
        """Ask the worker to write a checkpoint and to end. Takes effect also between two messages."""

    def kill(self, unit: Unit, *, show_stacks: bool = False) -> str:
        """End the worker and all its processes. Return the end of its output, with the stacks of its threads if requested."""

    def close(self) -> None:
        """Kill the workers that still run and release the slots."""


def first_difference(slots: Sequence[Slot], names: Sequence[str]) -> tuple[Slot, str] | None:
    """Return the first slot whose environment differs from that of `slots[0]` in one of `names`, and the name; None if all agree."""
    for slot in slots[1:]:
        for name in names:
            if slot.environment.get(name) != slots[0].environment.get(name):
                return slot, name
    return None


def take_slots(
    free: Sequence[Slot], all_slots: Sequence[Slot], devices: int, nodes: int = 1
) -> list[Slot] | None:
    """Return the slots for a trial on this many devices of each of `nodes` hosts; None if they are not all free.

    On a CPU, whose processes share its threads, that may be fewer per host. Raises `OptbenchError` if not enough hosts have as many
    devices.
    """
    if devices == nodes == 1:
        return [free[0]] if free else None
    hosts = dict.fromkeys(slot.host for slot in all_slots)
    errors: list[OptbenchError] = []
    found: list[Slot] = []
    count = 0
    for host in hosts:
        try:
            taken = _take_on_host(
                [slot for slot in free if slot.host == host],
                [slot for slot in all_slots if slot.host == host],
                devices,
            )
        except OptbenchError as error:
            errors.append(error)
        else:
            if taken is not None:
                found, count = [*found, *taken], count + 1
            if count == nodes:
                return found
    if len(hosts) - len(errors) < nodes:
        if nodes == 1:
            raise errors[0]
        has = f" with {devices} devices each" if devices > 1 else ""
        message = (
            f"a trial needs {nodes} nodes{has} (`nodes: {nodes}`) and there {_are(len(hosts) - len(errors))}"
        )
        raise OptbenchError(f"{message}: add nodes, or change the workload", where="nodes")
    return None


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def _take_on_host(free: Sequence[Slot], all_slots: Sequence[Slot], devices: int) -> list[Slot] | None:
    on_cpu = all_slots[0].device == "cpu"
    available = len(all_slots) if on_cpu else len({slot.device for slot in all_slots})
    if not on_cpu and available < devices:
        raise OptbenchError(
            f"a trial needs {devices} devices (`devices: {devices}`) and there are {available}: "
            "use --device cuda for all GPUs of this machine, or fewer devices in the workload",
            where="devices",
        )
    by_device: dict[str, Slot] = {}
    for slot in free:
        by_device.setdefault(slot.name if on_cpu else slot.device, slot)
    distinct = list(by_device.values())
    needed = min(devices, available)
    return distinct[:needed] if len(distinct) >= needed else None


def join_slots(slots: Sequence[Slot]) -> Slot:
    """Return one slot with the devices, separated by commas, the threads and the cores of all; on several hosts one slot for each."""
    first = slots[0]
    if len(slots) == 1:
        return first
    by_host: dict[str, list[Slot]] = {}
    for slot in slots:
        by_host.setdefault(slot.host, []).append(slot)
    if len(by_host) > 1:
        here, *others = map(join_slots, by_host.values())
        return replace(here, others=tuple(others))
    threads = [slot.threads for slot in slots if slot.threads is not None]
    return replace(
        first,
        name="+".join(slot.name for slot in slots),
        device=",".join(dict.fromkeys(slot.device for slot in slots)),
        threads=sum(threads) if threads else None,
        cores=tuple(core for slot in slots for core in slot.cores),
    )


def split_slots(slots: Sequence[Slot], parts: int, threads: int, cores: Sequence[int] = ()) -> list[Slot]:
    """Return `parts` slots for each slot, with this many threads each.

    `cores` are distributed among the parts of a slot, at least `threads` for each; without them the parts share all cores.
    """
    return [
        Slot(
            f"{slot.name}/{part}",
            slot.device,
            slot.environment | {"threads": threads},
            threads,
            tuple(cores[part * threads : (part + 1) * threads]),
            slot.host,
            slot.host_cores,
            slot.address,
        )
        for part in range(parts)
        for slot in slots
    ]
