"""Trials on several nodes, on any executor whose slots are on several hosts: one part of the trial per node, as one unit for the run.

The first part has rank 0 and sends the records. The other parts send only failures, and are killed when the first one has ended. Whatever
ends one part ends all: the trial then starts again from its last checkpoint, or has failed.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optbench.errors import OptbenchError
from optbench.events import Finished
from optbench.executor.api import (
    Ended,
    Executor,
    Message,
    Part,
    Refused,
    Rendezvous,
    Slot,
    SlotLost,
    StopRequest,
    Unit,
    first_difference,
)
from optbench.suite.types import Trial

#: of `Slot.environment`; must agree on the nodes of a trial
_VERSIONS = ("optbench", "code", "python", "torch", "torchvision", "numpy", "cuda", "cudnn")
_PATIENCE_SECONDS = 1.0  # to see whether a part failed because another one ended
_LOST_SECONDS = 40.0  # the same after a lost connection: until then a lost node is found


@dataclass
class _Spread:
    """A unit that runs on several nodes. `running`: the parts that have not ended, by node.

    `end` is the message that ends the unit, unless a better explanation arrives before `deadline`.
    """

    unit: Unit
    slots: Sequence[Slot]
    running: dict[int, Unit] = field(default_factory=dict)
    end: Message | None = None
    deadline: float = 0.0

    def part(self, node: int, rendezvous: str = "") -> Unit:
        name = self.unit.name if node == 0 else f"{self.unit.name}.node{node}"
        return replace(self.unit, name=name, part=Part(node, rendezvous))


class PartsExecutor:
    """Passes everything to another executor, whose slots state their hosts, and splits units whose slot has `others`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._spreads: dict[str, tuple[_Spread, int]] = {}  # by name of the part, with its node
        self._ready: deque[Message] = deque()
        self._lost: set[str] = set()  # hosts

    def open(
        self, trials: Sequence[Trial], report: Callable[[str], None], stop: StopRequest
    ) -> tuple[Slot, ...]:
        """Return the slots. Raises `OptbenchError` if trials need several nodes and these differ in versions."""
        slots = self._executor.open(trials, report, stop)
        nodes = max(trial.workload.nodes for trial in trials)
        if nodes > 1:
            _refuse_unequal_versions(slots, nodes)
        return slots

    def start(self, unit: Unit, slot: Slot) -> None:
        if not slot.others:
            self._executor.start(unit, slot)
            return
        slots = [replace(slot, others=()), *slot.others]
        for one in slots:
            if one.host in self._lost:
                raise SlotLost(one.host)
        self._start(_Spread(unit, slots), 0)

    def receive(self, timeout_seconds: float) -> Sequence[Message]:
        if self._ready:
            return [self._ready.popleft()]
        messages = []
        for message in self._executor.receive(timeout_seconds):
            spread, node = self._spreads.get(message.unit, (None, 0))
            if spread is None:
                messages.append(message)
            elif self._is_for_run(spread, node, message):
                messages.append(message)
                if message.is_last:
                    self._kill(spread)
        now = time.monotonic()
        for spread in {id(spread): spread for spread, _ in self._spreads.values()}.values():
            if spread.end is not None and now >= spread.deadline:
                messages.append(self._conclude(spread, spread.end))
        return messages

    def acknowledge(self, message: Message, *, stop: bool) -> None:
        self._executor.acknowledge(message, stop=stop)

    def ask_to_stop(self, unit: Unit) -> None:
        spread, _ = self._spreads.get(unit.name, (None, 0))
        if spread is None or 0 in spread.running:
            self._executor.ask_to_stop(unit)

    def kill(self, unit: Unit, *, show_stacks: bool = False) -> str:
        spread, _ = self._spreads.get(unit.name, (None, 0))
        if spread is None:
            return self._executor.kill(unit, show_stacks=show_stacks)
        return self._kill(spread, show_stacks=show_stacks)

    def close(self) -> None:
        self._executor.close()

    def _start(self, spread: _Spread, node: int, rendezvous: str = "") -> None:
        part, slot = spread.part(node, rendezvous), spread.slots[node]
        try:
            self._executor.start(part, slot)
        except SlotLost:
            self._lost.add(slot.host)
            raise
        spread.running[node] = part
        self._spreads[part.name] = spread, node

    def _is_for_run(self, spread: _Spread, node: int, message: Message) -> bool:
        """Handle a message of a part. Return whether the run gets it unchanged."""
        content = message.content
        if message.is_last:
            spread.running.pop(node, None)
        if isinstance(content, Rendezvous):
            self._start_others(spread, content.address)
            self._executor.acknowledge(message, stop=False)
            return False
        is_final = content == Ended("finished")
        if node == 0 and not _is_failure(content) and (is_final or isinstance(content, tuple)):
            return True
        if node > 0 and (is_final or not message.is_last or isinstance(content, Refused)):
            self._executor.acknowledge(message, stop=True)
            if is_final:
                return False
        self._propose_end(spread, replace(message, unit=spread.unit.name))
        return False

    def _start_others(self, spread: _Spread, address: str) -> None:
        for node in range(1, len(spread.slots)):
            try:
                self._start(spread, node, address)
            except SlotLost as error:
                end = Ended("host", f"node {error.host} was lost")
                self._propose_end(spread, Message(spread.unit.name, spread.unit.execution, end))
                return

    def _propose_end(self, spread: _Spread, message: Message) -> None:
        """End the unit with this message, unless another part explains it better."""
        if spread.end is not None and _weight(message.content) <= _weight(spread.end.content):
            return
        patience = (0.0, _PATIENCE_SECONDS, _LOST_SECONDS)[2 - _weight(message.content)]
        spread.end, spread.deadline = message, time.monotonic() + patience

    def _conclude(self, spread: _Spread, end: Message) -> Message:
        """Kill all parts and return the message to the run."""
        self._kill(spread)
        content = end.content
        if _is_connection_loss(content):
            reason = content.reason if isinstance(content, Ended) else _failure_of(content).reason
            content = Ended("host", f"the connection between the nodes of the trial was lost: {reason}")
        if isinstance(content, tuple):
            self._ready.append(replace(end, content=Ended("finished")))
        return replace(end, content=content)

    def _kill(self, spread: _Spread, *, show_stacks: bool = False) -> str:
        outputs = []
        for node, part in spread.running.items():
            output = self._executor.kill(part, show_stacks=show_stacks)
            outputs += [f"node {spread.slots[node].host}:\n{output}"] if output else []
        for name in [name for name, (one, _) in self._spreads.items() if one is spread]:
            del self._spreads[name]
        return "\n".join(outputs)


