"""What an optimizer class needs from the engine is read from the class: graphs of gradients, counts, matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optbench.catalog.check import problems
from optbench.engine.optimizers import build
from optbench.engine.session import prepare
from optbench.errors import OptbenchError
from optbench.suite.load import load
from optbench.verify.plugin import load_plugin
from trials import CPU, finished, run, trials

CLASSES = '''
import torch
from torch.optim import SGD


class SecondOrder(SGD):
    """Call `loss.backward(create_graph=True)` before the step."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, lr=lr)

    def step(self, closure=None):
        ps = [p for g in self.param_groups for p in g["params"]]
        gs = [p.grad for p in ps]
        products = torch.autograd.grad(gs, ps, [torch.ones_like(g) for g in gs], allow_unused=True)
        with torch.no_grad():
            for p, g, h in zip(ps, gs, products):
                p.sub_(g / (1 + (0 if h is None else h.abs())), alpha=self.param_groups[0]["lr"])


class Mentions(SGD):
    """Not for `create_graph=True`."""


class Counted(SGD):
    def __init__(self, params, num_iterations, num_data, num_epochs, steps_per_epoch, lr=0.1):
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group["counts"] = (num_iterations, num_data, num_epochs, steps_per_epoch)


class Matrices(SGD):
    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
        {constructor}

    def step(self, closure=None):
        {step}
        return super().step(closure)
'''
REFUSE = "assert all(p.dim() == 2 for g in self.param_groups for p in g['params']), 'bad shape'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(CLASSES.format(constructor=REFUSE, step="pass"))
    return tmp_path


def _one(folder: Path, name: str, **entry: Any) -> Any:
    return trials(folder, optimizers={"Own": {"use": f"own.py:{name}", **entry}})[0]


def test_a_class_that_differentiates_gradients_is_detected_without_a_setting(folder: Path) -> None:
    trial = _one(folder, "SecondOrder")
    assert prepare(trial, CPU, folder).optimizers.protocol.create_graph
    assert finished(run(trial, folder)).status == "completed"


def test_a_subclass_of_a_class_that_calls_grad_is_detected_without_a_setting(folder: Path) -> None:
    source = (folder / "own.py").read_text().replace("create_graph", "a graph")
    assert "grad(" in source
    (folder / "own.py").write_text(f"{source}\nclass Derived(SecondOrder):\n    pass\n")
    assert prepare(_one(folder, "Derived"), CPU, folder).optimizers.protocol.create_graph


def test_a_class_that_only_mentions_create_graph_is_called_plainly(folder: Path) -> None:
    assert not prepare(_one(folder, "Mentions"), CPU, folder).optimizers.protocol.create_graph


def test_required_counts_are_those_of_the_training(folder: Path) -> None:
    trial = _one(folder, "Counted")
    assert not problems(load(folder / "suite.yaml"), folder)
    (group,) = prepare(trial, CPU, folder).optimizers.members[0].param_groups
    assert group["counts"] == (18, 96, 3, 6)


def test_an_entry_can_set_a_count(folder: Path) -> None:
    trial = _one(folder, "Counted", num_iterations=1000)
    assert not problems(load(folder / "suite.yaml"), folder)
    (group,) = prepare(trial, CPU, folder).optimizers.members[0].param_groups
    assert group["counts"] == (1000, 96, 3, 6)


def test_a_budget_in_seconds_has_no_number_of_steps(folder: Path) -> None:
    trial = _one(folder, "Counted")
    model = prepare(trial, CPU, folder).model
    with pytest.raises(OptbenchError, match="requires 'num_iterations', which a budget in seconds does not"):
        build(trial, model, None)


def test_a_class_with_counts_is_checked_by_verify(folder: Path) -> None:
    plugin = load_plugin("own.py:Counted", {}, CPU, folder)
    assert plugin.spec.roles["num_data"] == "count"


@pytest.mark.parametrize("place", ["constructor", "step"])
def test_a_class_for_matrices_fails_with_the_rules_to_write(folder: Path, place: str) -> None:
    parts = {"constructor": "pass", "step": "pass"} | {place: REFUSE}
    (folder / "own.py").write_text(CLASSES.format(**parts))
    trial = _one(folder, "Matrices")
    end = finished(run(trial, folder))
    assert end.status == "failed"
    assert "accepts matrices only; 2 of 4 parameter tensors are not" in end.detail
    assert "{parameters: rest, use: adamw, lr: 1e-3}" in end.detail


def test_the_suggested_rules_run(folder: Path) -> None:
    rules = [
        {"parameters": "matrices", "use": "own.py:Matrices"},
        {"parameters": "rest", "use": "adamw", "lr": 1e-3},
    ]
    (trial,) = trials(folder, optimizers={"Own": {"use": rules}})
    assert finished(run(trial, folder)).status == "completed"


def test_another_error_of_a_constructor_stays_what_it_is(folder: Path) -> None:
    (folder / "own.py").write_text(
        CLASSES.format(constructor="raise RuntimeError('no such device')", step="pass")
    )
    assert "no such device" in finished(run(_one(folder, "Matrices"), folder)).detail
