"""Builds an optimizer from its class and arguments, with optimizers among the arguments, over whatever its constructor asks for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optbench.catalog import lookup
from optbench.catalog.roles import Role, inner_optimizer, roles
from optbench.catalog.signatures import signature
from optbench.engine.implementation import construct
from optbench.errors import OptbenchError
from optbench.suite.scaling import is_scaled, scaled_rate


@dataclass(frozen=True)
class ConstructorInputs:
    """What constructors are given: parameters as groups or with their names, the model, the number of steps."""

    groups: Iterable[Any]
    named: Sequence[tuple[str, Tensor]]
    model: nn.Module
    total_steps: int | None = None


@dataclass(frozen=True)
class OptimizerSpec:
    """A class or factory with its arguments. Those that are specs themselves are built when it is."""

    use: str
    factory: Callable[..., Any]
    accepted: frozenset[str]  # names that its signature has
    roles: Mapping[str, Role]
    arguments: dict[str, Any] = field(default_factory=dict)
    passes_on: frozenset[str] = frozenset()  # names that a class among its arguments takes

    def takes(self, name: str) -> bool:
        """Whether the optimizer, or one that it wraps or builds, has an argument of this name."""
        here = name in self.accepted or name in self.arguments or name in self.passes_on
        return here or any(inner.takes(name) for inner in self.wrapped)

    @property
    def wrapped(self) -> list[OptimizerSpec]:
        return [value for value in self.arguments.values() if isinstance(value, OptimizerSpec)]

    @property
    def takes_model(self) -> bool:
        """Whether it, or one that it wraps, gets the model."""
        here = "model" in self.roles.values() or "model" in self.accepted - self.arguments.keys()
        return here or any(inner.takes_model for inner in self.wrapped)

    @property
    def makes_own_groups(self) -> bool:
        """Whether it is given the model or named parameters instead of parameter groups."""
        first = next(iter(self.roles.values()), "parameters")
        return first in ("model", "named_parameters") or any(inner.makes_own_groups for inner in self.wrapped)

    def with_arguments(self, changes: Mapping[str, Any]) -> OptimizerSpec:
        """With other values, each for the optimizer that takes it."""
        if not changes:
            return self
        arguments = dict(self.arguments)
        for name, value in changes.items():
            owner = next(
                (k for k, v in arguments.items() if isinstance(v, OptimizerSpec) and v.takes(name)), None
            )
            if owner is None or name in self.accepted or name in self.arguments:
                arguments[name] = value
            else:
                arguments[owner] = arguments[owner].with_arguments({name: value})
        return replace(self, arguments=arguments)

    def build(self, given: ConstructorInputs, implementation: str = "default") -> tuple[Any, str]:
        """The optimizer, and why its implementation is not the one that was asked for (empty if it is)."""
        built, notes = dict(self.arguments), []
        for name, value in self.arguments.items():
            if isinstance(value, OptimizerSpec):
                built[name], note = value.build(given, implementation)
                notes.append(note)
        offered: dict[str, Any] = {"model": given.model, "total_steps": given.total_steps}
        built |= {k: v for k, v in offered.items() if k in self.accepted and k not in built}
        first = next(iter(self.roles), "")
        for name, role in self.roles.items():
            if role in ("parameters", "named_parameters", "model") and name not in built:
                built[name] = {
                    "parameters": given.groups,
                    "named_parameters": list(given.named),
                    "model": given.model,
                }[role]
        start = built.pop(first, given.groups)
        if notes:
            made, note = self.factory(start, **built), notes[0]
        else:
            made, note = construct(self.factory, start, built, implementation, set(self.accepted))
        _complete(made)
        return made, note


def _complete(made: Any) -> None:
    """Add torch's hooks to an optimizer whose constructor does not call the one of torch, as many wrappers: `step` reads them."""
    if isinstance(made, torch.optim.Optimizer) and "_optimizer_step_pre_hooks" not in vars(made):
        with suppress(AttributeError):  # without `defaults`
            torch.optim.Optimizer.__setstate__(made, {})


def make_optimizer_spec(
    use: str, arguments: Mapping[str, Any], folder: str | Path, batch_size: int = 1
) -> OptimizerSpec:
    """Import the class and those among its arguments. `batch_size` is for rates that follow it. Raises `OptbenchError`."""
    target = lookup.resolve("optimizers", use, folder)
    factory = lookup.load(target)
    if not callable(factory):
        raise OptbenchError(f"'{use}' is {type(factory).__name__}; expected a class or function")
    by_name = roles(signature(target))
    made: dict[str, Any] = {}
    passes_on: set[str] = set()
    for name, value in arguments.items():
        role = by_name.get(name, "setting")
        inner = inner_optimizer(role, value)
        if inner is None:
            made[name] = _plain(name, value, batch_size)
            continue
        spec = make_optimizer_spec(inner.use, inner.arguments, folder, batch_size)
        if role == "optimizer":
            made[name] = spec
        elif spec.wrapped:
            raise OptbenchError(
                f"'{name}' of '{use}' is a class; '{inner.use}' with another optimizer is an instance"
            )
        else:
            made[name] = partial(spec.factory, **spec.arguments) if spec.arguments else spec.factory
            passes_on |= spec.accepted
    return OptimizerSpec(use, factory, frozenset(_names(factory)), by_name, made, frozenset(passes_on))


def _plain(name: str, value: Any, batch_size: int) -> Any:
    if name == "lr" and is_scaled(value):
        return scaled_rate(value, batch_size)
    return tuple(value) if isinstance(value, list) else value


def _names(factory: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return []
