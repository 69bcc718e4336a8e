"""An optimizer as typed on the command line -> something to try: built once, to learn what it takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from optbench.catalog import lookup
from optbench.catalog.check_component import component_findings
from optbench.errors import OptbenchError, Problem
from optbench.suite.types import Component
from optbench.verify.bed import MATRICES, Plugin, advance, limited, located, settings_kept

SECONDS = 60  # for importing it, and for its first step


def load_plugin(name: str, arguments: dict[str, Any], device: torch.device, folder: Path) -> Plugin:
    """By catalog name, import path or file (relative to `folder`).

    One that takes matrices only is tried on matrices. Raises `OptbenchError` for unknown names and arguments, and for what cannot
    be built and stepped at all.
    """
    component = Component(name=name, arguments=arguments)
    with _told(name):
        if found := list(component_findings("optimizers", component, folder, ())):
            raise OptbenchError(*(Problem(message, where=name) for _, message in found))
        make = lookup.load(lookup.resolve("optimizers", name, folder))
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    plugin = Plugin(name, make, given, frozenset(inspect.signature(make).parameters), device)
    with _told(name):
        try:
            return _stepped(plugin)
        except ValueError:  # perhaps of the shapes; if not, it is raised again
            return _stepped(plugin.with_shapes(MATRICES))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What the plug-in raises, or does for the whole process, ends here; and it does not hang."""
    try:
        with settings_kept(), limited(SECONDS):
            yield
    except OptbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise OptbenchError(Problem(f"cannot be tried: {located(error)}", where=name)) from error


def _stepped(plugin: Plugin) -> Plugin:
    """With `needs_closure` as its class asks; raises what building raises. What the step raises is for the checks to tell."""
    valley = plugin.valley()
    made = plugin.build(valley)
    if not hasattr(made, "param_groups") or not callable(getattr(made, "step", None)):
        found = (
            f"it gave {type(made).__name__}; expected a torch.optim.Optimizer, with param_groups and step()"
        )
        raise OptbenchError(Problem(f"cannot be tried: {found}", where=plugin.name))
    closure = inspect.signature(type(made).step).parameters.get("closure")
    required = closure is not None and closure.default is inspect.Parameter.empty
    asked = Plugin(**{**vars(plugin), "needs_closure": required})
    if plugin.shapes != MATRICES:
        try:
            advance(asked, valley, made, [0])
        except (ValueError, TimeoutError):
            raise
        except Exception:
            return asked
    return asked