def _failure_of(content: Any) -> Finished:
    [(_, event)] = content
    assert isinstance(event, Finished)
    return event


def _is_failure(content: Any) -> bool:
    """Return whether this is the record of a trial that failed, perhaps because of another part."""
    return isinstance(content, tuple) and any(
        isinstance(event, Finished) and event.status == "failed" for _, event in content
    )


def _is_connection_loss(content: Any) -> bool:
    """Return whether a part ended because it lost the others. NCCL ends its process."""
    if isinstance(content, Ended):
        return content.signal == signal.SIGABRT
    return _is_failure(content) and _failure_of(content).at_fault == "infrastructure"


def _weight(content: Any) -> int:
    """Return how well the content explains the end of all parts: 2 if a process or node ended, 0 for a lost connection."""
    if _is_connection_loss(content):
        return 0
    return 2 if isinstance(content, Ended) else 1


def _refuse_unequal_versions(slots: Sequence[Slot], nodes: int) -> None:
    if (found := first_difference(slots, _VERSIONS)) is not None:
        slot, name = found
        values = [one.environment.get(name) for one in (slots[0], slot)]
        what = "the source code of optbench" if name == "code" else name
        message = (
            f"nodes {slots[0].host} and {slot.host} differ: {what} is {values[0]!r} and {values[1]!r}. A trial on several nodes "
            f"(`nodes: {nodes}`) needs the same versions on all of them"
        )
        raise OptbenchError(message, where="nodes")
