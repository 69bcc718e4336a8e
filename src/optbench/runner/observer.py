"""What a run reports while it works. The command line shows it; the Python API passes events to a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from optbench.events import Event
from optbench.suite.types import Trial

if TYPE_CHECKING:
    from optbench.executor.api import StopRequest
    from optbench.runner.job import Job

Listener = Callable[[Trial, Event], None]


@dataclass(frozen=True)
class Round:
    """Trials that run next. `environment` is what they will record, `parallel` the number of sweep trials that run at once."""

    job: Job
    pending: Sequence[Trial]
    environment: Mapping[str, Any]
    stop: StopRequest
    parallel: int = 1


class Observer(Protocol):
    def message(self, text: str) -> None:
        """Report one line about the run as a whole."""

    def round(self, round: Round) -> AbstractContextManager[Listener]:
        """Return a context that gives a function for the events of the round, whose trials run while the context is open.

        The function is called by one thread at a time, after the event was stored.
        """
