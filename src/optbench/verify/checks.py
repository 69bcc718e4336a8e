"""Run the checks of `optbench verify`, and return their tables."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from rich.console import RenderableType

from optbench.catalog.optimizer_packages import Offered
from optbench.cpu_cores import cores
from optbench.engine.devices import select_device
from optbench.errors import OptbenchError
from optbench.verify import equations
from optbench.verify.conformance import CHECKS as CHECKS
from optbench.verify.conformance import conformance, persistent_state
from optbench.verify.installed_packages import Checked, check_all
from optbench.verify.plugin import load_plugin
from optbench.verify.references import REFERENCES as REFERENCES
from optbench.verify.result_tables import BACKWARD_TOLERANCE, deviation_table, verdict_table
from optbench.verify.result_tables import packages_table as packages_table
from optbench.verify.result_tables import packages_text as packages_text
from optbench.verify.toy_problem import Plugin


def check_installed(device: str) -> tuple[RenderableType, bool]:
    """Compare torch's optimizers with the reference implementations. Return the table, and whether all are within tolerance."""
    selected = _select_device(device)
    deviations = list(equations.installed(selected))
    backward = equations.backward_deviation()
    passed = all(d.passed for d in deviations) and backward <= BACKWARD_TOLERANCE
    return deviation_table(deviations, backward, selected), passed


def check_packages(classes: Sequence[Offered], device: str, note: Callable[[Checked], None]) -> list[Checked]:
    """Check every class in its own process, one per core on a CPU. `note` is called after each."""
    selected = _select_device(device)
    return check_all(classes, selected, cores() if selected.type == "cpu" else 1, note)


def check_plugin(
    typed: str,
    name: str,
    arguments: dict[str, Any],
    *,
    device: str,
    allowed: Sequence[str] = (),
    equation: str | None = None,
    closure: bool | None = None,
    create_graph: bool | None = None,
) -> tuple[RenderableType, bool]:
    """Check one optimizer, also against the reference implementation `equation`. Return the table, and whether all checks passed."""
    selected = _select_device(device)
    with redirect_stdout(io.StringIO()) as printed:
        plugin = load_plugin(name, arguments, selected, Path(), closure, create_graph)
        verdicts = conformance(plugin, tuple(allowed))
        deviations = _compare_with_reference(plugin, equation) if equation else []
        try:
            state = persistent_state(plugin)
        except Exception:  # a failure that the checks have already reported
            state = None
    table = verdict_table(
        typed, verdicts, deviations, state, printed.getvalue(), plugin.settings, sparse=plugin.sparse
    )
    return table, all(v.outcome != "fail" for v in verdicts) and all(d.passed for d in deviations)


def _compare_with_reference(plugin: Plugin, equation: str) -> list[equations.Deviation]:
    if plugin.protocol.has_closure or plugin.sparse or plugin.spec.makes_own_groups:
        raise OptbenchError(
            "supports only optimizers with dense gradients, without a closure and without own parameter groups",
            where="--as",
        )
    return equations.deviations_of(plugin, equation)


def _select_device(device: str) -> torch.device:
    torch.set_num_threads(1)  # the tensors are tiny: threads would only wait for each other
    return select_device(device)
