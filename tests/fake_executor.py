"""An executor without processes: each unit sends the messages that a test has prepared for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optbench.events import Event
from optbench.executor.api import Ended, Message, Slot, StopRequest, Unit
from optbench.suite.types import Trial

FINISHED = Ended("finished")


@dataclass
class FakeExecutor:
    """`script(unit)` returns the contents of the unit's messages: tuples of events by trial id, or ends.

    `calls` lists what the run asked for, in order.
    """

    script: Callable[[Unit], Sequence[Any]]
    slots: tuple[Slot, ...] = (Slot("cpu", "cpu"),)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    running: dict[str, list[Message]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)  # units whose last message was not acknowledged
    most_at_once: int = 0

    def open(
        self, trials: Sequence[Trial], report: Callable[[str], None], stop: StopRequest
    ) -> tuple[Slot, ...]:
        self.calls.append(("open", *(trial.id for trial in trials)))
        return self.slots

    def start(self, unit: Unit, slot: Slot) -> None:
        self.calls.append(("start", unit.name, slot.name))
        self.running[unit.name] = [
            Message(unit.name, unit.execution, content) for content in self.script(unit)
        ]
        self.most_at_once = max(self.most_at_once, len(self.running))

    def receive(self, timeout_seconds: float) -> list[Message]:
        ready = [
            messages[0] for name, messages in self.running.items() if messages and name not in self.waiting
        ]
        for message in ready:
            self.waiting.add(message.unit)
            if isinstance(message.content, Ended) and message.content.cause != "finished":
                self._end(message.unit)
        return ready

    def acknowledge(self, message: Message, *, stop: bool) -> None:
        self.calls.append(("acknowledge", message.unit, "stop" if stop else "continue"))
        self.waiting.discard(message.unit)
        messages = self.running.get(message.unit)
        if messages:
            messages.pop(0)
            if message.is_last:
                self._end(message.unit)

    def ask_to_stop(self, unit: Unit) -> None:
        self.calls.append(("ask_to_stop", unit.name))

    def kill(self, unit: Unit, *, show_stacks: bool = False) -> str:
        self.calls.append(("kill", unit.name))
        self._end(unit.name)
        return "printed"

    def close(self) -> None:
        self.running.clear()

    def _end(self, name: str) -> None:
        self.running.pop(name, None)
        self.waiting.discard(name)


def events(trial_id: str, told: Sequence[Event]) -> list[Any]:
    """The messages of a trial with these events, one each, and its end."""
    return [*(((trial_id, event),) for event in told), FINISHED]
