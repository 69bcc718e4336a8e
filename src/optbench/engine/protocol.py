"""Protocols by which a training step calls an optimizer: after the gradients, with a closure, in two passes, with their graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

#: plain: the batch's gradients, then `step()`
#: closure: `step(closure)`, before which there are no gradients
#: gradients_first: the batch's gradients, then `step(closure)`
#: two_passes: the batch's gradients, then `first_step()`, the closure and `second_step()`
#: with_loss: the batch's gradients, then `step(loss=loss)`
#: loss_only: `step(closure)`, whose closure returns the loss with its graph; the class calls `backward()`
Calls = Literal["plain", "closure", "gradients_first", "two_passes", "with_loss", "loss_only"]
Closure = Callable[[], Tensor]


@dataclass(frozen=True)
class Protocol:
    """How the optimizers of one trial are called; `create_graph`: after `backward(create_graph=True)`."""

    calls: Calls = "plain"
    create_graph: bool = False

    @property
    def has_closure(self) -> bool:
        """Whether the optimizer is called with a closure, or with the loss."""
        return self.calls != "plain"

    @property
    def is_unscalable(self) -> bool:
        """Whether a gradient scaler would change what the optimizer computes."""
        return self.has_closure or self.create_graph

    @property
    def gradients_first(self) -> bool:
        """Whether the gradients of the batch exist when the optimizer is called."""
        return self.calls in ("plain", "gradients_first", "two_passes", "with_loss")


def call_step(member: Any, calls: Calls, closure: Closure | None) -> Any:
    """Take one step with `member` and return what it returns, which should be the loss.

    With `with_loss`, the closure returns the loss of the gradients that exist.
    """
    if closure is None:
        return member.step()
    if calls == "with_loss":
        return member.step(loss=closure())
    if calls != "two_passes":
        return member.step(closure)
    member.first_step()
    loss = closure()
    member.second_step()
    return loss


def take_step(
    optimizer: Any,
    protocol: Protocol,
    parameters: Sequence[Tensor],
    loss: Callable[[], Tensor],
    on_closure: Callable[[], None] = lambda: None,
) -> Any:
    """Take one step of a single optimizer on any loss, as a training step does; `on_closure` runs at each call of the closure."""

    @torch.enable_grad()
    def evaluate() -> Tensor:
        clear_gradients(parameters)
        value = loss()
        if protocol.calls == "loss_only":
            return value
        backward(value, create_graph=protocol.create_graph)
        return value.detach()

    def closure() -> Tensor:
        on_closure()
        return evaluate()

    clear_gradients(parameters)
    value = evaluate() if protocol.gradients_first else None
    if protocol.calls == "with_loss":
        returned = call_step(optimizer, protocol.calls, lambda: value)  # type: ignore[arg-type, return-value]
    else:
        returned = call_step(optimizer, protocol.calls, closure if protocol.has_closure else None)
    if protocol.create_graph:
        release_graph(parameters)
    return returned


def backward(loss: Tensor, *, create_graph: bool) -> None:
    """Call `loss.backward()`, without torch's warning about a memory leak that `release_graph` prevents."""
    if not create_graph:
        loss.backward()  # type: ignore[no-untyped-call]
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Using backward\(\) with create_graph=True")
        loss.backward(create_graph=True)  # type: ignore[no-untyped-call]


def zero_gradients(member: Any) -> None:
    """Call `zero_grad` and set the gradients to None: a wrapper's method may have no argument, set them to 0, or not exist."""
    if getattr(type(member), "zero_grad", None) is torch.optim.Optimizer.zero_grad:
        member.zero_grad(set_to_none=True)
        return
    if callable(getattr(member, "zero_grad", None)):
        member.zero_grad()
    clear_gradients(parameters_of(member))


def parameters_of(member: Any) -> list[Tensor]:
    """Return the parameters of all groups of an optimizer."""
    return [p for group in member.param_groups for p in group["params"]]


def clear_gradients(parameters: Sequence[Tensor]) -> None:
    """Set the gradients to None."""
    for parameter in parameters:
        parameter.grad = None


def release_graph(parameters: Sequence[Tensor]) -> None:
    """Free what `backward(create_graph=True)` keeps: a parameter, its gradient and the graph refer to each other."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = parameter.grad.detach()
