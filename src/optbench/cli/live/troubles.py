"""What a person should hear of while trials run: one short sentence each, with a kind, so that it is told once a trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from optbench.events import Evaluated, Finished
from optbench.store.attempts import DISTURBED
from optbench.suite.types import Trial


def troubles_on_the_way(name: str, event: Evaluated) -> Iterator[tuple[str, str]]:
    for kind, steps in (("exploded", event.exploded_steps), ("vanished", event.vanished_steps)):
        if steps:
            yield (
                kind,
                f"{name}: gradients {kind} at {steps} step{'s' * (steps != 1)} by epoch {event.epoch:.3g}",
            )


def trouble_at_the_end(name: str, event: Finished, epoch: float) -> Iterator[tuple[str, str]]:
    words = (event.detail.strip().splitlines() or [""])[-1]
    why = f": {words}" if words else ""
    if event.at_fault == "infrastructure":
        yield "lost", f"{name} was lost{why}; the next run does it again"
    elif event.status == "diverged":
        yield "diverged", f"{name} diverged at epoch {epoch:.3g}{why}"
    elif event.status == "failed":
        yield "failed", f"{name} failed{why}"
    elif event.status == "out_of_memory":
        yield "memory", f"{name} ran out of memory{why}"


@dataclass
class Shares:
    """CPU time over wall time and threads, of trials that ended: what else ran on the machine shows in it (decision 15)."""

    of_row: dict[str, list[float]] = field(default_factory=dict)
    of_workload: dict[str, float] = field(default_factory=dict)  # the greatest

    def disturbed(
        self, name: str, trial: Trial, environment: dict[str, object], end: Finished
    ) -> Iterator[tuple[str, str]]:
        threads = environment.get("threads")
        wall = end.train_seconds * (threads if isinstance(threads, int) else 0)
        if environment.get("device") != "cpu" or trial.point or not (wall > 0 and end.cpu_seconds >= 0):
            return
        share = end.cpu_seconds / wall
        own = self.of_row.setdefault(trial.config_id, [])
        own.append(share)
        among = self.of_workload.get(trial.workload_name, 0.0)
        self.of_workload[trial.workload_name] = max(share, among)
        best = max(own) if len(own) > 1 else max(share, among)
        if share < DISTURBED * best:
            lost = 100 * (1 - share / best)
            yield (
                "disturbed",
                f"{name} was disturbed: it got {lost:.0f} % less of the processor than another trial",
            )
