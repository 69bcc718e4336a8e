"""What plug-in optimizers are tried on: a few tensors that fall into a quadratic valley which moves a little at every step."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SHAPES: tuple[tuple[int, ...], ...] = ((8, 6), (10,), (4, 3, 2, 2))
MATRICES: tuple[tuple[int, ...], ...] = ((8, 6), (5, 5))


class Fault(Exception):
    """The optimizer does not do what a check is about; the message says what it does."""


class Note(Exception):
    """A check does not apply, or holds with a reservation."""


class Valley(nn.Module):
    """Parameters of the given shapes, with loss 0.5 sum c (w - target)^2; c is in 0.2..1, so rates below 2 are stable."""

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        dtype: torch.dtype,
        device: torch.device,
        *,
        start: float = 1.0,
    ) -> None:
        super().__init__()
        self._draw = torch.Generator().manual_seed(7)
        weights = [start * torch.randn(shape, generator=self._draw) for shape in shapes]
        self.weights = nn.ParameterList([w.to(device, dtype) for w in weights])
        self._curvature = [self._like(w, torch.rand).mul(0.8).add(0.2) for w in self.weights]
        self._target = [self._like(w, torch.randn) for w in self.weights]
        self._shift = [[self._like(w, torch.randn).mul(0.1) for _ in range(4)] for w in self.weights]

    def forward(self, number: int, without: Sequence[int] = (), scale: float = 1.0) -> Tensor:
        """Loss of step `number`; parameters in `without` have no part in it, and get no gradient."""
        parts = [
            (c * (w - target - shifts[number % len(shifts)]) ** 2).sum()
            for i, (w, c, target, shifts) in enumerate(
                zip(self.weights, self._curvature, self._target, self._shift, strict=True)
            )
            if i not in without
        ]
        return 0.5 * scale * torch.stack(parts).sum()

    def _like(self, weight: Tensor, draw: Callable[..., Tensor]) -> Tensor:
        return draw(weight.shape, generator=self._draw).to(weight.device, weight.dtype)


@dataclass(frozen=True)
class Plugin:
    """An optimizer to be tried: what makes it, with what arguments, and on which shapes and device."""

    name: str
    make: Callable[..., Any]
    arguments: dict[str, Any]
    accepted: frozenset[str]
    device: torch.device
    needs_closure: bool = False
    shapes: tuple[tuple[int, ...], ...] = SHAPES

    def valley(self, dtype: torch.dtype = torch.float32, **changes: Any) -> Valley:
        return Valley(changes.pop("shapes", self.shapes), dtype, self.device, **changes)

    def build(self, valley: Valley, groups: Sequence[Any] | None = None, **changes: Any) -> Any:
        """The optimizer over all of the valley's parameters, or over `groups`; in training mode where it has modes."""
        arguments = {**self.arguments, **changes}
        offered = {"model": valley, "total_steps": 100}
        arguments |= {k: v for k, v in offered.items() if k in self.accepted and k not in arguments}
        made = self.make(groups if groups is not None else list(valley.parameters()), **arguments)
        if callable(getattr(made, "train", None)) and callable(getattr(made, "eval", None)):
            made.train()
        return made

    def with_shapes(self, shapes: tuple[tuple[int, ...], ...]) -> Plugin:
        return replace(self, shapes=shapes)

    def with_decay(self) -> dict[str, Any]:
        """Weight decay switched on, where there is such a thing: many faults only show with it."""
        return {"weight_decay": 0.1} if "weight_decay" in self.accepted else {}


def advance(
    plugin: Plugin, valley: Valley, optimizer: Any, numbers: Sequence[int], *, without: Sequence[int] = ()
) -> None:
    """Train through the steps of these numbers, as the engine does."""

    @torch.enable_grad()
    def evaluated(number: int) -> Tensor:
        for parameter in valley.parameters():
            parameter.grad = None
        loss: Tensor = valley(number, without)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for number in numbers:
        if plugin.needs_closure:
            optimizer.step(partial(evaluated, number))
        else:
            evaluated(number)
            optimizer.step()


def weights_of(valley: Valley) -> list[Tensor]:
    return [w.detach().clone() for w in valley.weights]


def seed_everything(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def same(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


def said(error: BaseException) -> str:
    """An exception's message in one line."""
    return str(error).strip().partition("\n")[0]
