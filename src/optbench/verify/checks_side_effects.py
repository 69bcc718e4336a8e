"""Checks of an optimizer's side effects: gradients, memory, process-wide settings, state shared between parameters."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from optbench.engine.protocol import Protocol, clear_gradients
from optbench.verify.toy_problem import (
    MATRICES,
    CheckFailed,
    CheckNote,
    Plugin,
    ToyModel,
    advance,
    bitwise_equal,
    copy_weights,
    generator_states,
    preserve_settings,
    process_settings,
    seed_everything,
)


def alike(plugin: Plugin) -> str:
    """Check that two parameters with equal shapes, starts and gradients stay equal: each has its own state."""
    seed_everything(0)
    model = plugin.toy_model(shapes=(MATRICES[0],) * 2).make_parameters_equal()
    optimizer, before = plugin.build(model), generator_states()
    advance(plugin, model, optimizer, range(5))
    one, other = copy_weights(model)
    if torch.allclose(one, other, rtol=1e-5, atol=1e-6):
        return "parameters with equal gradients stay equal"
    if generator_states() != before:
        raise CheckNote("draws random numbers for each parameter")
    raise CheckFailed(
        "two parameters with equal shapes, starts and gradients become different; expected one state per parameter"
    )


def zero_grad(plugin: Plugin) -> str:
    """Check that `zero_grad(set_to_none=True)` clears all gradients, and that zeroing them in place gives the same weights."""
    model = plugin.toy_model()
    optimizer = plugin.build(model)
    if not callable(getattr(optimizer, "zero_grad", None)):
        raise CheckFailed("has no zero_grad() method")
    model(0).backward()
    optimizer.zero_grad(set_to_none=True)
    if any(w.grad is not None and bool(w.grad.any()) for w in model.weights):
        raise CheckFailed("zero_grad() does not clear gradients: they would accumulate from step to step")
    if plugin.protocol == Protocol() and not bitwise_equal(
        _weights_after_training(plugin, in_place=False), _weights_after_training(plugin, in_place=True)
    ):
        raise CheckFailed(
            "gives different weights if gradients are zeroed in place: it stores a gradient without copying it"
        )
    return "zero_grad() clears gradients, and no gradient is stored without a copy"


def _weights_after_training(plugin: Plugin, *, in_place: bool) -> list[Tensor]:
    seed_everything(0)
    model = plugin.toy_model()
    optimizer = plugin.build(model)
    for number in range(4):
        for weight in model.weights:
            weight.grad = weight.grad.zero_() if in_place and weight.grad is not None else None
        model(number).backward()
        optimizer.step()
    return copy_weights(model)


_WINDOW = 20


def memory(plugin: Plugin) -> str:
    """Check that the number of tensors in memory stops growing, and that the state keeps no graph."""
    model = plugin.toy_model()
    optimizer = plugin.build(model)
    tensor_counts = []
    gc.freeze()  # leaves older objects out, which is a hundred times as fast
    try:
        for window in range(4):
            advance(plugin, model, optimizer, range(window * _WINDOW, (window + 1) * _WINDOW))
            clear_gradients(list(model.parameters()))
            gc.collect()
            tensor_counts.append(sum(issubclass(type(value), Tensor) for value in gc.get_objects()))
    finally:
        gc.unfreeze()
    growth = [later - before for before, later in pairwise(tensor_counts)]
    if min(growth) >= _WINDOW:
        raise CheckFailed(
            f"keeps {growth[-1] / _WINDOW:.3g} more tensors after each step: memory use grows without limit"
        )
    parameter_ids = {id(weight) for weight in model.weights}
    if any(
        t.requires_grad and id(t) not in parameter_ids
        for t in _tensors(list(getattr(optimizer, "state", {}).values()))
    ):
        raise CheckFailed(
            "its state keeps the autograd graph of all earlier steps: memory use grows without limit; detach() the state"
        )
    return f"memory use does not grow over {4 * _WINDOW} steps"


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
    """Check that process-wide settings and random generators are unchanged."""
    with preserve_settings():
        before = process_settings()
        _generators_after_training(plugin, 0)
        after = process_settings()
    changed = [name for name, value in before.items() if after[name] != value]
    if changed:
        raise CheckFailed(f"changes {' and '.join(changed)} for the whole process")
    if any(
        one == other
        for one, other in zip(
            _generators_after_training(plugin, 0), _generators_after_training(plugin, 1), strict=True
        )
    ):
        raise CheckFailed("seeds a global random generator: dropout and data order would repeat")
    return "does not change process-wide settings"


def _generators_after_training(plugin: Plugin, seed: int) -> tuple[Any, ...]:
    """Return the states of the global generators after two steps from this seed."""
    seed_everything(seed)
    model: ToyModel = plugin.toy_model()
    advance(plugin, model, plugin.build(model), range(2))
    return generator_states()
