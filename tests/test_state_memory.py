"""Optimizer state: everything reachable from the optimizer, counted once, without parameters and gradients."""

from __future__ import annotations

import copy
import functools
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optbench.engine.state_memory import StateMemory, state_memory
from trials import finished, run, started, trials

Touch = Callable[[Any, Tensor, dict[str, Any]], object]


def measured(optimizer: Callable[[list[nn.Parameter]], Any], steps: int = 3) -> tuple[float | None, str]:
    """State as a multiple of the parameters' bytes, and the note."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 50), nn.ReLU(), nn.BatchNorm1d(50), nn.Linear(50, 10))
    parameters = list(model.parameters())
    made = optimizer(parameters)
    for _ in range(steps):
        made.zero_grad()
        model(torch.randn(8, 40)).square().mean().backward()
        made.step()
    found = state_memory([made], parameters, model)
    size = sum(p.numel() * p.element_size() for p in parameters)
    return None if found.bytes is None else found.bytes / size, found.note


class Plain(torch.optim.Optimizer):
    """SGD that calls `touch(self, parameter, state)` at each step."""

    def __init__(self, params: Any, touch: Touch | None = None, lr: float = 0.01) -> None:
        super().__init__(params, {"lr": lr})
        self.touch, self.kept = touch, {}  # type: ignore[var-annotated]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad, alpha=group["lr"])
                if self.touch is not None:
                    self.touch(self, p, self.state[p])


class Sam(torch.optim.Optimizer):
    """Sharpness-aware minimisation in one step on stale gradients: its base optimizer keeps the momentum."""

    def __init__(self, params: Any, base: Any = torch.optim.SGD, **options: Any) -> None:
        super().__init__(params, {"rho": 0.05, **options})
        self.base_optimizer = base(self.param_groups, **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["old_p"] = p.data.clone()
        self.base_optimizer.step()


class Lookahead:
    """A wrapper that is no torch.optim.Optimizer."""

    def __init__(self, params: Any) -> None:
        self.optimizer = torch.optim.Adam(params)
        self.param_groups = self.optimizer.param_groups
        self.slow = [[p.detach().clone() for p in group["params"]] for group in self.param_groups]

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        self.optimizer.step()


@dataclass
class Moments:
    mean: Tensor


class Slotted:
    __slots__ = ("mean",)

    def __init__(self, mean: Tensor) -> None:
        self.mean = mean


def _in_closure(optimizer: Any, p: Tensor, state: dict[str, Any]) -> None:
    mean = torch.zeros_like(p)
    state.setdefault("update", lambda: mean)


def _in_hook(optimizer: Any, p: Tensor, state: dict[str, Any]) -> None:
    if not p._backward_hooks:
        p.requires_grad_()
        mean = torch.zeros_like(p)
        p.register_hook(lambda gradient: gradient + mean)


def _once(make: Callable[[Tensor], Any]) -> Touch:
    return lambda optimizer, p, state: state.setdefault("kept", make(p))


def _in_attribute(optimizer: Any, p: Tensor, state: dict[str, Any]) -> None:
    optimizer.kept.setdefault(p, torch.zeros_like(p))


def _in_itself(optimizer: Any, p: Tensor, state: dict[str, Any]) -> None:
    state.update(mean=torch.zeros_like(p), state=state, optimizer=optimizer)


def _on_the_parameter(optimizer: Any, p: Any, state: dict[str, Any]) -> None:
    p.momentum = torch.zeros_like(p)


KINDS: dict[str, tuple[Touch, float]] = {
    "an attribute": (_in_attribute, 1.0),
    "a parameter's attribute": (_on_the_parameter, 1.0),
    "a dataclass": (_once(lambda p: Moments(torch.zeros_like(p))), 1.0),
    "slots": (_once(lambda p: Slotted(torch.zeros_like(p))), 1.0),
    "a NumPy array": (_once(lambda p: np.zeros(p.shape, np.float32)), 1.0),
    "a view of a NumPy array": (_once(lambda p: np.zeros((2, *p.shape), np.float32)[1:]), 2.0),
    "an array of objects": (_once(lambda p: np.array([torch.zeros_like(p), None], dtype=object)), 1.0),
    "an array of numbers": (_once(lambda p: array("f", [0.0]) * p.numel()), 1.0),
    "bytes": (_once(lambda p: bytearray(p.numel())), 0.25),
    "a deque in a tuple": (_once(lambda p: (deque([torch.zeros_like(p), torch.ones_like(p)]),)), 2.0),
    "a closure": (_in_closure, 1.0),
    "a partial": (_once(lambda p: functools.partial(torch.add, torch.zeros_like(p))), 1.0),
    "a bound method": (_once(lambda p: torch.zeros_like(p).add), 1.0),
    "a default argument": (_once(lambda p: lambda mean=torch.zeros_like(p): mean), 1.0),  # noqa: B008
    "a generator": (_once(lambda p: (item for item in [torch.zeros_like(p)])), 1.0),
    "a hook": (_in_hook, 1.0),
    "a dict that contains itself": (_in_itself, 1.0),
    "a sparse tensor": (_once(lambda p: torch.ones(p.numel()).to_sparse()), 3.0),
    "a storage": (_once(lambda p: torch.zeros_like(p).untyped_storage()), 1.0),
    "half precision": (_once(lambda p: torch.zeros_like(p, dtype=torch.bfloat16)), 0.5),
    "an alias of the weights": (_once(lambda p: p.detach()), 0.0),
    "the gradient": (lambda optimizer, p, state: state.update(last=p.grad), 0.0),
    "a scalar": (_once(lambda p: torch.zeros(())), 0.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_counted_wherever_it_is_kept(kind: str) -> None:
    touch, expected = KINDS[kind]
    multiple, note = measured(lambda params: Plain(params, touch))
    assert (multiple, note) == (pytest.approx(expected), "")


def test_a_nested_optimizer_is_counted_with_its_wrapper() -> None:
    assert measured(lambda params: Sam(params, lr=0.1)) == (1.0, "")
    assert measured(lambda params: Sam(params, lr=0.1, momentum=0.9)) == (2.0, "")
    assert measured(Lookahead)[0] == pytest.approx(3.0, abs=1e-3)


def test_a_second_model_is_counted_and_the_trained_one_is_not() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.model = model  # type: ignore[attr-defined]
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values() if t.dim())
    assert state_memory([optimizer], list(model.parameters()), model) == StateMemory(0)
    optimizer.average = copy.deepcopy(model)  # type: ignore[attr-defined]
    assert state_memory([optimizer], list(model.parameters()), model) == StateMemory(size)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("SGD", {}, 0),
        ("SGD", {"momentum": 0.9}, 1),
        ("Adam", {"amsgrad": True}, 3),
        ("AdamW", {"fused": True}, 2),
        ("RMSprop", {"centered": True, "momentum": 0.9}, 3),
        ("Adagrad", {}, 1),
        ("Adadelta", {}, 2),
        ("Rprop", {}, 2),
    ],
)
def test_torchs_own_optimizers_keep_their_values(name: str, options: dict[str, Any], expected: int) -> None:
    assert measured(lambda params: getattr(torch.optim, name)(params, **options)) == (expected, "")


def test_what_cannot_be_read_is_noted_and_never_reported_as_nothing() -> None:
    class Unreadable(Tensor):
        def untyped_storage(self) -> Any:
            raise NotImplementedError("no storage")

    opaque = _once(lambda p: torch.zeros_like(p).as_subclass(Unreadable))
    multiple, note = measured(lambda params: Plain(params, opaque))
    assert multiple is None
    assert "Unreadable at state" in note
    multiple, note = measured(lambda params: Plain(params, _once(lambda p: [0.0] * p.numel())))
    assert multiple is None
    assert "Python numbers" in note


def test_measuring_never_raises() -> None:
    class Hostile(Tensor):
        def dim(self) -> Any:
            raise RuntimeError("not today")

    hostile = _once(lambda p: torch.zeros_like(p).as_subclass(Hostile))
    multiple, note = measured(lambda params: Plain(params, hostile))
    assert multiple is None
    assert "not today" in note


PLUGINS = """
import torch

