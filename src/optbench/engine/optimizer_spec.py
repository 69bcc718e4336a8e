"""Build an optimizer from its class and arguments, which may contain further optimizers, with the inputs its constructor requires."""

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
from optbench.catalog.roles import COUNTS, Count, Role, inner_optimizer, roles
from optbench.catalog.signatures import signature
from optbench.engine.implementation import build_with_implementation
from optbench.errors import OptbenchError
from optbench.suite.scaling import is_scaled, scaled_rate


@dataclass(frozen=True)
class Length:
    """Length of a training: `steps` in all (None for a budget in seconds), training samples, steps per epoch."""

    steps: int | None
    samples: int = 1000
    steps_per_epoch: int = 10

    def count(self, what: Count) -> int | None:
        """Return one of these facts, or the number of epochs, rounded up; None if a budget in seconds does not define it."""
        epochs = None if self.steps is None else -(-self.steps // self.steps_per_epoch)
        facts = {"steps": self.steps, "samples": self.samples, "epochs": epochs}
        return facts.get(what, self.steps_per_epoch)


@dataclass(frozen=True)
class ConstructorInputs:
    """Inputs for constructors: parameters as groups or with their names, the model, the length of the training."""

    groups: Iterable[Any]
    named: Sequence[tuple[str, Tensor]]
    model: nn.Module
    length: Length


@dataclass(frozen=True)
class OptimizerSpec:
    """A class or factory with its arguments. Arguments that are specs are built first."""

    use: str
    factory: Callable[..., Any]
    accepted: frozenset[str]  # argument names of its signature
    roles: Mapping[str, Role]
    arguments: dict[str, Any] = field(default_factory=dict)
    passes_on: frozenset[str] = frozenset()  # argument names of a class among its arguments

    def takes(self, name: str) -> bool:
        """Return whether the optimizer, or one that it wraps or builds, has an argument of this name."""
        has_argument = name in self.accepted or name in self.arguments or name in self.passes_on
        return has_argument or any(inner.takes(name) for inner in self.wrapped)

    @property
    def wrapped(self) -> list[OptimizerSpec]:
        """The optimizers among its arguments."""
        return [value for value in self.arguments.values() if isinstance(value, OptimizerSpec)]

    @property
    def takes_model(self) -> bool:
        """Whether the model is passed to it, or to an optimizer that it wraps."""
        has_model = "model" in self.roles.values() or "model" in self.accepted - self.arguments.keys()
        return has_model or any(inner.takes_model for inner in self.wrapped)

    @property
    def makes_own_groups(self) -> bool:
        """Whether its first argument is the model or named parameters instead of parameter groups."""
        first = next(iter(self.roles.values()), "parameters")
        return first in ("model", "named_parameters") or any(inner.makes_own_groups for inner in self.wrapped)

    def with_arguments(self, changes: Mapping[str, Any]) -> OptimizerSpec:
        """Return the spec with changed arguments, each set at the optimizer that has it."""
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

    def build(self, inputs: ConstructorInputs, implementation: str = "default") -> tuple[Any, str]:
        """Return the optimizer, and why its implementation is not the requested one (empty if it is)."""
        arguments, notes = dict(self.arguments), []
        for name, value in self.arguments.items():
            if isinstance(value, OptimizerSpec):
                arguments[name], note = value.build(inputs, implementation)
                notes.append(note)
        optional: dict[str, Any] = {"model": inputs.model, "total_steps": inputs.length.steps}
        arguments |= {k: v for k, v in optional.items() if k in self.accepted and k not in arguments}
        first_name = next(iter(self.roles), "")
        for name, role in self.roles.items():
            if role in ("parameters", "named_parameters", "model") and name not in arguments:
                arguments[name] = {
                    "parameters": inputs.groups,
                    "named_parameters": list(inputs.named),
                    "model": inputs.model,
                }[role]
            elif role == "count" and name not in arguments:
                arguments[name] = inputs.length.count(COUNTS[name.lower()])
                if arguments[name] is None:
                    raise OptbenchError(
                        f"'{self.use}' requires '{name}', which a budget in seconds does not define: set it in the entry"
                    )
        first = arguments.pop(first_name, inputs.groups)
        if notes:
            optimizer, note = self.factory(first, **arguments), notes[0]
        else:
            optimizer, note = build_with_implementation(
                self.factory, first, arguments, implementation, set(self.accepted)
            )
        _add_hooks(optimizer)
        return optimizer, note


def _add_hooks(optimizer: Any) -> None:
    """Add torch's hooks, which `step` reads, to an optimizer that does not call torch's constructor, as many wrappers."""
    if isinstance(optimizer, torch.optim.Optimizer) and "_optimizer_step_pre_hooks" not in vars(optimizer):
        with suppress(AttributeError):  # without `defaults`
            torch.optim.Optimizer.__setstate__(optimizer, {})


def make_optimizer_spec(
    use: str, arguments: Mapping[str, Any], folder: str | Path, batch_size: int = 1
) -> OptimizerSpec:
    """Import the class and the classes among its arguments and return the spec. Raises `OptbenchError`.

    `batch_size` is for learning rates that scale with it.
    """
    target = lookup.resolve("optimizers", use, folder)
    factory = lookup.load(target)
    if not callable(factory):
        raise OptbenchError(f"'{use}' is {type(factory).__name__}; expected a class or function")
    if inspect.isabstract(factory):
        missing = ", ".join(f"{name}()" for name in sorted(factory.__abstractmethods__))
        raise OptbenchError(f"'{use}' is an abstract class; expected a subclass that implements {missing}")
    by_name = roles(signature(target))
    specified: dict[str, Any] = {}
    passes_on: set[str] = set()
    for name, value in arguments.items():
        role = by_name.get(name, "setting")
        inner = inner_optimizer(role, value)
        if inner is None:
            specified[name] = _plain(name, value, batch_size)
            continue
        spec = make_optimizer_spec(inner.use, inner.arguments, folder, batch_size)
        if role == "optimizer":
            specified[name] = spec
        elif spec.wrapped:
            raise OptbenchError(
                f"'{name}' of '{use}': expected a class; found '{inner.use}' with another optimizer, which is an instance"
            )
        else:
            specified[name] = partial(spec.factory, **spec.arguments) if spec.arguments else spec.factory
            passes_on |= spec.accepted
    return OptimizerSpec(use, factory, frozenset(_names(factory)), by_name, specified, frozenset(passes_on))


def _plain(name: str, value: Any, batch_size: int) -> Any:
    if name == "lr" and is_scaled(value):
        return scaled_rate(value, batch_size)
    return tuple(value) if isinstance(value, list) else value


def _names(factory: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return []
