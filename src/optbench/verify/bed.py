"""What plug-in optimizers are tried on: a few tensors that fall into a quadratic valley which moves a little at every step."""

from __future__ import annotations

import random
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from optbench.engine.optimizer_spec import ConstructorInputs, OptimizerSpec
from optbench.engine.protocol import Protocol, take_step

SHAPES: tuple[tuple[int, ...], ...] = ((8, 6), (10,), (4, 3, 2, 2))
PATIENCE = 20  # steps in which every parameter must move: some wait for their first ten gradients
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
        sparse: bool = False,
    ) -> None:
        """`sparse`: the tensors are matrices, whose gradients are sparse as those of embeddings."""
        super().__init__()
        self._sparse = sparse
        self._draw = torch.Generator().manual_seed(7)
        weights = [start * torch.randn(shape, generator=self._draw) for shape in shapes]
        self.weights = nn.ParameterList([w.to(device, dtype) for w in weights])
        self._curvature = [self._like(w, torch.rand).mul(0.8).add(0.2) for w in self.weights]
        self._target = [self._like(w, torch.randn) for w in self.weights]
        self._shift = [[self._like(w, torch.randn).mul(0.1) for _ in range(4)] for w in self.weights]

    def forward(self, number: int, without: Sequence[int] = (), scale: float = 1.0) -> Tensor:
        """Loss of step `number`; parameters in `without` have no part in it, and get no gradient."""
        parts = [
            (c * (self._read(w) - target - shifts[number % len(shifts)]) ** 2).sum()
            for i, (w, c, target, shifts) in enumerate(
                zip(self.weights, self._curvature, self._target, self._shift, strict=True)
            )
            if i not in without
        ]
        return 0.5 * scale * torch.stack(parts).sum()

    def _read(self, weight: Tensor) -> Tensor:
        if not self._sparse:
            return weight
        return embedding(torch.arange(len(weight), device=weight.device), weight, sparse=True)

    def as_twins(self) -> Valley:
        """All tensors (of one shape) with the first one's start, curvature and targets."""
        with torch.no_grad():
            for weight in self.weights:
                weight.copy_(self.weights[0])
        count = len(self.weights)
        self._curvature, self._target = [self._curvature[0]] * count, [self._target[0]] * count
        self._shift = [self._shift[0]] * count
        return self

    def _like(self, weight: Tensor, draw: Callable[..., Tensor]) -> Tensor:
        return draw(weight.shape, generator=self._draw).to(weight.device, weight.dtype)


@dataclass(frozen=True)
class Plugin:
    """An optimizer to be tried: how it is built and called, on which shapes and device."""

    name: str
    spec: OptimizerSpec
    device: torch.device
    protocol: Protocol = field(default_factory=Protocol)
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    sparse: bool = False
    """Whether it takes sparse gradients only."""
    idle_steps: int = 0
    """Steps before its first update: some methods gather statistics first."""

    @property
    def needs_closure(self) -> bool:
        return self.protocol.has_closure

    def takes(self, name: str) -> bool:
        """Whether it, or an optimizer among its arguments, has an argument of this name."""
        return self.spec.takes(name)

    def valley(self, dtype: torch.dtype = torch.float32, **changes: Any) -> Valley:
        return Valley(changes.pop("shapes", self.shapes), dtype, self.device, sparse=self.sparse, **changes)

    def build(self, valley: Valley, groups: Iterable[Any] | None = None, **changes: Any) -> Any:
        """The optimizer over all of the valley's parameters, or over `groups`; in training mode where it has modes.

        Raises `ValueError` for groups that it can't be given, since it makes its own.
        """
        if self.sparse and any(weight.dim() != 2 for weight in valley.parameters()):
            raise ValueError("it takes sparse gradients only, which only matrices have here")
        groups = list(valley.parameters()) if groups is None else groups
        if self.spec.makes_own_groups and isinstance(groups, list) and isinstance(groups[0], dict):
            raise ValueError("it makes its own groups, from the model or named parameters")
        given = ConstructorInputs(groups, list(valley.named_parameters()), valley, 100)
        made, _ = self.spec.with_arguments(changes).build(given)
        if callable(getattr(made, "train", None)) and callable(getattr(made, "eval", None)):
            made.train()
        return made

    def with_shapes(self, shapes: tuple[tuple[int, ...], ...]) -> Plugin:
        return replace(self, shapes=shapes)

    def with_decay(self) -> dict[str, Any]:
        """Weight decay switched on, where there is such a thing: many faults only show with it."""
        return {"weight_decay": 0.1} if self.takes("weight_decay") else {}

    def steps(self, number: int) -> range:
        """The first steps, `number` of which update."""
        return range(self.idle_steps + number)


def advance(
    plugin: Plugin,
    valley: Valley,
    optimizer: Any,
    numbers: Sequence[int],
    *,
    without: Sequence[int] = (),
    scale: float = 1.0,
) -> None:
    """Train through the steps of these numbers, as the engine does."""
    for number in numbers:
        take_step(
            optimizer, plugin.protocol, list(valley.parameters()), partial(valley, number, without, scale)
        )


def clear_gradients(valley: Valley) -> None:
    for parameter in valley.parameters():
        parameter.grad = None


def weights_of(valley: Valley) -> list[Tensor]:
    return [w.detach().clone() for w in valley.weights]


def seed_everything(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def same(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


def generators() -> tuple[Any, ...]:
    """The state of the three generators that a seed sets: what has drawn leaves it changed."""
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), repr(np.random.get_state())


def settings() -> dict[str, Any]:
    """What torch holds for the whole process."""
    return {
        "the default type of new tensors": torch.get_default_dtype(),
        "whether gradients are recorded": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(),
        "whether algorithms must be deterministic": torch.are_deterministic_algorithms_enabled(),
        "the precision of matrix products": torch.get_float32_matmul_precision(),
    }


@contextmanager
def settings_kept() -> Iterator[None]:
    """What a plug-in changes for the whole process ends with the block."""
    dtype, gradients, threads, deterministic, precision = settings().values()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_float32_matmul_precision(precision)


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises `TimeoutError` in what is not done by then, where the system has such an alarm (not on Windows)."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def located(error: BaseException) -> str:
    """An exception in one line, with the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-2 if isinstance(error, TimeoutError) and len(frames) > 1 else -1]  # not the alarm's own
    message = said(error)
    kind = type(error).__name__
    return f"{kind}{'' if message == kind else f': {message}'} ({last.filename}, line {last.lineno})"


def said(error: BaseException) -> str:
    """An exception's message in one line; its kind, where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def refuses(error: Exception) -> bool:
    """Whether it was raised on purpose (`raise`, `assert`), not by an operation that failed."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and (frames[-1].line or "").startswith(("raise ", "assert "))
