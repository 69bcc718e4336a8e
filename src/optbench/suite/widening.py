"""Wider search spaces, for settings that were selected at an end of theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optbench.suite.spaces import (
    MAX_POINTS,
    Space,
    fits,
    has_space,
    is_number,
    is_space,
    parse_space,
    rounded,
    written_space,
)

#: part of a space at each end; a selected value there is at the edge
EDGE = 0.05
#: hyperparameters whose values are below 1 for every optimizer that has them
_BELOW_ONE = ("momentum", "betas", "beta", "beta1", "beta2", "beta3", "alpha", "rho", "dampening")
_FACTOR = 10.0


@dataclass(frozen=True)
class Edge:
    """An end of a space. `is_upper`: of the hyperparameter's values; `value`: its last value."""

    is_upper: bool
    value: float


def widened(name: str, value: Any, written: Any) -> tuple[Any, tuple[Edge, ...]]:
    """Return a tuned argument with wider spaces where the selected value is at an end, and these ends.

    `name`: of the argument; `value`: as selected; `written`: with its spaces. A logarithmic space grows by a factor of 10, any other one by
    its own width, and a choice of numbers by one number. Ends that are natural limits (0 of a space without negative values; 1 of momenta)
    are neither widened nor returned; choices of momenta neither.
    """
    if is_space(written):
        space = parse_space(written)
        if space.kind != "choice":
            return _wider(name, space, value, written)
        options = list(space.values)
        ends: tuple[Edge, ...] = ()
        if all(map(is_number, options)):
            return _wider_choice(name, options, value, written)
        selected = next((n for n, option in enumerate(options) if fits(value, option)), None)
        if selected is not None:
            options[selected], ends = widened(name, value, options[selected])
        return ({"choice": options} if ends else written), ends
    if not has_space(written):
        return written, ()
    if isinstance(written, Mapping):
        parts = {key: widened(key, value[key], part) for key, part in written.items()}
        edges = tuple(end for _, ends in parts.values() for end in ends)
        return {key: part for key, (part, _) in parts.items()}, edges
    listed = [widened(name, one, part) for one, part in zip(value, written, strict=True)]
    return [part for part, _ in listed], tuple(end for _, ends in listed for end in ends)


def _wider_choice(name: str, options: list[Any], value: float, written: Any) -> tuple[Any, tuple[Edge, ...]]:
    """Return a choice of numbers with one more beyond the selected end, in the ratio or distance of the two numbers there."""
    numbers = sorted(options)
    is_upper = value == numbers[-1]
    end, inner = (numbers[-1], numbers[-2]) if is_upper else (numbers[0], numbers[1])
    if value != end or name.rpartition(".")[2] in _BELOW_ONE:
        return written, ()
    new = end * end / inner if numbers[0] > 0 else 2 * end - inner
    is_whole = all(isinstance(number, int) for number in numbers)
    new = round(new) if is_whole else rounded(new)
    if not is_upper and numbers[0] >= 0:
        new = max(new, min(1, numbers[0])) if is_whole else max(new, 0.0)
    if new in numbers or not math.isfinite(new):
        return written, ()
    return {"choice": [*options, new] if is_upper else [new, *options]}, (Edge(is_upper, end),)


def _wider(name: str, space: Space, value: float, written: Any) -> tuple[Any, tuple[Edge, ...]]:
    position = space.position(value)
    if EDGE <= position <= 1 - EDGE:
        return written, ()
    at_low = position < EDGE
    of_space = _logarithmic if space.kind in ("log", "one_minus_log") else _linear
    wider = of_space(space, at_low=at_low, below_one=name.rpartition(".")[2] in _BELOW_ONE)
    if wider is None or not _is_valid(wider):
        return written, ()
    end = space.end(upper=not at_low)
    other = space.end(upper=at_low)
    return written_space(wider), (Edge(end > other, end),)


def _is_valid(space: Space) -> bool:
    """Return whether a suite may contain the space: a wider one may be beyond the range of floating-point numbers."""
    try:
        parse_space(written_space(space))
    except ValueError:
        return False
    return True


def _logarithmic(space: Space, *, at_low: bool, below_one: bool) -> Space | None:
    low, high = space.values
    limit = 1.0 if space.kind == "one_minus_log" or below_one else math.inf
    if space.points is None:
        if at_low:
            return Space(space.kind, (rounded(low / _FACTOR), high))
        wider = high * _FACTOR if high * _FACTOR < limit else 1 - (1 - high) / _FACTOR
        return Space(space.kind, (low, rounded(wider))) if high < 0.9 * limit else None
    step = (high / low) ** (1 / (space.points - 1))
    count = max(1, round(math.log(_FACTOR) / math.log(step)))
    while not at_low and count and high * step**count >= limit:
        count -= 1
    if not count or space.points + count > MAX_POINTS:
        return None
    ends = (rounded(low / step**count), high) if at_low else (low, rounded(high * step**count))
    return Space(space.kind, ends, space.points + count)


def _linear(space: Space, *, at_low: bool, below_one: bool) -> Space | None:
    low, high = space.values
    floor = -math.inf if low < 0 else min(1, low) if space.kind == "integer" else 0.0
    limit = 1.0 if below_one and space.kind == "uniform" else math.inf
    if space.points is None:
        width = high - low
        wider = max(floor, low - width) if at_low else high + width
        if wider >= limit:
            wider = 1 - (1 - high) / _FACTOR
        ends = (wider, high) if at_low else (low, wider)
        if ends == space.values or (not at_low and high >= 0.99 * limit):
            return None
        return Space(space.kind, ends if space.kind == "integer" else tuple(map(rounded, ends)))
    step = (high - low) / (space.points - 1)
    count = max(1, space.points // 2)
    while count and (
        (at_low and low - count * step < floor - 1e-9) or (not at_low and high + count * step >= limit)
    ):
        count -= 1
    if not count or space.points + count > MAX_POINTS:
        return None
    ends = (low - count * step, high) if at_low else (low, high + count * step)
    whole = space.kind == "integer"
    return Space(
        space.kind, tuple(round(end) if whole else rounded(end) for end in ends), space.points + count
    )
