"""One optimizer step for many trials at once: torch's own equations, with each trial's hyperparameters in its row.

Each trial's own `torch.optim` object stays what it is: it holds the hyperparameters, which its schedule changes, and is given its
rows of the state whenever somebody looks. The equations are those of torch's single-tensor implementations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

#: a number where all rows agree, else (rows,)
Column = float | Tensor
State = dict[str, Tensor]
_STATE = {
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.Adam: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    torch.optim.AdamW: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    torch.optim.RMSprop: ("square_avg", "momentum_buffer", "grad_avg"),
    torch.optim.Adagrad: ("sum",),
}
#: hyperparameters that decide which equations there are, not only their numbers
_STRUCTURE = ("nesterov", "amsgrad", "centered", "maximize", "decoupled_weight_decay")


def structure(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> tuple[Any, ...] | None:
    """What optimizers must have in common to be stepped as one; None for what is stepped by itself.

    `names` has the name of each parameter by its `id`.
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
    """Steps `optimizers`, all of one structure. `parameters`, by name, are (rows, *shape), a row an optimizer."""

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
        self._adopt()

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """`gradients` are (rows, *shape); left as they are."""
        self.steps += 1
        for position, names in enumerate(self._groups):
            groups = [optimizer.param_groups[position] for optimizer in self.optimizers]
            hyper = _Hyper(groups)
            for name in names:
                parameter, gradient = self.parameters[name], gradients[name]
                if hyper.flag("maximize"):
                    gradient = gradient.neg()
                self._rule(parameter, gradient, self.state[name], hyper, self.steps)

    def publish(self) -> None:
        """Give each optimizer its rows of the state, as views: for `state_dict`, and for counting bytes."""
        for row, optimizer in enumerate(self.optimizers):
            for name, parameter in self._owned(optimizer):
                views: dict[str, Any] = {key: tensor[row] for key, tensor in self.state[name].items()}
                if "momentum_buffer" not in _STATE[type(optimizer)][:1]:  # SGD counts no steps
                    views["step"] = torch.tensor(float(self.steps))
                if views and (self.steps or optimizer.state.get(parameter)):
                    optimizer.state[parameter] = views

    def _adopt(self) -> None:
        """Take over what the optimizers hold: Adagrad's sums from the start, anything after a resume."""
        for key in _STATE[type(self.optimizers[0])]:
            rows: dict[str, list[Tensor]] = {}
            for optimizer in self.optimizers:
                for name, parameter in self._owned(optimizer):
                    held = optimizer.state.get(parameter, {})
                    if isinstance(held.get(key), Tensor):
                        rows.setdefault(name, []).append(held[key])
                    if "step" in held:
                        self.steps = int(held["step"])
            for name, tensors in rows.items():
                self.state[name][key] = torch.stack(tensors)

    def _owned(self, optimizer: torch.optim.Optimizer) -> list[tuple[str, Tensor]]:
        return [
            (name, parameter)
            for names, group in zip(self._groups, optimizer.param_groups, strict=True)
            for name, parameter in zip(names, group["params"], strict=True)
        ]


class _Hyper:
    """The rows' hyperparameters of one group, as columns that broadcast over (rows, *shape)."""

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self.groups = groups

    def flag(self, name: str) -> bool:
        return bool(self.groups[0].get(name))

    def numbers(self, name: str, index: int | None = None) -> list[float]:
        return [float(g[name] if index is None else g[name][index]) for g in self.groups]


def column(numbers: Sequence[float], like: Tensor) -> Column:
    """One number if all are the same, else (rows, 1, ...) on the device of `like`."""
    if all(number == numbers[0] for number in numbers):
        return numbers[0]
    made = torch.tensor(numbers, dtype=like.dtype, device=like.device)
    return made.view(-1, *[1] * (like.dim() - 1))


def _add_scaled(target: Tensor, source: Tensor, factor: Column) -> Tensor:
    """target += factor x source, in place."""
    if isinstance(factor, Tensor):
        return target.addcmul_(source, factor)
    return target.add_(source, alpha=factor)


def _decayed(p: Tensor, g: Tensor, hyper: _Hyper) -> Tensor:
    """The gradient with L2 weight decay."""
    decay = hyper.numbers("weight_decay")
    if not any(decay):
        return g
    factor = column(decay, p)
    return torch.addcmul(g, p, factor) if isinstance(factor, Tensor) else g.add(p, alpha=factor)


