"""Lengths of training in different units, compared by the optimizer steps per epoch that trials have recorded."""

from __future__ import annotations

from optbench.suite.field_types import Duration


def in_steps(length: Duration, steps_per_epoch: int | None) -> int | None:
    """Return a length in optimizer steps; None for seconds, and for epochs where the steps per epoch are not known."""
    if length.unit == "steps":
        return length.steps(1)
    if length.unit == "seconds" or steps_per_epoch is None:
        return None
    return length.steps(steps_per_epoch)


def same_length(a: Duration, b: Duration, steps_per_epoch: int | None) -> bool:
    """Return whether two lengths are equal, as 20 epochs and 40 steps are at 2 steps per epoch."""
    steps = in_steps(a, steps_per_epoch)
    return a == b or (steps is not None and steps == in_steps(b, steps_per_epoch))
