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

from optbench.engine.stacked.columns import Column, Hyper, Uploads

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
        self._uploads = Uploads()
        self._adopt()

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """`gradients` are (rows, *shape); left as they are."""
        self.steps += 1
        self._uploads.next_step()
        for position, names in enumerate(self._groups):
            groups = [optimizer.param_groups[position] for optimizer in self.optimizers]
            hyper = Hyper(groups, self._uploads)
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


def _add_scaled(target: Tensor, source: Tensor, factor: Column) -> Tensor:
    """target += factor x source, in place."""
    if isinstance(factor, Tensor):
        return target.addcmul_(source, factor)
    return target.add_(source, alpha=factor)


def _decayed(p: Tensor, g: Tensor, hyper: Hyper) -> Tensor:
    """The gradient with L2 weight decay."""
    if not hyper.any("weight_decay"):
        return g
    factor = hyper.column("weight_decay", lambda: hyper.numbers("weight_decay"), p)
    return torch.addcmul(g, p, factor) if isinstance(factor, Tensor) else g.add(p, alpha=factor)


def _rest(numbers: Sequence[float]) -> list[float]:
    return [1 - number for number in numbers]


def _kept(hyper: Hyper) -> list[float]:
    """What decoupled weight decay leaves of a weight."""
    pairs = zip(hyper.numbers("lr"), hyper.numbers("weight_decay"), strict=True)
    return [1 - rate * decay for rate, decay in pairs]


def _sgd(p: Tensor, g: Tensor, state: State, hyper: Hyper, step: int) -> None:
    g = _decayed(p, g, hyper)
    if hyper.any("momentum"):
        momentum = hyper.column("momentum", lambda: hyper.numbers("momentum"), p)
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = buffer = g.clone()
        else:
            buffer = state["momentum_buffer"]
            rest = hyper.column("1 - dampening", lambda: _rest(hyper.numbers("dampening")), p)
            _add_scaled(buffer.mul_(momentum), g, rest)
        g = _add_scaled(g.clone(), buffer, momentum) if hyper.flag("nesterov") else buffer
    _add_scaled(p, g, hyper.column("-lr", lambda: [-rate for rate in hyper.numbers("lr")], p))


def _adam(p: Tensor, g: Tensor, state: State, hyper: Hyper, step: int) -> None:
    if hyper.flag("decoupled_weight_decay"):
        if hyper.any("weight_decay"):
            p.mul_(hyper.column("1 - lr x decay", lambda: _kept(hyper), p))
    else:
        g = _decayed(p, g, hyper)
    if "exp_avg" not in state:
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        if hyper.flag("amsgrad"):
            state["max_exp_avg_sq"] = torch.zeros_like(p)

    def first() -> list[float]:
        return hyper.numbers("betas", 0)

    def second() -> list[float]:
        return hyper.numbers("betas", 1)

    mean, square = state["exp_avg"], state["exp_avg_sq"]
    mean.lerp_(g, hyper.column("1 - beta1", lambda: _rest(first()), p))
    square.mul_(hyper.column("beta2", second, p))
    _add_square(square, g, hyper.column("1 - beta2", lambda: _rest(second()), p))
    if hyper.flag("amsgrad"):
        square = torch.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
    bias = hyper.column("bias of the square", lambda: [math.sqrt(1 - beta**step) for beta in second()], p)
    denominator = square.sqrt().div_(bias)
    denominator.add_(hyper.column("eps", lambda: hyper.numbers("eps"), p))

    def sizes() -> list[float]:
        return [-rate / (1 - beta**step) for rate, beta in zip(hyper.numbers("lr"), first(), strict=True)]

    size = hyper.column("-lr / bias", sizes, p)
    _add_quotient(p, mean, denominator, size)


def _rmsprop(p: Tensor, g: Tensor, state: State, hyper: Hyper, step: int) -> None:
    g = _decayed(p, g, hyper)
    momentum = hyper.any("momentum")
    if "square_avg" not in state:
        state["square_avg"] = torch.zeros_like(p)
        if momentum:
            state["momentum_buffer"] = torch.zeros_like(p)
        if hyper.flag("centered"):
            state["grad_avg"] = torch.zeros_like(p)
    square = state["square_avg"]
    square.mul_(hyper.column("alpha", lambda: hyper.numbers("alpha"), p))
    rest = hyper.column("1 - alpha", lambda: _rest(hyper.numbers("alpha")), p)
    _add_square(square, g, rest)
    if hyper.flag("centered"):
        mean = state["grad_avg"].lerp_(g, rest)
        root = torch.addcmul(square, mean, mean, value=-1).sqrt_()
    else:
        root = square.sqrt()
    root.add_(hyper.column("eps", lambda: hyper.numbers("eps"), p))
    size = hyper.column("-lr", lambda: [-rate for rate in hyper.numbers("lr")], p)
    if momentum:
        kept = hyper.column("momentum", lambda: hyper.numbers("momentum"), p)
        buffer = state["momentum_buffer"].mul_(kept).addcdiv_(g, root)
        _add_scaled(p, buffer, size)
    else:
        _add_quotient(p, g, root, size)


def _adagrad(p: Tensor, g: Tensor, state: State, hyper: Hyper, step: int) -> None:
    g = _decayed(p, g, hyper)
    total = state["sum"].addcmul_(g, g)
    root = total.sqrt().add_(hyper.column("eps", lambda: hyper.numbers("eps"), p))

    def sizes() -> list[float]:
        pairs = zip(hyper.numbers("lr"), hyper.numbers("lr_decay"), strict=True)
        return [-rate / (1 + (step - 1) * decay) for rate, decay in pairs]

    _add_quotient(p, g, root, hyper.column("-lr", sizes, p))


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


_RULES: dict[type, Callable[[Tensor, Tensor, State, Hyper, int], None]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
    torch.optim.RMSprop: _rmsprop,
    torch.optim.Adagrad: _adagrad,
}
