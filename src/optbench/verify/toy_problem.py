"""The toy problem on which plug-in optimizers are checked: a quadratic loss over a few tensors, whose minimum moves with each step."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from optbench.engine.clock import queued_nanoseconds
from optbench.engine.find_protocol import setting_of
from optbench.engine.group_flags import groups_with, missing_groups
from optbench.engine.optimizer_spec import ConstructorInputs, Length, OptimizerSpec
from optbench.engine.protocol import Protocol, take_step

SHAPES: tuple[tuple[int, ...], ...] = ((8, 6), (10,), (4, 3, 2, 2))
PATIENCE = 20  # steps within which every parameter must change: some optimizers skip their first ten
_PACKAGE = Path(__file__).parents[1]
MATRICES: tuple[tuple[int, ...], ...] = ((8, 6), (5, 5))


class CheckFailed(Exception):
    """Raised by a check that fails. The message describes what the optimizer does."""


class CheckNote(Exception):
    """Raised by a check that does not apply, or that passes with a remark."""


READS_NO_GRADIENTS = "not applicable: it reads no gradients"


class ToyModel(nn.Module):
    """Parameters of the given shapes with the loss 0.5 sum c (w - target)^2, with c in 0.2..1 (stable for learning rates below 2)."""

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        dtype: torch.dtype,
        device: torch.device,
        *,
        start: float = 1.0,
        sparse: bool = False,
    ) -> None:
        """Draw start, curvature and targets. `sparse`: all shapes are matrices with sparse gradients, as embeddings have."""
        super().__init__()
        self._sparse = sparse
        self._draw = torch.Generator().manual_seed(7)
        weights = [start * torch.randn(shape, generator=self._draw) for shape in shapes]
        self.weights = nn.ParameterList([w.to(device, dtype) for w in weights])
        self._curvature = [self._like(w, torch.rand).mul(0.8).add(0.2) for w in self.weights]
        self._target = [self._like(w, torch.randn) for w in self.weights]
        self._shift = [[self._like(w, torch.randn).mul(0.1) for _ in range(4)] for w in self.weights]

    def forward(self, number: int, without: Sequence[int] = (), scale: float = 1.0) -> Tensor:
        """Return the loss of step `number`. Parameters whose index is in `without` are left out of the loss and get no gradient."""
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

    def make_parameters_equal(self) -> ToyModel:
        """Give all tensors (of the same shape) the start, curvature and targets of the first, and return the model."""
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
    """A plug-in optimizer under test: how it is built and called, on which shapes and device."""

    name: str
    spec: OptimizerSpec
    device: torch.device
    protocol: Protocol = field(default_factory=Protocol)
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    sparse: bool = False
    """Whether it accepts sparse gradients only."""
    idle_steps: int = 0
    """Number of steps before its first update: some methods collect statistics first."""
    gradient_free: bool = False
    """Whether it reads losses only."""
    group_flag: str = ""
    """A flag that each of its parameter groups needs, true for matrices, such as `use_muon`; empty for most classes."""
    missing_setting: str = ""
    """Why its steps raise in an entry without settings; empty if the protocol is detected."""

    @property
    def missing_groups(self) -> str:
        """What an entry must set for a class whose groups need a flag; else empty."""
        return missing_groups(self.name, self.group_flag) if self.group_flag else ""

    def flagged(self, groups: Iterable[Any]) -> list[Any]:
        """Return parameters or groups as groups with the flag, those with matrices and others divided in two."""
        parts = list(groups)
        if not isinstance(parts[0], dict):
            parts = [{"params": parts}]
        return [
            {**group, "params": some, self.group_flag: has_matrices}
            for group in parts
            for has_matrices in (True, False)
            if (some := [p for p in group["params"] if (p.dim() == 2) is has_matrices])
        ]

    @property
    def needs_closure(self) -> bool:
        """Whether its step calls a closure."""
        return self.protocol.has_closure

    @property
    def settings(self) -> str:
        """The settings of an entry with which the engine calls it in the same way; empty if it needs none."""
        groups = groups_with(self.group_flag) if self.group_flag else ""
        return " and ".join(filter(None, (groups, setting_of(self.protocol))))

    def takes(self, name: str) -> bool:
        """Return whether it, or an optimizer among its arguments, accepts an argument with this name."""
        return self.spec.takes(name)

    def toy_model(self, dtype: torch.dtype = torch.float32, **changes: Any) -> ToyModel:
        """Return a new toy model. `changes`: arguments of `ToyModel`."""
        return ToyModel(changes.pop("shapes", self.shapes), dtype, self.device, sparse=self.sparse, **changes)

    def build(self, model: ToyModel, groups: Iterable[Any] | None = None, **changes: Any) -> Any:
        """Build the optimizer over all parameters of the model, or over `groups`, in training mode if it has modes.

        Raises `ValueError` for `groups` if the optimizer makes its own groups or needs matrices.
        """
        if self.sparse and any(weight.dim() != 2 for weight in model.parameters()):
            raise ValueError("it accepts sparse gradients only, and here only matrices have sparse gradients")
        groups = list(model.parameters()) if groups is None else groups
        groups = self.flagged(groups) if self.group_flag else groups
        if self.spec.makes_own_groups and isinstance(groups, list) and isinstance(groups[0], dict):
            raise ValueError("it makes its own parameter groups from the model or the named parameters")
        inputs = ConstructorInputs(groups, list(model.named_parameters()), model, Length(100))
        optimizer, _ = self.spec.with_arguments(changes).build(inputs)
        if callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None)):
            optimizer.train()
        return optimizer

    def with_shapes(self, shapes: tuple[tuple[int, ...], ...]) -> Plugin:
        """Return the plug-in with other shapes of the parameters."""
        return replace(self, shapes=shapes)

    def with_decay(self) -> dict[str, Any]:
        """Return arguments that enable weight decay if the optimizer supports it: many faults appear only with it."""
        return {"weight_decay": 0.1} if self.takes("weight_decay") else {}

    def steps(self, number: int) -> range:
        """Return the step numbers from 0 on, of which the last `number` update the parameters."""
        return range(self.idle_steps + number)


def advance(
    plugin: Plugin,
    model: ToyModel,
    optimizer: Any,
    numbers: Sequence[int],
    *,
    without: Sequence[int] = (),
    scale: float = 1.0,
) -> None:
    """Run the steps with these numbers, calling the optimizer as the engine does."""
    for number in numbers:
        take_step(
            optimizer, plugin.protocol, list(model.parameters()), partial(model, number, without, scale)
        )


def copy_weights(model: ToyModel) -> list[Tensor]:
    """Return copies of the weights, without graph."""
    return [w.detach().clone() for w in model.weights]


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, Python and NumPy."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def bitwise_equal(ones: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
    """Return whether the tensors of all pairs are equal, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


