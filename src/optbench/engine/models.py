"""A model from what a suite names: the catalog's, torchvision's, or any class or function in a package or a file."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from optbench.catalog import lookup
from optbench.catalog.model_facts import model_facts
from optbench.catalog.signatures import signature
from optbench.errors import OptbenchError
from optbench.suite.types import Component


def build_model(
    component: Component, shape: tuple[int, ...], classes: int, folder: str | Path = "."
) -> nn.Module:
    """The model on the CPU, initialised from torch's global generator, checked to give `classes` outputs for `shape`.

    A catalog item or a module is asked to `build(shape, classes, **arguments)`. Any other class or function gets the
    arguments written in the suite and, of the facts about the data, those that its signature names. Raises
    `OptbenchError` for arguments it does not take, and for a model that does not fit the data.
    """
    target = lookup.resolve("models", component.name, folder)
    found = lookup.load(target)
    if isinstance(found, ModuleType):
        given = {"shape": shape, "classes": classes, **component.arguments}
        found = found.build
    else:
        known = signature(target).names
        facts = {name: value for name, value in model_facts(shape, classes).items() if name in known}
        given = {**facts, **component.arguments}
    try:
        model = found(**given)
    except (TypeError, ValueError) as error:
        raise OptbenchError(f"model {component.name}: {error}") from error
    if not isinstance(model, nn.Module):
        raise OptbenchError(
            f"model {component.name}: expected a torch.nn.Module; it made a {type(model).__name__}"
        )
    _check(component.name, model, shape, classes)
    return model


def _check(name: str, model: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    """One forward pass of zeros in evaluation mode, without a trace: no random draw, no statistics, modes restored.

    It also gives lazy modules their parameters, before an optimizer asks for them.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[], enabled=not _lazy(model)):
            outputs = model(torch.zeros(2, *shape))
    except (RuntimeError, TypeError, ValueError, AssertionError, IndexError) as error:
        reason = str(error).strip().split("\n")[0]
        raise OptbenchError(f"model {name} does not take inputs of shape {shape}: {reason}") from error
    finally:
        for module, training in modes.items():
            module.training = training
    check_scores(name, outputs, 2, classes)


def check_scores(name: str, outputs: Any, samples: int, classes: int, *, training: bool = False) -> None:
    """Raise `OptbenchError` unless a model gave a tensor with a score for each class of each sample."""
    when = ", while it trains" if training else ""
    if not isinstance(outputs, Tensor):
        hint = (
            "; an argument as torchvision's `aux_logits: false` may switch further outputs off"
            if training
            else ""
        )
        raise OptbenchError(
            f"model {name}: expected a tensor of scores; found {type(outputs).__name__}{when}{hint}"
        )
    if tuple(outputs.shape) != (samples, classes):
        raise OptbenchError(
            f"model {name}: expected outputs of shape (batch, {classes}), a score for each class; "
            f"found (batch, {', '.join(map(str, outputs.shape[1:]))}){when}"
        )


def _lazy(model: nn.Module) -> bool:
    return any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters())