class Freed(torch.optim.SGD):
    def step(self, closure=None):
        super().step()
        self.count = getattr(self, "count", 0) + 1
        self.kept = [torch.zeros(4 * p.numel()) for g in self.param_groups for p in g["params"]] if self.count < 5 else []

class Sparse(torch.optim.SGD):
    def step(self, closure=None):
        super().step()
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["mask"] = torch.ones(p.numel()).to_sparse()

class Circular(torch.optim.SGD):
    def state_dict(self):
        state = super().state_dict()
        state["self"] = state
        return state

class Raising(torch.optim.SGD):
    def state_dict(self):
        raise AttributeError("no hooks")
"""


@pytest.mark.parametrize(
    ("name", "expected"), [("Freed", 4.0), ("Sparse", 3.0), ("Circular", 1.0), ("Raising", 1.0)]
)
def test_a_finished_trial_keeps_its_metrics_and_the_largest_state(
    tmp_path: Path, name: str, expected: float
) -> None:
    (tmp_path / "own.py").write_text(PLUGINS)
    momentum = {"momentum": 0.9} if name in ("Circular", "Raising") else {}
    (trial,) = trials(tmp_path, optimizers={"Own": {"use": f"own.py:{name}", "lr": 0.05, **momentum}})
    events = run(trial, tmp_path)
    end = finished(events)
    assert (end.status, end.detail) == ("completed", "")
    assert end.final["last"]
    assert end.state_bytes == expected * started(events).parameter_bytes
