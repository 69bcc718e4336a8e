"""Build a model that a suite names: from the catalog, torchvision, or any class or function in a package or a file."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from optbench.catalog import lookup
from optbench.catalog.model_facts import model_facts
from optbench.catalog.signatures import signature
from optbench.catalog.task_types import TaskModule, task_module
from optbench.catalog.types import DataInfo
from optbench.engine.batch import Zeros, call, example_batch, has_uninitialised
from optbench.errors import OptbenchError, first_line
from optbench.suite.types import Component


def build_model(
    component: Component, info: DataInfo, folder: str | Path = ".", *, check: bool = True
) -> nn.Module:
    """Return the model on the CPU, initialised from torch's global generator.

    A catalog item's function `build`, or any other class or function, gets the arguments from the suite and those facts about the
    data that its signature names. Raises `OptbenchError` for arguments that it does not accept, for facts that the data set does not
    have, and (with `check`) for a model whose outputs are not those of the task.
    """
    target = lookup.resolve("models", component.name, folder)
    factory = lookup.load(target)
    accepted = signature(target)
    facts = model_facts(info)
    arguments = {
        **{name: value for name, value in facts.items() if name in accepted.names},
        **component.arguments,
    }
    if isinstance(factory, ModuleType):
        factory = factory.build
    missing = [p.name for p in accepted.parameters if p.required and p.name not in arguments]
    if missing:
        raise OptbenchError(
            f"model {component.name} requires {', '.join(missing)}, which the data set (task {info.task}) does not have"
        )
    try:
        model = factory(**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        message = f"model {component.name}, for data of shape {info.shape}: {error}"
        raise OptbenchError(f"{message}{_place(target, error)}") from error
    if not isinstance(model, nn.Module):
        raise OptbenchError(
            f"model {component.name}: expected a torch.nn.Module; found a {type(model).__name__}"
        )
    if check and info.task != "custom":  # whose valid inputs are not known
        _check(target, model, info)
    return model


def _place(target: lookup.Target, error: Exception) -> str:
    """Return the line of a model's own file that raised the exception, in parentheses; "" if none did."""
    line = lookup.line_of(error, target.file) if target.kind == "file" and target.file else None
    return f" ({target.file.name}, line {line})" if line is not None and target.file else ""


def _check(target: lookup.Target, model: nn.Module, info: DataInfo) -> None:
    """Run one forward pass of zeros in evaluation mode, which leaves random generators, statistics and modes unchanged.

    It also initialises the parameters of lazy modules.
    """
    task = task_module(info.task)
    modes = {module: module.training for module in model.modules()}
    batch = example_batch(task, info, 2, Zeros())
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[], enabled=not has_uninitialised(model)):
            outputs = call(model, batch.inputs)
    except (RuntimeError, TypeError, ValueError, AssertionError, IndexError) as error:
        reason = first_line(error)
        form = f"of shape {info.shape}" if not isinstance(batch.inputs, dict) else ", ".join(batch.inputs)
        message = f"model {target.name} does not accept inputs {form}: {reason}{_place(target, error)}"
        raise OptbenchError(message) from error
    finally:
        for module, training in modes.items():
            module.training = training
    check_outputs(target.name, task, outputs, 2, info)


def check_outputs(
    name: str, task: TaskModule, outputs: Any, samples: int, info: DataInfo, *, training: bool = False
) -> None:
    """Raise `OptbenchError` unless the outputs have the form that the task expects."""
    outputs = getattr(outputs, "logits", outputs)  # of models of Hugging Face's kind
    problem = task.outputs_problem(outputs, samples, info)
    if not problem:
        return
    mode = " in training mode" if training else ""
    is_tensor = isinstance(outputs, torch.Tensor)
    hint = "; an argument such as torchvision's `aux_logits: false` may disable further outputs"
    raise OptbenchError(f"model {name}: {problem}{mode}{hint if training and not is_tensor else ''}")
