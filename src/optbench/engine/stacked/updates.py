"""Stacked optimizer steps: one update for many trials, with the hyperparameters of each trial in its row.

Each trial keeps its own `torch.optim` object, which stores the hyperparameters that the schedule changes; `write_back_state` writes the
state to it. The equations are those of torch's single-tensor implementations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from optbench.engine.stacked.hyperparameter_columns import Column, GroupHyperparameters, Uploads

State = dict[str, Tensor]
_STATE = {
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.Adam: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    torch.optim.AdamW: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    torch.optim.RMSprop: ("square_avg", "momentum_buffer", "grad_avg"),
    torch.optim.Adagrad: ("sum",),
}
#: hyperparameters that select the equations, not only numbers in them
_STRUCTURE = ("nesterov", "amsgrad", "centered", "maximize", "decoupled_weight_decay")


def update_key_of(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> tuple[Any, ...] | None:
    """Return the key that is equal for optimizers that can be stepped together; None if an optimizer must be stepped individually.

    `names`: the name of each parameter by its `id`.
    """
    if type(optimizer) not in _STATE:
        return None
    groups = []
    for group in optimizer.param_groups:
        numbers = [value for key, value in group.items() if key not in ("params", "foreach", "fused")]
        numbers += [part for value in numbers if isinstance(value, (tuple, list)) for part in value]
        if any(isinstance(value, Tensor) for value in numbers):
            return None
        if group.get("capturable") or group.get("differentiable"):
            return None
        flags = tuple(bool(group.get(name)) for name in _STRUCTURE)
        momentum = bool(group.get("momentum", 0))
        groups.append((tuple(names[id(p)] for p in group["params"]), flags, momentum))
    return (type(optimizer).__name__, *groups)


class StackedUpdate:
    """Steps `optimizers` of equal structure together. `parameters` are (rows, *shape) by name, one row per optimizer."""

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], parameters: Mapping[str, Tensor], names: Any
    ) -> None:
        self.optimizers = list(optimizers)
        self.parameters = dict(parameters)
        self._rule = _RULES[type(optimizers[0])]
        first = optimizers[0]
        self._groups = [[names[id(p)] for p in group["params"]] for group in first.param_groups]
        self.state: dict[str, State] = {name: {} for name in self.parameters}
        self.steps = 0
        self._uploads = Uploads()
        self._read_states()

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Update the parameters. `gradients` are (rows, *shape) and are not changed."""
        self.steps += 1
        self._uploads.next_step()
        for position, names in enumerate(self._groups):
            groups = [optimizer.param_groups[position] for optimizer in self.optimizers]
            hyper = GroupHyperparameters(groups, self._uploads)
            for name in names:
                parameter, gradient = self.parameters[name], gradients[name]
                if hyper.flag("maximize"):
                    gradient = gradient.neg()
                self._rule(parameter, gradient, self.state[name], hyper, self.steps)

    def write_back_state(self) -> None:
        """Set the state of each optimizer to views of its row, for `state_dict` and for measuring its size."""
        for row, optimizer in enumerate(self.optimizers):
            for name, parameter in self._named_parameters(optimizer):
                views: dict[str, Any] = {key: tensor[row] for key, tensor in self.state[name].items()}
                if "momentum_buffer" not in _STATE[type(optimizer)][:1]:  # SGD has no step count
                    views["step"] = torch.tensor(float(self.steps))
                if views and (self.steps or optimizer.state.get(parameter)):
                    optimizer.state[parameter] = views

    def _read_states(self) -> None:
        """Read the state of the optimizers: the initial sums of Adagrad, or any state after resuming."""
        for key in _STATE[type(self.optimizers[0])]:
            rows: dict[str, list[Tensor]] = {}
            for optimizer in self.optimizers:
                for name, parameter in self._named_parameters(optimizer):
                    state = optimizer.state.get(parameter, {})
                    if isinstance(state.get(key), Tensor):
                        rows.setdefault(name, []).append(state[key])
                    if "step" in state:
                        self.steps = int(state["step"])
            for name, tensors in rows.items():
                self.state[name][key] = torch.stack(tensors)

    def _named_parameters(self, optimizer: torch.optim.Optimizer) -> list[tuple[str, Tensor]]:
        return [
            (name, parameter)
            for names, group in zip(self._groups, optimizer.param_groups, strict=True)
            for name, parameter in zip(names, group["params"], strict=True)
        ]


def _add_scaled(target: Tensor, source: Tensor, factor: Column) -> Tensor:
    """Add factor x source to target, in place."""
    if isinstance(factor, Tensor):
        return target.addcmul_(source, factor)
    return target.add_(source, alpha=factor)


def _add_weight_decay(p: Tensor, g: Tensor, hyper: GroupHyperparameters) -> Tensor:
    """Return the gradient with L2 weight decay."""
    if not hyper.any("weight_decay"):
        return g
    factor = hyper.value("weight_decay", p)
    return torch.addcmul(g, p, factor) if isinstance(factor, Tensor) else g.add(p, alpha=factor)


def _one_minus(numbers: Sequence[float]) -> list[float]:
    return [1 - number for number in numbers]


