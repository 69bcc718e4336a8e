"""What a person should hear of while trials run: one short sentence each, with a kind, so that it is told once a trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from optbench.events import Evaluated, Finished

#: a trial is disturbed if its share of CPU time is below this part of its workload's best so far (decision 15)
DISTURBED = 0.9


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
    """CPU time over wall time and threads, of trials that ended: what else ran on the machine shows in it."""

    best: dict[str, float] = field(default_factory=dict)  # by workload

    def disturbed(
        self, name: str, workload: str, environment: dict[str, object], end: Finished
    ) -> Iterator[tuple[str, str]]:
        threads = environment.get("threads")
        if environment.get("device") != "cpu" or not isinstance(threads, int):
            return
        wall = end.train_seconds * threads
        if not (wall > 0 and end.cpu_seconds >= 0):
            return
        share = end.cpu_seconds / wall
        best = self.best[workload] = max(share, self.best.get(workload, 0.0))
        if share < DISTURBED * best:
            lost = 1 - share / best
            yield (
                "disturbed",
                f"{name} was disturbed: it got {lost:.0%} less of the processor than another trial",
            )