def _rest(numbers: Sequence[float]) -> list[float]:
    return [1 - number for number in numbers]


def _sgd(p: Tensor, g: Tensor, state: State, hyper: _Hyper, step: int) -> None:
    g = _decayed(p, g, hyper)
    if any(hyper.numbers("momentum")):
        momentum = column(hyper.numbers("momentum"), p)
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = buffer = g.clone()
        else:
            buffer = state["momentum_buffer"]
            _add_scaled(buffer.mul_(momentum), g, column(_rest(hyper.numbers("dampening")), p))
        g = _add_scaled(g.clone(), buffer, momentum) if hyper.flag("nesterov") else buffer
    _add_scaled(p, g, column([-rate for rate in hyper.numbers("lr")], p))


def _adam(p: Tensor, g: Tensor, state: State, hyper: _Hyper, step: int) -> None:
    rates = hyper.numbers("lr")
    if hyper.flag("decoupled_weight_decay"):
        decay = hyper.numbers("weight_decay")
        if any(decay):
            p.mul_(column([1 - rate * part for rate, part in zip(rates, decay, strict=True)], p))
    else:
        g = _decayed(p, g, hyper)
    if "exp_avg" not in state:
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        if hyper.flag("amsgrad"):
            state["max_exp_avg_sq"] = torch.zeros_like(p)
    first, second = hyper.numbers("betas", 0), hyper.numbers("betas", 1)
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    mean.lerp_(g, column(_rest(first), p))
    _add_square(square.mul_(column(second, p)), g, column(_rest(second), p))
    if hyper.flag("amsgrad"):
        square = torch.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
    denominator = square.sqrt().div_(column([math.sqrt(1 - beta**step) for beta in second], p))
    denominator.add_(column(hyper.numbers("eps"), p))
    size = column([-rate / (1 - beta**step) for rate, beta in zip(rates, first, strict=True)], p)
    _add_quotient(p, mean, denominator, size)


def _rmsprop(p: Tensor, g: Tensor, state: State, hyper: _Hyper, step: int) -> None:
    g = _decayed(p, g, hyper)
    momentum = hyper.numbers("momentum")
    if "square_avg" not in state:
        state["square_avg"] = torch.zeros_like(p)
        if any(momentum):
            state["momentum_buffer"] = torch.zeros_like(p)
        if hyper.flag("centered"):
            state["grad_avg"] = torch.zeros_like(p)
    alpha, square = hyper.numbers("alpha"), state["square_avg"]
    _add_square(square.mul_(column(alpha, p)), g, column(_rest(alpha), p))
    if hyper.flag("centered"):
        mean = state["grad_avg"].lerp_(g, column(_rest(alpha), p))
        root = torch.addcmul(square, mean, mean, value=-1).sqrt_()
    else:
        root = square.sqrt()
    root.add_(column(hyper.numbers("eps"), p))
    size = column([-rate for rate in hyper.numbers("lr")], p)
    if any(momentum):
        buffer = state["momentum_buffer"].mul_(column(momentum, p)).addcdiv_(g, root)
        _add_scaled(p, buffer, size)
    else:
        _add_quotient(p, g, root, size)


def _adagrad(p: Tensor, g: Tensor, state: State, hyper: _Hyper, step: int) -> None:
    g = _decayed(p, g, hyper)
    total = state["sum"].addcmul_(g, g)
    root = total.sqrt().add_(column(hyper.numbers("eps"), p))
    pairs = zip(hyper.numbers("lr"), hyper.numbers("lr_decay"), strict=True)
    _add_quotient(p, g, root, column([-rate / (1 + (step - 1) * decay) for rate, decay in pairs], p))


def _add_square(target: Tensor, g: Tensor, factor: Column) -> None:
    """target += factor x g^2, in place."""
    if isinstance(factor, Tensor):
        target.addcmul_(g * factor, g)
    else:
        target.addcmul_(g, g, value=factor)


def _add_quotient(p: Tensor, above: Tensor, below: Tensor, factor: Column) -> None:
    """p += factor x above / below, in place. May overwrite `below`, a temporary of the caller's."""
    if isinstance(factor, Tensor):
        p.addcmul_(torch.div(above, below, out=below), factor)
    else:
        p.addcdiv_(above, below, value=factor)


_RULES: dict[type, Callable[[Tensor, Tensor, State, _Hyper, int], None]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
    torch.optim.RMSprop: _rmsprop,
    torch.optim.Adagrad: _adagrad,
}
