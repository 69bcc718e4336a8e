"""An optimizer as typed on the command line -> something to try: built once, to learn what it takes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from optbench.catalog import lookup
from optbench.catalog.check_component import component_findings
from optbench.errors import OptbenchError, Problem
from optbench.suite.types import Component
from optbench.verify.bed import MATRICES, Plugin, advance, said


def load_plugin(name: str, arguments: dict[str, Any], device: torch.device, folder: Path) -> Plugin:
    """By catalog name, import path or file (relative to `folder`).

    One that takes matrices only is tried on matrices. Raises `OptbenchError` for unknown names and arguments, and for what cannot
    be built and stepped at all.
    """
    component = Component(name=name, arguments=arguments)
    found = [
        Problem(message, where=name) for _, message in component_findings("optimizers", component, folder, ())
    ]
    if found:
        raise OptbenchError(*found)
    make = lookup.load(lookup.resolve("optimizers", name, folder))
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    plugin = Plugin(name, make, given, frozenset(inspect.signature(make).parameters), device)
    try:
        return _stepped(plugin)
    except ValueError:
        pass  # perhaps of the shapes; if not, it raises the same again
    except Exception as error:
        raise _unusable(name, error) from error
    try:
        return _stepped(plugin.with_shapes(MATRICES))
    except Exception as error:
        raise _unusable(name, error) from error


def _stepped(plugin: Plugin) -> Plugin:
    """With `needs_closure` as its class asks; raises what building raises. What the step raises is for the checks to tell."""
    valley = plugin.valley()
    made = plugin.build(valley)
    if not hasattr(made, "param_groups"):
        raise TypeError(f"it gave {type(made).__name__}; expected a torch.optim.Optimizer")
    closure = inspect.signature(type(made).step).parameters.get("closure")
    required = closure is not None and closure.default is inspect.Parameter.empty
    asked = Plugin(**{**vars(plugin), "needs_closure": required})
    if plugin.shapes != MATRICES:
        try:
            advance(asked, valley, made, [0])
        except ValueError:
            raise
        except Exception:
            return asked
    return asked


def _unusable(name: str, error: Exception) -> OptbenchError:
    return OptbenchError(Problem(f"cannot be tried: {type(error).__name__}: {said(error)}", where=name))
