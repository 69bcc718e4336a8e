"""Checks of what an optimizer leaves behind: gradients, memory, settings of the process, one parameter's state for another."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from optbench.engine.protocol import Protocol
from optbench.verify.bed import (
    MATRICES,
    Fault,
    Note,
    Plugin,
    Valley,
    advance,
    clear_gradients,
    generators,
    same,
    seed_everything,
    settings,
    settings_kept,
    weights_of,
)


def alike(plugin: Plugin) -> str:
    """Two parameters of one shape, start and gradient go one way: each has a state of its own."""
    seed_everything(0)
    valley = plugin.valley(shapes=(MATRICES[0],) * 2).as_twins()
    optimizer, before = plugin.build(valley), generators()
    advance(plugin, valley, optimizer, range(5))
    one, other = weights_of(valley)
    if torch.allclose(one, other, rtol=1e-5, atol=1e-6):
        return "parameters with the same gradients go the same way"
    if generators() != before:
        raise Note("draws random numbers for each parameter")
    raise Fault(
        "two parameters of one shape with the same gradients go different ways: do they share a state?"
    )


def zero_grad(plugin: Plugin) -> str:
    """`zero_grad(set_to_none=True)` clears all gradients, and those that are zeroed in place are as good as new ones."""
    valley = plugin.valley()
    optimizer = plugin.build(valley)
    if not callable(getattr(optimizer, "zero_grad", None)):
        raise Fault("has no zero_grad()")
    valley(0).backward()
    optimizer.zero_grad(set_to_none=True)
    if any(w.grad is not None and bool(w.grad.any()) for w in valley.weights):
        raise Fault("zero_grad() leaves gradients: they would add up from step to step")
    if plugin.protocol == Protocol() and not same(
        _zeroed(plugin, in_place=False), _zeroed(plugin, in_place=True)
    ):
        raise Fault(
            "goes another way where gradients are zeroed in place: it keeps a gradient without a copy"
        )
    return "zero_grad() clears gradients, and none is kept without a copy"


def _zeroed(plugin: Plugin, *, in_place: bool) -> list[Tensor]:
    seed_everything(0)
    valley = plugin.valley()
    optimizer = plugin.build(valley)
    for number in range(4):
        for weight in valley.weights:
            weight.grad = weight.grad.zero_() if in_place and weight.grad is not None else None
        valley(number).backward()
        optimizer.step()
    return weights_of(valley)


_WINDOW = 20


def memory(plugin: Plugin) -> str:
    """What it holds stops growing."""
    valley = plugin.valley()
    optimizer = plugin.build(valley)
    held = []
    gc.freeze()  # what is older is not looked at: a hundred times as fast
    try:
        for window in range(4):
            advance(plugin, valley, optimizer, range(window * _WINDOW, (window + 1) * _WINDOW))
            clear_gradients(valley)
            gc.collect()
            held.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))
    finally:
        gc.unfreeze()
    grown = [later - before for before, later in pairwise(held)]
    if min(grown) >= _WINDOW:
        raise Fault(f"holds {grown[-1] / _WINDOW:.3g} more tensors after every step: memory runs out")
    own = {id(weight) for weight in valley.weights}
    if any(
        t.requires_grad and id(t) not in own for t in _tensors(list(getattr(optimizer, "state", {}).values()))
    ):
        raise Fault(
            "its state holds on to the graph of every step before: memory runs out, and detach() is missing"
        )
    return f"holds as much after {4 * _WINDOW} steps as before"


def _tensors(node: Any) -> Iterator[Tensor]:
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, dict):
        for inner in node.values():
            yield from _tensors(inner)
    elif isinstance(node, (list, tuple)):
        for inner in node:
            yield from _tensors(inner)


def side_effects(plugin: Plugin) -> str:
    """Settings of the whole process, and its random numbers, are as they were."""
    with settings_kept():
        before = settings()
        _short_run(plugin, 0)
        after = settings()
    changed = [name for name, value in before.items() if after[name] != value]
    if changed:
        raise Fault(f"changes {' and '.join(changed)}, for the whole process")
    if any(one == other for one, other in zip(_short_run(plugin, 0), _short_run(plugin, 1), strict=True)):
        raise Fault("seeds a random generator of the whole process: dropout and data would repeat")
    return "leaves the settings of the process alone"


def _short_run(plugin: Plugin, seed: int) -> tuple[Any, ...]:
    """The generators after it."""
    seed_everything(seed)
    valley: Valley = plugin.valley()
    advance(plugin, valley, plugin.build(valley), range(2))
    return generators()
