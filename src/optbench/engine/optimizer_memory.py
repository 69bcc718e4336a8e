"""Measure an optimizer's state and the peak of its step, in real steps on real parameters with random gradients.

Real tensors, since some optimizers (L-BFGS, Adafactor) read values and can't step on tensors without data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from optbench.catalog import lookup
from optbench.catalog.signatures import signature
from optbench.engine import optimizers
from optbench.engine.memory import is_out_of_memory, peak_of
from optbench.engine.protocol import Protocol, take_step
from optbench.engine.sparse_gradients import has_sparse_gradients, sparsify_gradients
from optbench.engine.state_memory import NOT_MEASURED, state_memory
from optbench.errors import OptbenchError, describe_error
from optbench.forecasts import OptimizerMemory
from optbench.suite.types import Rule, Trial

MAX_STEPS = 60  # for state that keeps growing
MEASURED_HISTORY = 10  # a longer history is extrapolated: a hundred pairs are 200 times the parameters
REHEARSALS = 3  # for steps with a closure: a step that ends early replaces only a part of the history
HORIZON = 1000  # passed to optimizers with an argument for the number of steps


def optimizer_memory(trial: Trial, model: nn.Module, least_steps: int = 3) -> OptimizerMemory:
    """Return state and step peak of the trial's optimizer on the parameters of `model` (on the CPU), whose values it changes.

    Takes at least `least_steps` steps, and more while the state grows, up to `MAX_STEPS`; the size of state that still grows is a lower
    bound. `implementation: default` means torch's default on a GPU. State with a history (L-BFGS) is reported for the full
    `history_size`. For an optimizer that fails, `problem` is the reason.
    """
    trial = as_on_gpu(trial)
    try:
        history = _history(trial, model)
        if history is None or history <= MEASURED_HISTORY:
            measured = _measure(trial, model, least_steps)
            if not history:
                return measured
            note = f"state with a full history of {history}"
            return replace(measured, note="; ".join(filter(None, (note, measured.note))))
        return _extrapolated(trial, model, least_steps, history)
    except optimizers.OptimizerFault as fault:
        return OptimizerMemory(None, None, problem=describe_error(fault.__cause__ or fault))
    except OptbenchError as error:
        return OptimizerMemory(None, None, problem=str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return OptimizerMemory(None, None, problem="out of memory on this machine")
    finally:
        model.zero_grad(set_to_none=True)


def as_on_gpu(trial: Trial) -> Trial:
    """Return the trial with `foreach=True` where torch would choose foreach on a GPU but not on a CPU."""
    if trial.implementation != "default":
        return trial
    rules = tuple(
        rule.model_copy(update={"arguments": {**rule.arguments, "foreach": True}})
        if _foreach_by_default(rule, trial.folder)
        else rule
        for rule in trial.entry.rules
    )
    return trial.model_copy(update={"entry": trial.entry.model_copy(update={"rules": rules})})


def _foreach_by_default(rule: Rule, folder: str) -> bool:
    """Return whether torch chooses foreach on a GPU for `foreach=None`: all classes do except Adafactor, to save memory."""
    target = lookup.resolve("optimizers", rule.use, folder)
    if target.module.startswith("torch.optim") and target.attribute.endswith("Adafactor"):
        return False
    chosen = any(rule.arguments.get(name) for name in ("foreach", "fused", "differentiable"))
    if chosen or rule.arguments.get("foreach") is False:
        return False
    parameters = signature(target)
    return (
        "foreach" in parameters.names
        and not parameters["foreach"].required
        and parameters["foreach"].default is None
    )


def _measure(trial: Trial, model: nn.Module, least_steps: int) -> OptimizerMemory:
    built = optimizers.build(trial, model, HORIZON)
    built.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    protocol = built.protocol
    renew: Callable[[], object] | None = None
    if protocol == Protocol():
        step = _random_gradient_step(built, parameters)
        if has_sparse_gradients(model):
            rows = trial.samples_per_step(max(p.numel() for p in parameters))
            renew = partial(sparsify_gradients, model, rows, torch.Generator().manual_seed(0))
    elif protocol.create_graph or protocol.calls == "loss_only":
        step = _autograd_step(built, parameters)
    else:
        step = _closure_step(built, parameters)
    largest, size, size_before, steps = NOT_MEASURED, -1, -2, 0
    while steps < least_steps or (size != size_before and steps < MAX_STEPS):
        if renew is not None:
            renew()
        try:
            step()
        except optimizers.OptimizerFault as fault:
            if setting := built.missing_setting(fault):
                raise OptbenchError(setting) from fault
            raise
        steps += 1
        measured = state_memory(built.members, parameters, model)
        size_before, size, largest = size, measured.bytes or 0, measured.maximum(largest)
    growth = size - size_before if size == largest.bytes else 0
    peak = peak_of(step, torch.device("cpu"), rehearsals=REHEARSALS if built.needs_closure else 1)
    reasons = [largest.note] if largest.note else []
    if growth > 0:
        cause = " with the rows of sparse gradients" if has_sparse_gradients(model) else ""
        reasons.append(f"after {steps} steps, the state still grows{cause}, by {growth:,} bytes per step")
    is_lower_bound = bool(reasons)
    note = "; ".join([*(["lower bound"] if largest.bytes is not None and reasons else []), *reasons])
    implementation = " and ".join(
        dict.fromkeys(used.name for groups in built.implementations() for used in groups)
    )
    return OptimizerMemory(largest.bytes, peak, implementation, built.needs_closure, note, is_lower_bound)


def _random_gradient_step(built: optimizers.Optimizers, parameters: Sequence[Tensor]) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter).uniform_(-1e-3, 1e-3, generator=generator)
    return built.step


def _closure_step(built: optimizers.Optimizers, parameters: Sequence[Tensor]) -> Callable[[], object]:
    """Return a step on a quadratic whose closure allocates no memory.

    The minimum moves at every step: otherwise the optimizer would converge and never fill its history.
    """
    generator = torch.Generator().manual_seed(0)
    curvatures = [torch.empty_like(p).uniform_(-3, 0, generator=generator).exp_() for p in parameters]
    gradients = [torch.zeros_like(p) for p in parameters]
    minimum = 0.0

    @torch.no_grad()
    def closure() -> Tensor:
        loss = torch.zeros(())
        for parameter, gradient, curvature in zip(parameters, gradients, curvatures, strict=True):
            torch.sub(parameter, minimum, out=gradient)
            gradient.mul_(curvature)
            parameter.grad = gradient
            products = torch.dot(parameter.reshape(-1), gradient.reshape(-1)) - minimum * gradient.sum()
            loss += products / 2
        return loss

    def step() -> None:
        nonlocal minimum
        minimum += 1.0
        if built.protocol.gradients_first:
            closure()
        built.step(closure)

    return step


def _autograd_step(built: optimizers.Optimizers, parameters: Sequence[Tensor]) -> Callable[[], object]:
    """Return a step on a quadratic with autograd, for optimizers that need its graph; the peak includes the loss's memory."""

    def loss() -> Tensor:
        return torch.stack([(p.abs() ** 2).sum() for p in parameters]).sum() / 2

    def step() -> None:
        for member in built.members:
            with optimizers.raise_as_optimizer_fault():
                take_step(member, built.protocol, parameters, loss)

    return step


def _history(trial: Trial, model: nn.Module) -> int | None:
    """Return the optimizer's `history_size`; None if it has none."""
    groups = [
        group for member in optimizers.build(trial, model, HORIZON).members for group in member.param_groups
    ]
    size = next((group["history_size"] for group in groups if "history_size" in group), None)
    return size if isinstance(size, int) else None


def _extrapolated(trial: Trial, model: nn.Module, least_steps: int, history: int) -> OptimizerMemory:
    """Extrapolate the state of a long history, which grows linearly with its length, from two short ones."""
    half = MEASURED_HISTORY // 2
    short, longer = (
        _measure(
            trial.model_copy(update={"point": {**trial.point, "history_size": length}}), model, least_steps
        )
        for length in (half, MEASURED_HISTORY)
    )
    if short.state_bytes is None or longer.state_bytes is None:
        return longer
    slope, remainder = divmod(longer.state_bytes - short.state_bytes, MEASURED_HISTORY - half)
    size = longer.state_bytes + slope * (history - MEASURED_HISTORY) + remainder
    note = f"state with a full history of {history}, extrapolated from {half} and {MEASURED_HISTORY}"
    return replace(longer, state_bytes=size, note="; ".join(filter(None, (note, longer.note))))
