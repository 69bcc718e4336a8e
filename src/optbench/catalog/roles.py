"""Roles of the parameters of an optimizer's constructor: model parameters, the model, another optimizer, or a setting."""

from __future__ import annotations

import ast
from typing import Any, Literal

from optbench.catalog.signatures import Parameter, Signature
from optbench.suite.nested_optimizers import Nested, nested

#: `optimizer`: an instance over the same parameters; `optimizer_class`: a class that the constructor calls itself
Role = Literal["parameters", "named_parameters", "model", "optimizer", "optimizer_class", "count", "setting"]
Count = Literal["steps", "samples", "epochs", "steps_per_epoch"]

_FIRST: dict[str, Role] = {
    **dict.fromkeys(("model", "module", "net", "network"), "model"),
    **dict.fromkeys(("named_parameters", "named_params"), "named_parameters"),
    **dict.fromkeys(("optimizer", "optim", "opt", "inner", "wrapped", "base"), "optimizer"),
}
_LATER: dict[str, Role] = {
    **dict.fromkeys(("params", "parameters"), "parameters"),
    **dict.fromkeys(("named_parameters", "named_params"), "named_parameters"),
}
#: required parameters whose values the training determines; the engine passes them unless the entry sets them
COUNTS: dict[str, Count] = {
    **dict.fromkeys(
        ("num_iterations", "total_iterations", "total_iters", "max_iters", "iterations"), "steps"
    ),
    **dict.fromkeys(
        ("num_steps", "total_steps", "num_training_steps", "training_steps", "max_steps"), "steps"
    ),
    **dict.fromkeys(("num_data", "num_samples", "dataset_size", "data_size"), "samples"),
    **dict.fromkeys(("num_epochs", "epochs", "max_epochs", "total_epochs"), "epochs"),
    **dict.fromkeys(("num_batches_per_epoch", "batches_per_epoch", "steps_per_epoch"), "steps_per_epoch"),
}
_INSTANCES = {"Optimizer"}  # of annotations
_CLASSES = {"type", "Type", "Callable"}
#: what the engine passes
GIVEN: tuple[Role, ...] = ("parameters", "named_parameters", "model")


def roles(signature: Signature) -> dict[str, Role]:
    """Return the roles by parameter name. The first parameter receives the model's parameters, unless its name has another role."""
    found: dict[str, Role] = {}
    for position, parameter in enumerate(signature.parameters):
        name = parameter.name.lower()
        if position == 0:
            role = _FIRST.get(name, "optimizer" if _is_optimizer(name) else "parameters")
        elif parameter.required and found[signature.names[0]] != "parameters" and name in _LATER:
            role = _LATER[name]
        elif parameter.required and name in COUNTS:
            role = "count"
        else:
            role = "optimizer_class" if _may_be_class(parameter) else "setting"
        if role == "optimizer" and parameter.is_called:
            role = "optimizer_class"
        if position and role == "optimizer_class" and _is_instance(parameter):
            role = "optimizer"
        found[parameter.name] = role
    return found


def inner_optimizer(role: Role, value: Any) -> Nested | None:
    """Return the optimizer that an argument refers to: `{use: torch.optim.SGD}`, or its name if the role requires an optimizer."""
    if role in ("optimizer", "optimizer_class") and isinstance(value, str):
        return Nested(value, {})
    return nested(value)


def _is_optimizer(name: str) -> bool:
    """Return whether a name refers to an optimizer: `base_optimizer`, but not `optim_groups`."""
    return "optim" in name and "param" not in name and "group" not in name


def _may_be_class(parameter: Parameter) -> bool:
    names = _names(parameter)
    by_name = _is_optimizer(parameter.name.lower()) or parameter.name.lower() in (
        "base_cls",
        "base_class",
        "inner",
    )
    return "str" not in names and not isinstance(parameter.default, (str, bool, int, float)) and by_name


def _is_instance(parameter: Parameter) -> bool:
    """Return whether the annotation is an optimizer instance and the constructor does not call it: some annotate classes as instances."""
    names = _names(parameter)
    return bool(names & _INSTANCES) and not names & _CLASSES and not parameter.is_called


def _names(parameter: Parameter) -> set[str]:
    try:
        tree = ast.parse(parameter.annotation or "None", mode="eval")
    except SyntaxError:
        return set()
    parts = [node for node in ast.walk(tree) if isinstance(node, (ast.Name, ast.Attribute))]
    return {node.id if isinstance(node, ast.Name) else node.attr for node in parts}
