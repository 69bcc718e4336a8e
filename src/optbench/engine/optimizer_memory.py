"""An optimizer's state and the peak of its step, by real steps on real parameters with random gradients; nothing is trained.

Real ones, since some optimizers read values (L-BFGS, Adafactor) and so can't step on tensors without data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from optbench.catalog import lookup
from optbench.catalog.signatures import signature
from optbench.engine import optimizers
from optbench.engine.memory import is_out_of_memory, peak_of
from optbench.engine.protocol import Protocol, take_step
from optbench.engine.sparse_gradients import sparsify_gradients
from optbench.engine.state_memory import NOTHING, state_memory
from optbench.errors import OptbenchError
from optbench.forecasts import OptimizerMemory
from optbench.suite.types import Rule, Trial

MOST_STEPS = 60  # for state that keeps growing
MEASURED_HISTORY = 10  # a longer one is extrapolated: a hundred pairs are 200 times the parameters
REHEARSALS = 3  # of steps with a closure: one that ends early replaces only a part of a history
HORIZON = 1000  # told to optimizers that ask for the number of steps


def optimizer_memory(trial: Trial, model: nn.Module, least_steps: int = 3) -> OptimizerMemory:
    """State and step peak of the trial's optimizer on the parameters of `model` (on the CPU), whose values it changes.

    At least `least_steps` steps are taken, and more while the state grows. `implementation: default` means what torch takes on a
    GPU. State in a history (L-BFGS) is told for the full history asked for. An optimizer that fails gives a `problem`.
    """
    trial = as_on_gpu(trial)
    try:
        history = _history(trial, model)
        if history is None or history <= MEASURED_HISTORY:
            found = _measure(trial, model, least_steps)
            if not history:
                return found
            note = f"state with a full history of {history}"
            return replace(found, note="; ".join(filter(None, (note, found.note))))
        return _extrapolated(trial, model, least_steps, history)
    except optimizers.OptimizerFault as fault:
        cause = fault.__cause__ or fault
        return OptimizerMemory(
            None, None, problem=f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"
        )
    except OptbenchError as error:
        return OptimizerMemory(None, None, problem=str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return OptimizerMemory(None, None, problem="out of memory on this machine")
    finally:
        model.zero_grad(set_to_none=True)


def as_on_gpu(trial: Trial) -> Trial:
    """The trial with `foreach` asked for by name where torch would take it by itself on a GPU, but not on a CPU."""
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
    """`foreach=None` leaves the choice to torch: foreach on a GPU, for all of its classes but Adafactor, which saves memory."""
    target = lookup.resolve("optimizers", rule.use, folder)
    if target.module.startswith("torch.optim") and target.attribute.endswith("Adafactor"):
        return False
    chosen = any(rule.arguments.get(name) for name in ("foreach", "fused", "differentiable"))
    if chosen or rule.arguments.get("foreach") is False:
        return False
    read = signature(target)
    return "foreach" in read.names and not read["foreach"].required and read["foreach"].default is None


def _measure(trial: Trial, model: nn.Module, least_steps: int) -> OptimizerMemory:
    held = optimizers.build(trial, model, HORIZON)
    held.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    protocol = held.protocol
    if protocol == Protocol():
        step = _random(held, parameters)
        sparsify_gradients(model, trial.samples_a_step(max(p.numel() for p in parameters)))
    elif protocol.create_graph or protocol.calls == "loss_only":
        step = _differentiated(held, parameters)
    else:
        step = _curved(held, parameters)
    most, size, before = NOTHING, -1, -2
    for number in range(MOST_STEPS):
        if number >= least_steps and size == before:
            break
        step()
        measured = state_memory(held.members, parameters, model)
        before, size, most = size, measured.bytes or 0, measured.or_more(most)
    peak = peak_of(step, torch.device("cpu"), rehearsals=REHEARSALS if held.needs_closure else 1)
    note = f"at least; {most.note}" if most.bytes is not None and most.note else most.note
    return OptimizerMemory(most.bytes, peak, _implementation(held), held.needs_closure, note, bool(most.note))


def _random(held: optimizers.Optimizers, parameters: Sequence[Tensor]) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter).uniform_(-1e-3, 1e-3, generator=generator)
    return held.step


def _curved(held: optimizers.Optimizers, parameters: Sequence[Tensor]) -> Callable[[], object]:
    """Steps on a quadratic whose closure allocates nothing. Its minimum moves with every step, or the optimizer would arrive,
    rest, and never fill its history."""
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
        if held.protocol.gradients_first:
            closure()
        held.step(closure)

    return step


def _differentiated(held: optimizers.Optimizers, parameters: Sequence[Tensor]) -> Callable[[], object]:
    """Steps on a quadratic with autograd, for optimizers that need its graph; the peak includes that of the loss."""

    def loss() -> Tensor:
        return torch.stack([(p.abs() ** 2).sum() for p in parameters]).sum() / 2

    def step() -> None:
        for member in held.members:
            with optimizers.blamed_on_optimizer():
                take_step(member, held.protocol, parameters, loss)

    return step


def _history(trial: Trial, model: nn.Module) -> int | None:
    """How many past steps the optimizer is asked to remember in full; None if that is not its way."""
    groups = [
        group for member in optimizers.build(trial, model, HORIZON).members for group in member.param_groups
    ]
    size = next((group["history_size"] for group in groups if "history_size" in group), None)
    return size if isinstance(size, int) else None


def _extrapolated(trial: Trial, model: nn.Module, least_steps: int, history: int) -> OptimizerMemory:
    """The state of a history grows evenly with its length, so two short ones tell a long one's."""
    half = MEASURED_HISTORY // 2
    short, longer = (
        _measure(
            trial.model_copy(update={"point": {**trial.point, "history_size": length}}), model, least_steps
        )
        for length in (half, MEASURED_HISTORY)
    )
    if short.state_bytes is None or longer.state_bytes is None:
        return longer
    slope, rest = divmod(longer.state_bytes - short.state_bytes, MEASURED_HISTORY - half)
    size = longer.state_bytes + slope * (history - MEASURED_HISTORY) + rest
    note = f"state with a full history of {history}, extrapolated from {half} and {MEASURED_HISTORY}"
    return replace(longer, state_bytes=size, note="; ".join(filter(None, (note, longer.note))))


def _implementation(held: optimizers.Optimizers) -> str:
    names = []
    for group in (group for member in held.members for group in member.param_groups):
        chosen = [name for name in ("fused", "foreach") if group.get(name)]
        names.append(chosen[0] if chosen else "forloop" if "foreach" in group else "own")
    return " and ".join(dict.fromkeys(names))
