"""Build a model that a suite names: from the catalog, torchvision, or any class or function in a package or a file."""

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
    """Return the model on the CPU, initialised from torch's global generator.

    The function `build(shape, classes, **arguments)` of a catalog item or module is called. Any other class or function gets the
    arguments from the suite and those facts about the data that its signature names. Raises `OptbenchError` for arguments that it
    does not accept, and for a model that does not return `classes` outputs for inputs of `shape`.
    """
    target = lookup.resolve("models", component.name, folder)
    factory = lookup.load(target)
    if isinstance(factory, ModuleType):
        arguments = {"shape": shape, "classes": classes, **component.arguments}
        factory = factory.build
    else:
        accepted = signature(target).names
        facts = {name: value for name, value in model_facts(shape, classes).items() if name in accepted}
        arguments = {**facts, **component.arguments}
    try:
        model = factory(**arguments)
    except (TypeError, ValueError) as error:
        raise OptbenchError(f"model {component.name}: {error}") from error
    if not isinstance(model, nn.Module):
        raise OptbenchError(
            f"model {component.name}: expected a torch.nn.Module; found a {type(model).__name__}"
        )
    _check(component.name, model, shape, classes)
    return model


def _check(name: str, model: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    """Run one forward pass of zeros in evaluation mode, which leaves random generators, statistics and modes unchanged.

    It also initialises the parameters of lazy modules.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[], enabled=not _lazy(model)):
            outputs = model(torch.zeros(2, *shape))
    except (RuntimeError, TypeError, ValueError, AssertionError, IndexError) as error:
        reason = str(error).strip().split("\n")[0]
        raise OptbenchError(f"model {name} does not accept inputs of shape {shape}: {reason}") from error
    finally:
        for module, training in modes.items():
            module.training = training
    check_scores(name, outputs, 2, classes)


def check_scores(name: str, outputs: Any, samples: int, classes: int, *, training: bool = False) -> None:
    """Raise `OptbenchError` unless the outputs are a tensor of shape (samples, classes)."""
    mode = " in training mode" if training else ""
    if not isinstance(outputs, Tensor):
        hint = (
            "; an argument such as torchvision's `aux_logits: false` may disable further outputs"
            if training
            else ""
        )
        raise OptbenchError(
            f"model {name}: expected a tensor of scores; found {type(outputs).__name__}{mode}{hint}"
        )
    if tuple(outputs.shape) != (samples, classes):
        raise OptbenchError(
            f"model {name}: expected outputs of shape (batch, {classes}), one score per class; "
            f"found (batch, {', '.join(map(str, outputs.shape[1:]))}){mode}"
        )


def _lazy(model: nn.Module) -> bool:
    return any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters())
