"""Checks of what an optimizer does to tensors: their type and layout, odd sizes and values, gradients and closures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from optbench.engine.protocol import backward, take_step
from optbench.verify.bed import (
    PATIENCE,
    Fault,
    Note,
    Plugin,
    Valley,
    advance,
    said,
    same,
    seed_everything,
    weights_of,
)


def keeps_dtype(plugin: Plugin) -> str:
    """Parameters stay the tensors that the model holds: type, device, shape, gradient wanted."""
    kinds = (torch.float32,) if plugin.device.type == "mps" else (torch.float32, torch.float64)
    notes = []
    for dtype in kinds:
        valley = plugin.valley(dtype)
        facts, starts = _facts(valley), weights_of(valley)
        places = [w.data_ptr() for w in valley.weights]
        optimizer = plugin.build(valley)
        advance(plugin, valley, optimizer, range(PATIENCE))
        for before, after in zip(facts, _facts(valley), strict=True):
            if before != after:
                raise Fault(f"turns a parameter of {before} into one of {after}")
        if any(torch.equal(a, b) for a, b in zip(starts, valley.weights, strict=True)):
            raise Fault(f"does not move parameters in {_name(dtype)}")
        if places != [w.data_ptr() for w in valley.weights]:
            notes.append(
                "puts parameters into new memory at every step: views of them, as in a sweep's stack, don't follow"
            )
        coarse = {_name(t.dtype) for t in _own_state(valley, optimizer) if t.dtype.itemsize < dtype.itemsize}
        if coarse:
            notes.append(f"its state for parameters in {_name(dtype)} is in {' and '.join(sorted(coarse))}")
    if notes:
        raise Note("; ".join(dict.fromkeys(notes)))
    return f"parameters keep {' and '.join(map(_name, kinds))}, device and shape"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _own_state(valley: Valley, optimizer: Any) -> list[Tensor]:
    """Of one float a weight: where rounding would be felt."""
    shapes = {w.shape for w in valley.weights}
    held = [
        t
        for state in getattr(optimizer, "state", {}).values()
        if isinstance(state, dict)
        for t in state.values()
    ]
    return [
        t for t in held if isinstance(t, Tensor) and t.is_floating_point() and t.shape in shapes and t.dim()
    ]


def _facts(valley: Valley) -> list[str]:
    return [
        f"{_name(w.dtype)} on {w.device}, shape {tuple(w.shape)}"
        + ("" if w.requires_grad and w.is_leaf else ", not trainable")
        for w in valley.weights
    ]


def zero_gradients(plugin: Plugin) -> str:
    """Gradients of exactly 0 (dead units, a converged model) make no NaN, also before real ones."""
    valley = plugin.valley()
    optimizer = plugin.build(valley)
    advance(plugin, valley, optimizer, range(3), scale=0.0)
    advance(plugin, valley, optimizer, range(3))
    _finite(valley, "after gradients of 0")
    return "gradients of 0 do no harm"


def one_element(plugin: Plugin) -> str:
    """Tensors of one element."""
    return _tiny(plugin, ((1,), (1, 1)), ((1, 1),), "one element")


def scalar(plugin: Plugin) -> str:
    """Tensors of no dimension, such as a learned temperature."""
    return _tiny(plugin, ((),), None, "no dimension")


def _tiny(
    plugin: Plugin,
    shapes: tuple[tuple[int, ...], ...],
    fallback: tuple[tuple[int, ...], ...] | None,
    what: str,
) -> str:
    valley = plugin.valley(shapes=shapes)
    try:
        optimizer = plugin.build(valley)
    except ValueError as error:
        if fallback is not None:
            return _tiny(plugin, fallback, None, what)
        raise Note(f"refuses parameters of {what}, and says so: {said(error)}") from error
    starts = weights_of(valley)
    advance(plugin, valley, optimizer, range(PATIENCE))
    _finite(valley, f"of {what}")
    if any(torch.equal(a, b) for a, b in zip(starts, valley.weights, strict=True)):
        raise Fault(f"does not move parameters of {what}")
    return f"trains parameters of {what}"


def bf16(plugin: Plugin) -> str:
    """Weights in bfloat16. They start at 0, where even the smallest update is not rounded away."""
    valley = plugin.valley(torch.bfloat16, start=0.0)
    advance(plugin, valley, plugin.build(valley), plugin.steps(5))
    _finite(valley, "in bfloat16")
    if any(w.dtype != torch.bfloat16 for w in valley.weights):
        raise Fault("turns bfloat16 parameters into another type")
    if not all(w.detach().abs().max() > 0 for w in valley.weights):
        raise Fault("does not move parameters in bfloat16")
    return "trains parameters in bfloat16, and keeps them so"


def _finite(valley: Valley, what: str) -> None:
    if not all(bool(w.isfinite().all()) for w in valley.weights):
        raise Fault(f"makes parameters {what} NaN or infinite")


def channels_last(plugin: Plugin) -> str:
    """Weights in another memory layout go the same way."""
    shapes = ((4, 3, 2, 2),)
    plain, valley = plugin.valley(shapes=shapes), plugin.valley(shapes=shapes)
    valley.to(memory_format=torch.channels_last)
    try:
        ones, others = plugin.build(plain), plugin.build(valley)
    except ValueError as error:
        raise Note(f"refuses convolutions, and says so: {said(error)}") from error
    seed_everything(0)
    advance(plugin, plain, ones, range(5))
    seed_everything(0)
    try:
        advance(plugin, valley, others, range(5))
    except RuntimeError as error:
        raise Note(f"cannot train weights in channels_last, and says so: {said(error)}") from error
    difference = float((plain.weights[0] - valley.weights[0]).detach().abs().max())
    if not difference < 1e-4:
        raise Fault(
            f"weights in channels_last come to differ by {difference:.1e} from the same in the usual layout"
        )
    return "weights in channels_last go the same way"


def closure(plugin: Plugin) -> str:
    """`step(closure)` evaluates the closure with gradients on, returns its loss, and steps as without one."""
    seed_everything(0)
    plain, valley = plugin.valley(), plugin.valley()
    without, optimizer = plugin.build(plain), plugin.build(valley)
    protocol = plugin.protocol if plugin.needs_closure else replace(plugin.protocol, calls="closure")
    calls: list[float] = []
    returns_loss = True

    def loss() -> Tensor:
        return valley(number)  # type: ignore[no-any-return]

    def seen() -> None:
        if not torch.is_grad_enabled():
            raise Fault("calls the closure with gradients switched off")
        calls.append(float(loss().detach()))

    most = 1
    for number in range(4):
        calls.clear()
        seed_everything(number)
        with torch.enable_grad():
            returned = take_step(optimizer, protocol, list(valley.parameters()), loss, seen)
        if not calls:
            raise Fault("never calls the closure")
        returns_loss = returns_loss and _is_loss(returned, calls[0], plugin)
        most = max(most, len(calls))
        if not plugin.needs_closure:
            seed_everything(number)
            advance(plugin, plain, without, [number])
    times = f" up to {most} times a step" if most > 1 else ""
    if not returns_loss:
        raise Note(f"calls the closure{times}, and does not return its loss")
    if plugin.needs_closure or most > 1:
        return f"calls the closure{times}, and returns its loss"
    if not same(weights_of(plain), weights_of(valley)):
        raise Fault("steps otherwise with a closure than without one")
    return "calls the closure, returns its loss, and steps as without one"


def _is_loss(returned: Any, loss: float, plugin: Plugin) -> bool:
    """False where a class that needs its closure returns nothing: the engine does not use the value."""
    if returned is None and plugin.needs_closure:
        return False
    if returned is None or abs(float(torch.as_tensor(returned).detach()) - loss) > 1e-6 * abs(loss):
        raise Fault("does not return the loss that the closure gave")
    return True


def _gradients(valley: Valley) -> list[Tensor]:
    """Dense copies."""
    return [w.grad.detach().to_dense().clone() for w in valley.weights if w.grad is not None]


def gradients(plugin: Plugin) -> str:
    """They are as they were after the step: for whoever logs, accumulates or clips them."""
    if plugin.needs_closure:
        raise Note("not asked: its closure makes the gradients anew")
    for changes in ({}, plugin.with_decay()):
        valley = plugin.valley()
        optimizer = plugin.build(valley, **changes)
        for number in range(3):
            for parameter in valley.parameters():
                parameter.grad = None
            backward(valley(number), create_graph=plugin.protocol.create_graph)
            kept = _gradients(valley)
            optimizer.step()
            now = _gradients(valley)
            if len(now) < len(kept) or not same(kept, now):
                when = " when weight_decay is set" if changes else ""
                raise Note(f"changes gradients in place{when}: read them before the step")
    return "leaves gradients as they are"
