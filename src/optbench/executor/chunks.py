"""Which trials share a stack."""

from __future__ import annotations

from collections.abc import Sequence

from optbench.suite.types import Trial

LARGEST = 32
"""Trials in a stack, at most: the largest of the sizes that were measured, 4 to 32."""
LEAST = 8
"""No stack is cut below this only to give every core one."""


def chunks(trials: Sequence[Trial], at_once: int) -> list[tuple[Trial, ...]]:
    """Stacks of trials of one workload, batch size and schedule of evaluations, in the order of their first trials.

    Trials of one seed share their batches, and so a stack where there are enough of them; else several seeds share one. With
    fewer stacks than `at_once`, they are halved, down to `LEAST`.
    """
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.workload_name, str(trial.batch_size)), []).append(trial)
    made = [part for group in groups.values() for part in _of_group(group)]
    while len(made) < at_once:
        largest = max(made, key=len, default=())
        if len(largest) < 2 * LEAST:
            break
        position, half = made.index(largest), (len(largest) + 1) // 2
        made[position : position + 1] = [largest[:half], largest[half:]]
    return made


def _of_group(group: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    by_seed: dict[int, list[Trial]] = {}
    for trial in group:
        by_seed.setdefault(trial.seed, []).append(trial)
    made: list[tuple[Trial, ...]] = []
    shared: list[Trial] = []
    for own in by_seed.values():
        if len(own) > LARGEST // 2:
            made += _even(own)
        elif len(shared) + len(own) > LARGEST:
            made.append(tuple(shared))
            shared = list(own)
        else:
            shared += own
    return [*made, tuple(shared)] if shared else made


def _even(trials: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    parts = -(-len(trials) // LARGEST)
    size = -(-len(trials) // parts)
    return [tuple(trials[start : start + size]) for start in range(0, len(trials), size)]
