"""Deviation of installed implementations from the reference implementations, over random problems."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optbench.verify import two_layer
from optbench.verify.references import REFERENCES, Array, Memory
from optbench.verify.toy_problem import Plugin

#: maximum relative deviation that passes: at least ten times the effect of rounding, far below the effect of a wrong equation
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-3}
IMPLEMENTATIONS: dict[str, dict[str, bool]] = {
    "for-loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
PROBLEMS, STEPS = 5, 30
_SHAPES = ((6, 5), (9,), (1,), ())

#: label -> (name of the reference and of torch's class, hyperparameters that are fixed; the others are drawn at random)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {}),
    "SGD + momentum": ("SGD", {"momentum": 0.9}),
    "SGD + momentum + dampening": ("SGD", {"momentum": 0.9, "dampening": 0.3}),
    "Nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "Adagrad": ("Adagrad", {"lr_decay": 0.01, "initial_accumulator_value": 0.1}),
    "RMSprop": ("RMSprop", {}),
    "RMSprop + momentum": ("RMSprop", {"momentum": 0.9}),
    "RMSprop centered": ("RMSprop", {"centered": True}),
    "Adam": ("Adam", {}),
    "Adam + amsgrad": ("Adam", {"amsgrad": True}),
    "AdamW": ("AdamW", {}),
    "AdamW + amsgrad": ("AdamW", {"amsgrad": True}),
}


@dataclass(frozen=True)
class Deviation:
    """Deviation of one implementation from its equations. `value`: None if it is not available on this device; `reason`: why not."""

    label: str
    implementation: str
    dtype: torch.dtype
    value: float | None
    reason: str = ""

    @property
    def passed(self) -> bool:
        return self.value is None or self.value <= TOLERANCE[self.dtype]  # a NaN does not pass


@dataclass(frozen=True)
class Descent:
    """Initial weights and the gradients of each step, per tensor. None: the tensor has no gradient in that step."""

    starts: tuple[Array, ...]
    gradients: tuple[tuple[Array | None, ...], ...]


def installed(device: torch.device) -> Iterator[Deviation]:
    """Yield the deviation of each variant in each implementation and precision of this device."""
    for label, (name, fixed) in VARIANTS.items():
        for implementation, flags in IMPLEMENTATIONS.items():
            for dtype in dtypes(device):
                yield _deviation_of_variant(label, name, fixed, implementation, flags, dtype, device)


def deviations_of(plugin: Plugin, equation: str) -> list[Deviation]:
    """Return the deviations of a plug-in from a reference (a key of `REFERENCES`), with the hyperparameters of its first group."""
    names = inspect.signature(REFERENCES[equation]).parameters
    group = plugin.build(plugin.toy_model()).param_groups[0]
    hyper = {key: value for key, value in group.items() if key in names}

    def build(tensors: list[Tensor]) -> torch.optim.Optimizer:
        return plugin.build(plugin.toy_model(), tensors)  # type: ignore[no-any-return]

    return [
        Deviation(
            f"as {equation}", "plug-in", dtype, _max_deviation(equation, hyper, build, dtype, plugin.device)
        )
        for dtype in dtypes(plugin.device)
    ]


def _max_deviation(
    equation: str,
    hyper: dict[str, Any],
    build: Callable[[list[Tensor]], torch.optim.Optimizer],
    dtype: torch.dtype,
    device: torch.device,
) -> float:
    values = [
        deviation_on(problem(seed, dtype), equation, hyper, build, dtype, device) for seed in range(PROBLEMS)
    ]
    return float(np.max(values))  # NaN if any is


def dtypes(device: torch.device) -> tuple[torch.dtype, ...]:
    """Return the precisions of the comparison. Apple's GPUs have no float64."""
    return (torch.float32,) if device.type == "mps" else (torch.float64, torch.float32)


def problem(seed: int, dtype: torch.dtype) -> Descent:
    """Return a noisy quadratic of random curvature, in numbers that `dtype` represents exactly. Some gradients are 0, some missing."""
    random = np.random.default_rng(seed)
    starts, sequences = [], []
    for position, shape in enumerate(_SHAPES):
        start = _rounded(random.normal(size=shape), dtype)
        curvature = np.exp(random.uniform(-1, 1, size=shape))
        alive = random.random(size=shape) > 0.1
        w, sequence = start, []
        for step in range(STEPS):
            gradient = _rounded(alive * (curvature * w + random.normal(size=shape)), dtype)
            w = w - 0.1 * gradient
            missing = position == 1 and step % 5 == 2
            sequence.append(None if missing else gradient)
        starts.append(start)
        sequences.append(sequence)
    return Descent(tuple(starts), tuple(zip(*sequences, strict=True)))


