"""Checks of tensors: data type, memory layout, small sizes, gradients of 0, and closures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from optbench.engine.protocol import backward, clear_gradients, take_step
from optbench.verify.toy_problem import (
    PATIENCE,
    READS_NO_GRADIENTS,
    CheckFailed,
    CheckNote,
    Plugin,
    ToyModel,
    advance,
    any_equal,
    bitwise_equal,
    copy_weights,
    first_line,
    seed_everything,
)


def keeps_dtype(plugin: Plugin) -> str:
    """Check that parameters keep their data type, device, shape and requires_grad."""
    dtypes = (torch.float32,) if plugin.device.type == "mps" else (torch.float32, torch.float64)
    notes = []
    for dtype in dtypes:
        model = plugin.toy_model(dtype)
        descriptions, starts = _describe_weights(model), copy_weights(model)
        addresses = [w.data_ptr() for w in model.weights]
        optimizer = plugin.build(model)
        advance(plugin, model, optimizer, range(PATIENCE))
        for before, after in zip(descriptions, _describe_weights(model), strict=True):
            if before != after:
                raise CheckFailed(f"changes a parameter from {before} to {after}")
        if any_equal(starts, model.weights):
            raise CheckFailed(f"does not update parameters in {_name(dtype)}")
        if addresses != [w.data_ptr() for w in model.weights]:
            notes.append(
                "moves parameters to new memory in each step: views of them, as in a stacked sweep, are not updated"
            )
        lower_precision = {
            _name(t.dtype) for t in _per_weight_state(model, optimizer) if t.dtype.itemsize < dtype.itemsize
        }
        if lower_precision:
            notes.append(
                f"its state for parameters in {_name(dtype)} is in {' and '.join(sorted(lower_precision))}"
            )
    if notes:
        raise CheckNote("; ".join(dict.fromkeys(notes)))
    return f"parameters keep {' and '.join(map(_name, dtypes))}, device and shape"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _per_weight_state(model: ToyModel, optimizer: Any) -> list[Tensor]:
    """Return the floating-point state tensors with one value per weight, where rounding matters."""
    shapes = {w.shape for w in model.weights}
    states = (state for state in getattr(optimizer, "state", {}).values() if isinstance(state, dict))
    tensors = (value for state in states for value in state.values() if isinstance(value, Tensor))
    return [t for t in tensors if t.is_floating_point() and t.shape in shapes and t.dim()]


def _describe_weights(model: ToyModel) -> list[str]:
    return [
        f"{_name(w.dtype)} on {w.device}, shape {tuple(w.shape)}"
        + ("" if w.requires_grad and w.is_leaf else ", not trainable")
        for w in model.weights
    ]


def zero_gradients(plugin: Plugin) -> str:
    """Check that gradients of exactly 0 (dead units, a converged model) cause no NaN, even before other gradients."""
    model = plugin.toy_model()
    optimizer = plugin.build(model)
    advance(plugin, model, optimizer, range(3), scale=0.0)
    advance(plugin, model, optimizer, range(3))
    _require_finite(model, "after gradients of 0")
    return "gradients of 0 cause no NaN or infinity"


def one_element(plugin: Plugin) -> str:
    """Check tensors with one element."""
    return _tiny(plugin, ((1,), (1, 1)), ((1, 1),), "with one element")


def scalar(plugin: Plugin) -> str:
    """Check tensors without dimensions, such as a learned temperature."""
    return _tiny(plugin, ((),), None, "without dimensions")


def _tiny(
    plugin: Plugin,
    shapes: tuple[tuple[int, ...], ...],
    fallback: tuple[tuple[int, ...], ...] | None,
    what: str,
) -> str:
    model = plugin.toy_model(shapes=shapes)
    try:
        optimizer = plugin.build(model)
    except ValueError as error:
        if fallback is not None:
            return _tiny(plugin, fallback, None, what)
        raise CheckNote(f"rejects parameters {what}: {first_line(error)}") from error
    starts = copy_weights(model)
    advance(plugin, model, optimizer, range(PATIENCE))
    _require_finite(model, what)
    if any_equal(starts, model.weights):
        raise CheckFailed(f"does not update parameters {what}")
    return f"trains parameters {what}"


def bf16(plugin: Plugin) -> str:
    """Check weights in bfloat16. They start at 0, where even the smallest update is not rounded away."""
    model = plugin.toy_model(torch.bfloat16, start=0.0)
    advance(plugin, model, plugin.build(model), plugin.steps(5))
    _require_finite(model, "in bfloat16")
    if any(w.dtype != torch.bfloat16 for w in model.weights):
        raise CheckFailed("changes the type of bfloat16 parameters")
    if not all(w.detach().abs().max() > 0 for w in model.weights):
        raise CheckFailed("does not update parameters in bfloat16")
    return "trains parameters in bfloat16 and keeps their type"


def _require_finite(model: ToyModel, what: str) -> None:
    if not all(bool(w.isfinite().all()) for w in model.weights):
        raise CheckFailed(f"makes parameters {what} NaN or infinite")


def channels_last(plugin: Plugin) -> str:
    """Check that weights in channels_last layout get the same updates as contiguous ones."""
    shapes = ((4, 3, 2, 2),)
    plain, model = plugin.toy_model(shapes=shapes), plugin.toy_model(shapes=shapes)
    model.to(memory_format=torch.channels_last)
    try:
        plain_optimizer, optimizer = plugin.build(plain), plugin.build(model)
    except ValueError as error:
        raise CheckNote(f"rejects convolution weights: {first_line(error)}") from error
    seed_everything(0)
    advance(plugin, plain, plain_optimizer, range(5))
    seed_everything(0)
    try:
        advance(plugin, model, optimizer, range(5))
    except RuntimeError as error:
        raise CheckNote(f"rejects weights in channels_last: {first_line(error)}") from error
    difference = float((plain.weights[0] - model.weights[0]).detach().abs().max())
    if not difference < 1e-4:
        raise CheckFailed(
            f"weights in channels_last differ by {difference:.1e} from contiguous ones after 5 steps"
        )
    return "weights in channels_last get the same updates"


def closure(plugin: Plugin) -> str:
    """Check that `step(closure)` evaluates the closure with gradients enabled, returns its loss and updates as `step()` does."""
    if plugin.protocol.calls == "with_loss":
        raise CheckNote("step() takes the loss, not a closure")
    seed_everything(0)
    plain, model = plugin.toy_model(), plugin.toy_model()
    without, optimizer = plugin.build(plain), plugin.build(model)
    protocol = plugin.protocol if plugin.needs_closure else replace(plugin.protocol, calls="closure")
    calls: list[float] = []
    returns_loss = True

    def loss() -> Tensor:
        return model(number)  # type: ignore[no-any-return]

    def record_call() -> None:
        if not torch.is_grad_enabled() and not plugin.gradient_free:
            raise CheckFailed("calls the closure with gradients disabled")
        calls.append(float(loss().detach()))

    max_calls = 1
    for number in range(4):
        calls.clear()
        seed_everything(number)
        with torch.enable_grad():
            returned = take_step(optimizer, protocol, list(model.parameters()), loss, record_call)
        if not calls:
            raise CheckFailed("never calls the closure")
        returns_loss = returns_loss and _returns_loss(returned, calls[0], plugin)
        max_calls = max(max_calls, len(calls))
        if not plugin.needs_closure:
            seed_everything(number)
            advance(plugin, plain, without, [number])
    times = f" up to {max_calls} times per step" if max_calls > 1 else ""
    if not returns_loss:
        raise CheckNote(f"calls the closure{times} and does not return its loss")
    if plugin.needs_closure or max_calls > 1:
        return f"calls the closure{times} and returns its loss"
    if not bitwise_equal(copy_weights(plain), copy_weights(model)):
        raise CheckFailed("step(closure) gives other weights than step()")
    return "calls the closure, returns its loss, and gives the same weights as step()"


def _returns_loss(returned: Any, loss: float, plugin: Plugin) -> bool:
    """Return whether `step` returned the loss. An optimizer that needs its closure may return None: the engine does not use the value."""
    if returned is None and plugin.needs_closure:
        return False
    if returned is None or abs(float(torch.as_tensor(returned).detach()) - loss) > 1e-6 * abs(loss):
        raise CheckFailed("does not return the loss of the closure")
    return True


def _gradients(model: ToyModel) -> list[Tensor]:
    """Return dense copies of the gradients."""
    return [w.grad.detach().to_dense().clone() for w in model.weights if w.grad is not None]


def gradients(plugin: Plugin) -> str:
    """Check that `step()` does not change gradients: logging and accumulation may read them after it."""
    if plugin.gradient_free:
        raise CheckNote(READS_NO_GRADIENTS)
    if plugin.needs_closure:
        raise CheckNote("not checked: its closure computes the gradients again")
    for changes in ({}, plugin.with_decay()):
        model = plugin.toy_model()
        optimizer = plugin.build(model, **changes)
        for number in range(3):
            clear_gradients(list(model.parameters()))
            backward(model(number), create_graph=plugin.protocol.create_graph)
            before = _gradients(model)
            optimizer.step()
            after = _gradients(model)
            if len(after) < len(before) or not bitwise_equal(before, after):
                when = " when weight_decay is set" if changes else ""
                raise CheckNote(f"changes gradients in place{when}: read gradients before step()")
    return "does not change gradients"
