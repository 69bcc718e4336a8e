"""Load an optimizer named on the command line, and find out by a first step how it must be called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from optbench.catalog.check_optimizer import optimizer_findings
from optbench.engine.find_protocol import (
    find_protocol,
    missing_setting,
    reads_no_gradients,
    working_protocol,
)
from optbench.engine.group_flags import missing_flag
from optbench.engine.optimizer_spec import make_optimizer_spec
from optbench.errors import OptbenchError, Problem
from optbench.suite.types import Optimizer, Rule
from optbench.verify.toy_problem import (
    MATRICES,
    PATIENCE,
    Plugin,
    advance,
    bitwise_equal,
    copy_weights,
    format_error,
    preserve_settings,
    time_limit,
)

SECONDS = 60  # time limit for importing it, and for its first step


def load_plugin(
    name: str,
    arguments: dict[str, Any],
    device: torch.device,
    folder: Path,
    closure: bool | None = None,
    create_graph: bool | None = None,
) -> Plugin:
    """Return the optimizer with this catalog name, import path or file (relative to `folder`), ready for the checks.

    `closure` and `create_graph` have the meaning of an entry's settings. An optimizer that accepts only matrices, or only sparse
    gradients, or groups with a flag, is checked with those. Raises `OptbenchError` for unknown names and arguments, and for an optimizer
    that cannot be imported or built.
    """
    with _errors_as_problems(name):
        if findings := list(optimizer_findings(name, arguments, folder, ("arguments",))):
            raise OptbenchError(*(Problem(message, where=name) for _, message in findings))
        plugin = Plugin(name, make_optimizer_spec(name, arguments, folder), device)
    entry = Optimizer(rules=(Rule(use=name),), closure=closure, create_graph=create_graph)
    with _errors_as_problems(name):
        try:
            return _with_protocol(plugin, entry)
        except ValueError:  # possibly because of the shapes; any other cause is raised again
            return _with_protocol(plugin.with_shapes(MATRICES), entry)
        except Exception as error:
            flag = missing_flag(plugin.spec.factory, error)
            if not flag:
                raise
            return _with_protocol(replace(plugin, group_flag=flag), entry)


@contextmanager
def _errors_as_problems(name: str) -> Iterator[None]:
    """Raise exceptions of the plug-in as `OptbenchError`, restore process-wide settings, and limit the time."""
    try:
        with preserve_settings(), time_limit(SECONDS):
            yield
    except OptbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise OptbenchError(f"cannot be checked: {format_error(error)}", where=name) from error


def _with_protocol(plugin: Plugin, entry: Optimizer) -> Plugin:
    """Return the plug-in with the protocol that its class needs. Raises what building raises; the checks report what the step raises."""
    optimizer = plugin.build(plugin.toy_model())
    if not hasattr(optimizer, "param_groups") or not callable(getattr(optimizer, "step", None)):
        message = f"it returned {type(optimizer).__name__}; expected a torch.optim.Optimizer, with param_groups and step()"
        raise OptbenchError(f"cannot be checked: {message}", where=plugin.name)

    def make_toy() -> Any:
        return plugin.build(plugin.toy_model())

    protocol = find_protocol([optimizer], entry, make_toy)
    gradient_free = protocol.calls == "loss_only" and reads_no_gradients(make_toy)
    configured = replace(plugin, protocol=protocol, gradient_free=gradient_free)
    try:
        return replace(configured, idle_steps=_idle_steps(configured))
    except TimeoutError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and plugin.shapes != MATRICES:
            raise
        other = working_protocol(make_toy, protocol)
        if other is not None:
            setting = missing_setting(make_toy, protocol, error)
            return replace(configured, protocol=other, missing_setting=setting)
        sparse = replace(configured, sparse=True, shapes=MATRICES)
        return sparse if _can_step(sparse) else configured


def _can_step(plugin: Plugin) -> bool:
    """Return whether one step raises nothing."""
    model = plugin.toy_model()
    try:
        advance(plugin, model, plugin.build(model), [0])
    except Exception:
        return False
    return True


def _idle_steps(plugin: Plugin) -> int:
    """Return the number of steps before the first that changes a parameter; 0 if none of the first steps does."""
    model = plugin.toy_model()
    optimizer, before = plugin.build(model), copy_weights(model)
    for number in range(PATIENCE):
        advance(plugin, model, optimizer, [number])
        if not bitwise_equal(before, copy_weights(model)):
            return number
    return 0
