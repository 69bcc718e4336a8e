"""Trials from a model and optimizers that are named on the command line, for `memory` and `steps`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError, Problem
from optbench.suite.call import parse_call
from optbench.suite.types import Component, Duration, Optimizer, Rule, Trial, Workload

Inputs = tuple[tuple[int, ...], int]  # shape, classes
_IMAGENET: Inputs = (3, 224, 224), 1000  # for torchvision's models
_CIFAR: Inputs = (3, 32, 32), 10


@dataclass(frozen=True)
class Named:
    """One trial per optimizer on one model, with the shape of one input."""

    trials: tuple[Trial, ...]
    info: DataInfo


def named_trials(
    model: str,
    rows: Mapping[str, str],
    *,
    overrides: Sequence[str] = (),
    shape: str | None = None,
    classes: int | None = None,
    batch_size: int = 32,
    precision: str = "fp32",
    implementation: str = "default",
    hint: str = "",
) -> Named:
    """`model` as in `mlp(hidden=[512])`; `rows`: label -> what was typed for an optimizer. `hint` follows an unknown model's name.

    Raises `OptbenchError` with everything wrong at once.
    """
    from optbench.suite.overrides import parse_override

    name, arguments = parse_call(model, "MODEL")
    for override in map(parse_override, overrides):
        arguments[override.path] = override.value.data
    component = Component(name=name, arguments=arguments)
    inputs = _IMAGENET if name.startswith("torchvision.") else _CIFAR
    of_one, outputs = parse_shape(shape) or inputs[0], classes or inputs[1]
    _refuse_unfit(component, rows, hint)
    workload = Workload(
        model=component,
        data=Component(name="synthetic", arguments={"shape": list(of_one), "classes": outputs}),
        batch_size=batch_size,
        budget=Duration(value=1, unit="steps"),
    )
    trials = [
        Trial.model_validate(
            {
                "suite": "named",
                "workload_name": "named",
                "workload": workload,
                "label": label,
                "entry": _entry(typed),
                "seed": 0,
                "precision": precision,
                "implementation": implementation,
                "folder": str(Path().resolve()),
            }
        )
        for label, typed in rows.items()
    ]
    return Named(tuple(trials), DataInfo(batch_size, 0, 0, of_one, outputs))


def parse_shape(text: str | None) -> tuple[int, ...] | None:
    """Parse `3,224,224` for images or `784` for vectors. Raises `OptbenchError`."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts) or len(parts) not in (1, 3):
        raise OptbenchError(
            Problem(
                f"expected C,H,W, for example 3,224,224, or one number for vectors; found '{text}'", "--shape"
            )
        )
    return tuple(int(part) for part in parts)


def _refuse_unfit(model: Component, rows: Mapping[str, str], hint: str) -> None:
    from optbench.catalog.check_component import component_findings
    from optbench.catalog.check_optimizer import optimizer_findings

    found = [
        Problem(f"{message}{hint}" if path == ("name",) else message, "MODEL")
        for path, message in component_findings("models", model, Path(), ())
    ]
    for typed in rows.values():
        try:
            name, arguments = parse_call(typed, "--optimizer")
            messages = optimizer_findings(name, arguments, Path(), ("arguments",))
            found += [Problem(message, f"--optimizer {typed}") for _, message in messages]
        except OptbenchError as error:
            found += error.problems
    if found:
        raise OptbenchError(*found)


def _entry(typed: str) -> Optimizer:
    use, arguments = parse_call(typed, "--optimizer")
    return Optimizer(rules=(Rule(use=use, arguments=arguments),))
