"""An optimizer as typed on the command line -> something to try: built once, to learn what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from optbench.catalog.check_optimizer import optimizer_findings
from optbench.engine.find_protocol import find_protocol, working_protocol
from optbench.engine.optimizer_spec import make_optimizer_spec
from optbench.errors import OptbenchError, Problem
from optbench.suite.types import Optimizer, Rule
from optbench.verify.bed import (
    MATRICES,
    PATIENCE,
    Plugin,
    advance,
    limited,
    located,
    same,
    settings_kept,
    weights_of,
)

SECONDS = 60  # for importing it, and for its first step


def load_plugin(
    name: str,
    arguments: dict[str, Any],
    device: torch.device,
    folder: Path,
    closure: bool | None = None,
    create_graph: bool | None = None,
) -> Plugin:
    """By catalog name, import path or file (relative to `folder`); `closure` and `create_graph` are settings of an entry.

    One that takes matrices only is tried on matrices, and one that takes sparse gradients only on sparse ones. Raises `OptbenchError`
    for unknown names and arguments, and for what cannot be built and stepped at all.
    """
    with _told(name):
        if found := list(optimizer_findings(name, arguments, folder, ("arguments",))):
            raise OptbenchError(*(Problem(message, where=name) for _, message in found))
        plugin = Plugin(name, make_optimizer_spec(name, arguments, folder), device)
    entry = Optimizer(rules=(Rule(use=name),), closure=closure, create_graph=create_graph)
    with _told(name):
        try:
            return _stepped(plugin, entry)
        except ValueError:  # perhaps of the shapes; if not, it is raised again
            return _stepped(plugin.with_shapes(MATRICES), entry)


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


def _stepped(plugin: Plugin, entry: Optimizer) -> Plugin:
    """With the protocol that its class needs; raises what building raises. What the step raises is for the checks to tell."""
    made = plugin.build(plugin.valley())
    if not hasattr(made, "param_groups") or not callable(getattr(made, "step", None)):
        found = (
            f"it gave {type(made).__name__}; expected a torch.optim.Optimizer, with param_groups and step()"
        )
        raise OptbenchError(Problem(f"cannot be tried: {found}", where=plugin.name))

    def make_toy() -> Any:
        return plugin.build(plugin.valley())

    protocol = find_protocol([made], entry, make_toy)
    asked = replace(plugin, protocol=protocol)
    try:
        return replace(asked, idle_steps=_idle_steps(asked))
    except TimeoutError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and plugin.shapes != MATRICES:
            raise
        other = working_protocol(make_toy, protocol)
        if other is not None:
            return replace(asked, protocol=other)
        sparse = replace(asked, sparse=True, shapes=MATRICES)
        return sparse if _steps(sparse) else asked


def _steps(plugin: Plugin) -> bool:
    valley = plugin.valley()
    try:
        advance(plugin, valley, plugin.build(valley), [0])
    except Exception:
        return False
    return True


def _idle_steps(plugin: Plugin) -> int:
    """How many steps leave all parameters as they are, before one changes them; 0 if none does."""
    valley = plugin.valley()
    optimizer, before = plugin.build(valley), weights_of(valley)
    for number in range(PATIENCE):
        advance(plugin, valley, optimizer, [number])
        if not same(before, weights_of(valley)):
            return number
    return 0