def any_equal(ones: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
    """Return whether the tensors of any pair are equal, bit for bit."""
    return any(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


def generator_states() -> tuple[Any, ...]:
    """Return the states of the three global generators. Code that draws random numbers changes them."""
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), repr(np.random.get_state())


def process_settings() -> dict[str, Any]:
    """Return torch's process-wide settings, by description."""
    return {
        "the default type of new tensors": torch.get_default_dtype(),
        "whether gradients are recorded": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(),
        "whether algorithms must be deterministic": torch.are_deterministic_algorithms_enabled(),
        "the precision of matrix products": torch.get_float32_matmul_precision(),
    }


@contextmanager
def preserve_settings() -> Iterator[None]:
    """Restore torch's process-wide settings at the end of the block."""
    dtype, gradients, threads, deterministic, precision = process_settings().values()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_float32_matmul_precision(precision)


class Stopwatch:
    """Seconds since its start, without those in which the main thread of a process waited for a processor (on Linux)."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._start, self._queued = time.monotonic(), self._queued_seconds()

    def seconds(self) -> float:
        return time.monotonic() - self._start - max(0.0, self._queued_seconds() - self._queued)

    def _queued_seconds(self) -> float:
        by_thread = queued_nanoseconds(self._process) or {}
        return by_thread.get(str(self._process), 0) / 1e9  # the id of the main thread is that of the process


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in the block after this many seconds. No effect outside the main thread or without SIGALRM (Windows).

    Waiting for a processor does not count: on a busy machine, an interrupted import would be reported as an error of the class.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = Stopwatch(os.getpid())

    def raise_timeout(*_: Any) -> None:
        if (left := seconds - watch.seconds()) > 0:
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.01))  # 0 would switch it off
        else:
            raise TimeoutError(f"not finished after {seconds} s")

    before = signal.signal(signal.SIGALRM, raise_timeout)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def format_error(error: BaseException) -> str:
    """Return an exception in one line, with the file and line that raised it unless optbench's own call did."""
    frames = traceback.extract_tb(error.__traceback__)
    is_alarm = isinstance(error, TimeoutError) and len(frames) > 1  # the last frame is the alarm's handler
    last = frames[-2 if is_alarm else -1]
    message = first_line(error)
    kind = type(error).__name__
    place = "" if Path(last.filename).is_relative_to(_PACKAGE) else f" ({last.filename}, line {last.lineno})"
    return f"{kind}{'' if message == kind else f': {message}'}{place}"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if the message is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def raised_deliberately(error: Exception) -> bool:
    """Return whether an exception comes from `raise` or `assert` in the source, not from an operation that failed."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and (frames[-1].line or "").startswith(("raise ", "assert "))