def _decay_factors(hyper: GroupHyperparameters) -> list[float]:
    """Return the factors by which decoupled weight decay multiplies weights."""
    pairs = zip(hyper.numbers("lr"), hyper.numbers("weight_decay"), strict=True)
    return [1 - rate * decay for rate, decay in pairs]


def _sgd(p: Tensor, g: Tensor, state: State, hyper: GroupHyperparameters, step: int) -> None:
    g = _add_weight_decay(p, g, hyper)
    if hyper.any("momentum"):
        momentum = hyper.value("momentum", p)
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = buffer = g.clone()
        else:
            buffer = state["momentum_buffer"]
            factor = hyper.column("1 - dampening", lambda: _one_minus(hyper.numbers("dampening")), p)
            _add_scaled(buffer.mul_(momentum), g, factor)
        g = _add_scaled(g.clone(), buffer, momentum) if hyper.flag("nesterov") else buffer
    _add_scaled(p, g, hyper.column("-lr", lambda: [-rate for rate in hyper.numbers("lr")], p))


def _adam(p: Tensor, g: Tensor, state: State, hyper: GroupHyperparameters, step: int) -> None:
    if hyper.flag("decoupled_weight_decay"):
        if hyper.any("weight_decay"):
            p.mul_(hyper.column("1 - lr x decay", lambda: _decay_factors(hyper), p))
    else:
        g = _add_weight_decay(p, g, hyper)
    if "exp_avg" not in state:
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        if hyper.flag("amsgrad"):
            state["max_exp_avg_sq"] = torch.zeros_like(p)

    def first() -> list[float]:
        return hyper.numbers("betas", 0)

    def second() -> list[float]:
        return hyper.numbers("betas", 1)

    mean, square = state["exp_avg"], state["exp_avg_sq"]
    mean.lerp_(g, hyper.column("1 - beta1", lambda: _one_minus(first()), p))
    square.mul_(hyper.column("beta2", second, p))
    _add_square(square, g, hyper.column("1 - beta2", lambda: _one_minus(second()), p))
    if hyper.flag("amsgrad"):
        square = torch.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
    bias = hyper.column("bias of the square", lambda: [math.sqrt(1 - beta**step) for beta in second()], p)
    denominator = square.sqrt().div_(bias)
    denominator.add_(hyper.value("eps", p))

    def sizes() -> list[float]:
        return [-rate / (1 - beta**step) for rate, beta in zip(hyper.numbers("lr"), first(), strict=True)]

    size = hyper.column("-lr / bias", sizes, p)
    _add_quotient(p, mean, denominator, size)


def _rmsprop(p: Tensor, g: Tensor, state: State, hyper: GroupHyperparameters, step: int) -> None:
    g = _add_weight_decay(p, g, hyper)
    momentum = hyper.any("momentum")
    if "square_avg" not in state:
        state["square_avg"] = torch.zeros_like(p)
        if momentum:
            state["momentum_buffer"] = torch.zeros_like(p)
        if hyper.flag("centered"):
            state["grad_avg"] = torch.zeros_like(p)
    square = state["square_avg"]
    square.mul_(hyper.value("alpha", p))
    new_weight = hyper.column("1 - alpha", lambda: _one_minus(hyper.numbers("alpha")), p)
    _add_square(square, g, new_weight)
    if hyper.flag("centered"):
        mean = state["grad_avg"].lerp_(g, new_weight)
        root = torch.addcmul(square, mean, mean, value=-1).sqrt_()
    else:
        root = square.sqrt()
    root.add_(hyper.value("eps", p))
    size = hyper.column("-lr", lambda: [-rate for rate in hyper.numbers("lr")], p)
    if momentum:
        decay = hyper.value("momentum", p)
        buffer = state["momentum_buffer"].mul_(decay).addcdiv_(g, root)
        _add_scaled(p, buffer, size)
    else:
        _add_quotient(p, g, root, size)


def _adagrad(p: Tensor, g: Tensor, state: State, hyper: GroupHyperparameters, step: int) -> None:
    g = _add_weight_decay(p, g, hyper)
    total = state["sum"].addcmul_(g, g)
    root = total.sqrt().add_(hyper.value("eps", p))

    def sizes() -> list[float]:
        pairs = zip(hyper.numbers("lr"), hyper.numbers("lr_decay"), strict=True)
        return [-rate / (1 + (step - 1) * decay) for rate, decay in pairs]

    _add_quotient(p, g, root, hyper.column("-lr", sizes, p))


def _add_square(target: Tensor, g: Tensor, factor: Column) -> None:
    """Add factor x g^2 to target, in place."""
    if isinstance(factor, Tensor):
        target.addcmul_(g * factor, g)
    else:
        target.addcmul_(g, g, value=factor)


def _add_quotient(p: Tensor, numerator: Tensor, denominator: Tensor, factor: Column) -> None:
    """Add factor x numerator / denominator to p, in place. May overwrite `denominator`, a temporary of the caller."""
    if isinstance(factor, Tensor):
        p.addcmul_(torch.div(numerator, denominator, out=denominator), factor)
    else:
        p.addcdiv_(numerator, denominator, value=factor)


_RULES: dict[type, Callable[[Tensor, Tensor, State, GroupHyperparameters, int], None]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
    torch.optim.RMSprop: _rmsprop,
    torch.optim.Adagrad: _adagrad,
}
