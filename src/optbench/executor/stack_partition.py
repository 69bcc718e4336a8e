"""Partition of trials into stacks."""

from __future__ import annotations

from collections.abc import Sequence

from optbench.suite.types import Trial

MAX_TRIALS = 32
"""Maximum number of trials in a stack: the largest of the measured sizes, 4 to 32."""
MIN_TRIALS = 8
"""Stacks are not split below this size to occupy more cores."""


def split_into_stacks(trials: Sequence[Trial], at_once: int) -> list[tuple[Trial, ...]]:
    """Return stacks of trials of one workload, budget, batch size and rung, in the order of their first trials.

    Trials of one seed share their batches, so they form their own stack if there are enough of them; otherwise several seeds share a
    stack. If there are fewer stacks than `at_once`, the largest are halved, down to `MIN_TRIALS`.
    """
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        key = (trial.workload_name, str(trial.workload.budget), str(trial.batch_size), str(trial.rung))
        groups.setdefault(key, []).append(trial)
    stacks = [stack for group in groups.values() for stack in _split_group(group)]
    while len(stacks) < at_once:
        largest = max(stacks, key=len, default=())
        if len(largest) < 2 * MIN_TRIALS:
            break
        position, half = stacks.index(largest), (len(largest) + 1) // 2
        stacks[position : position + 1] = [largest[:half], largest[half:]]
    return stacks


def _split_group(group: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    by_seed: dict[int, list[Trial]] = {}
    for trial in group:
        by_seed.setdefault(trial.seed, []).append(trial)
    stacks: list[tuple[Trial, ...]] = []
    shared: list[Trial] = []
    for of_seed in by_seed.values():
        if len(of_seed) > MAX_TRIALS // 2:
            stacks += _split_evenly(of_seed)
        elif len(shared) + len(of_seed) > MAX_TRIALS:
            stacks.append(tuple(shared))
            shared = list(of_seed)
        else:
            shared += of_seed
    return [*stacks, tuple(shared)] if shared else stacks


def _split_evenly(trials: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    parts = -(-len(trials) // MAX_TRIALS)
    size = -(-len(trials) // parts)
    return [tuple(trials[start : start + size]) for start in range(0, len(trials), size)]