def deviation_on(
    descent: Descent,
    equation: str,
    hyper: dict[str, Any],
    build: Callable[[list[Tensor]], torch.optim.Optimizer],
    dtype: torch.dtype,
    device: torch.device,
) -> float:
    """Return the maximum difference of a weight after any step, relative to the maximum change of a weight of that tensor up to then."""
    tensors = [torch.tensor(start, dtype=dtype, device=device).requires_grad_() for start in descent.starts]
    optimizer = build(tensors)
    reference = REFERENCES[equation]
    weights, counts = list(descent.starts), [0] * len(tensors)
    memories: list[Memory] = [{} for _ in tensors]
    worst = 0.0
    for gradients in descent.gradients:
        for i, (tensor, gradient) in enumerate(zip(tensors, gradients, strict=True)):
            tensor.grad = None
            if gradient is not None:
                tensor.grad = torch.tensor(gradient, dtype=dtype, device=device)
                counts[i] += 1
                weights[i] = reference(weights[i], gradient, counts[i], memories[i], **hyper)
        optimizer.step()
        for tensor, expected, start in zip(tensors, weights, descent.starts, strict=True):
            actual = tensor.detach().double().cpu().numpy()
            difference = float(np.max(np.abs(actual - expected)))
            moved = float(np.max(np.abs(expected - start)))
            if difference:  # NaN too
                worst = float(np.maximum(worst, difference / max(moved, 1e-300)))
    return worst


def backward_deviation() -> float:
    """Return the maximum relative difference of a gradient between the backward pass of `two_layer` and autograd, in float64."""
    worst = 0.0
    for seed in range(PROBLEMS):
        random = np.random.default_rng(seed)
        x, y = random.normal(size=(20, 4)), (random.random((20, 1)) > 0.5).astype(np.float64)
        network = two_layer.initial(4, 7, seed)
        names = ("w1", "b1", "w2", "b2")
        w1, b1, w2, b2 = (torch.tensor(getattr(network, n)).requires_grad_() for n in names)
        scores = torch.tanh(torch.tensor(x) @ w1 + b1) @ w2 + b2
        torch.nn.functional.binary_cross_entropy(torch.sigmoid(scores), torch.tensor(y)).backward()  # type: ignore[no-untyped-call]
        by_hand = two_layer.gradients(network, x, y)
        for name, tensor in zip(names, (w1, b1, w2, b2), strict=True):
            assert tensor.grad is not None
            actual, expected = getattr(by_hand, name), tensor.grad.numpy()
            worst = max(worst, float(np.max(np.abs(actual - expected)) / np.max(np.abs(expected))))
    return worst


def _deviation_of_variant(
    label: str,
    name: str,
    fixed: dict[str, Any],
    implementation: str,
    flags: dict[str, bool],
    dtype: torch.dtype,
    device: torch.device,
) -> Deviation:
    factory = getattr(torch.optim, name)
    if not set(flags) <= set(inspect.signature(factory).parameters):
        return Deviation(label, implementation, dtype, None, "torch has no such implementation")
    worst = 0.0
    for seed in range(PROBLEMS):
        hyper = _random_hyperparameters(name, seed) | fixed

        def build(tensors: list[Tensor], hyper: dict[str, Any] = hyper) -> torch.optim.Optimizer:
            return factory(tensors, **hyper, **flags)  # type: ignore[no-any-return]

        try:
            value = deviation_on(problem(seed, dtype), name.lower(), hyper, build, dtype, device)
        except (RuntimeError, NotImplementedError) as error:
            message = str(error).partition("\n")[0]
            unsupported = next(iter(flags)) in message  # torch names the flag for which it has no kernel
            return Deviation(label, implementation, dtype, None if unsupported else math.nan, message)
        worst = float(np.maximum(worst, value))
    return Deviation(label, implementation, dtype, worst)


def _random_hyperparameters(name: str, seed: int) -> dict[str, Any]:
    """Return hyperparameters of one problem, exact in float32 so that all precisions use the same values."""
    random = np.random.default_rng([seed, 1])
    lr, decay, first, second = (float(np.float32(random.uniform(*r))) for r in _RANGES)
    hyper: dict[str, Any] = {"lr": lr, "weight_decay": decay if seed else 0.0}
    if name in ("Adam", "AdamW"):
        hyper |= {"betas": (first, second), "eps": 1e-3 if seed == 1 else 1e-8}
    elif name == "RMSprop":
        hyper |= {"alpha": second, "eps": 1e-3 if seed == 1 else 1e-8}
    return hyper


_RANGES = ((0.01, 0.2), (0.01, 0.3), (0.5, 0.95), (0.9, 0.999))


def _rounded(values: Any, dtype: torch.dtype) -> Array:
    kind = np.float32 if dtype == torch.float32 else np.float64
    return np.asarray(values, dtype=kind).astype(np.float64)
