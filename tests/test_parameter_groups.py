"""`groups` of an entry: parameter groups inside one optimizer, with values that the class reads from each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optbench.catalog.check import problems
from optbench.engine.session import prepare
from optbench.errors import OptbenchError
from optbench.suite.dump import dump_text
from optbench.suite.load import load
from trials import CPU, finished, run, started, trials

FLAGGED = """
import torch


class Flagged(torch.optim.SGD):
    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        for group in self.param_groups:
            if "use_sign" not in group:
                raise ValueError("a group has no use_sign")

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad.sign() if group["use_sign"] else p.grad, alpha=group["lr"])
"""
ENTRY: dict[str, Any] = {
    "use": "own.py:Flagged",
    "lr": 0.05,
    "groups": [
        {"parameters": "matrices", "use_sign": True, "lr": 0.01},
        {"parameters": "rest", "use_sign": False},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(FLAGGED)
    return tmp_path


def _groups(folder: Path, entry: dict[str, Any], **changes: Any) -> list[list[dict[str, Any]]]:
    """Return the groups of the optimizer of each trial."""
    found = []
    for trial in trials(folder, optimizers={"Flagged": entry}, **changes):
        found.append(prepare(trial, CPU, folder).optimizers.members[0].param_groups)
    return found


def test_each_group_has_its_parameters_and_values(folder: Path) -> None:
    ((matrices, rest),) = _groups(folder, ENTRY)
    assert {p.dim() for p in matrices["params"]} == {2}
    assert {p.dim() for p in rest["params"]} == {1}
    assert (matrices["use_sign"], matrices["lr"]) == (True, 0.01)
    assert (rest["use_sign"], rest["lr"]) == (False, 0.05)


def test_a_trial_with_groups_completes_and_records_them(folder: Path) -> None:
    (trial,) = trials(folder, optimizers={"Flagged": ENTRY})
    events = run(trial, folder)
    assert finished(events).status == "completed"
    assert [group["use_sign"] for group in started(events).hyperparameters] == [True, False]


def test_a_class_that_needs_groups_fails_with_the_groups_to_write(folder: Path) -> None:
    (folder / "own.py").write_text(
        FLAGGED.replace("super().__init__", "[g['lr'] for g in params if 'use_sign' in g]; super().__init__")
    )
    entry = {key: value for key, value in ENTRY.items() if key != "groups"}
    (trial,) = trials(folder, optimizers={"Flagged": entry})
    end = finished(run(trial, folder))
    assert (
        "`groups: [{parameters: matrices, use_sign: true}, {parameters: rest, use_sign: false}]`"
        in end.detail
    )


def test_exemptions_from_weight_decay_divide_the_groups(folder: Path) -> None:
    ((matrices, rest),) = _groups(folder, {**ENTRY, "weight_decay": 0.1, "no_weight_decay": ["biases"]})
    assert (matrices["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert rest["use_sign"] is False


def test_a_sweep_keeps_the_ratios_between_groups(folder: Path) -> None:
    groups = _groups(folder, ENTRY, sensitivity={"lr": [0.1, 1]})
    rates = sorted(tuple(round(group["lr"], 9) for group in one) for one in groups)
    assert rates == [(0.001, 0.005), (0.01, 0.05)]


def test_a_sweep_needs_the_value_beside_the_groups(folder: Path) -> None:
    entry = {key: value for key, value in ENTRY.items() if key != "lr"}
    suite = {"sensitivity": {"lr": {"values": [0.01, 0.1]}}}
    with pytest.raises(OptbenchError, match="set 'lr' beside 'groups'"):
        trials(folder, optimizers={"Flagged": entry}, **suite)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"parameters": "rest", "use_sing": True}, "did you mean 'use_sign'?"),
        ({"parameters": "matrixes", "use_sign": True}, "did you mean 'matrices'?"),
        ({"parameters": "rest", "use_sign": True, "lr": "fast"}, "expected a number"),
    ],
)
def test_a_misspelt_group_is_reported_by_check(folder: Path, group: dict[str, Any], message: str) -> None:
    trials(folder, optimizers={"Flagged": {**ENTRY, "groups": [group]}})
    (problem,) = problems(load(folder / "suite.yaml"), folder)
    assert message in problem.message
    assert problem.line is not None


def test_check_reads_the_flags_of_base_classes_too(folder: Path) -> None:
    (folder / "more.py").write_text("from own import Flagged\n\n\nclass More(Flagged):\n    pass\n")
    trials(folder, optimizers={"More": {**ENTRY, "use": "more.py:More"}})
    assert not problems(load(folder / "suite.yaml"), folder)


def test_a_parameter_without_a_group_is_an_error(folder: Path) -> None:
    with pytest.raises(OptbenchError, match="no group of `groups:` matches"):
        _groups(folder, {**ENTRY, "groups": [{"parameters": "matrices", "use_sign": True}]})


def test_groups_survive_writing_and_reading_a_suite(folder: Path) -> None:
    trials(folder, optimizers={"Flagged": ENTRY})
    suite = load(folder / "suite.yaml").suite
    (folder / "again.yaml").write_text(dump_text(suite))
    assert load(folder / "again.yaml").suite == suite
