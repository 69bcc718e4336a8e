"""`optbench verify --all`: the conformance checks of every class of the installed packages, as one matrix."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from optbench.catalog.optimizer_packages import Offered
from optbench.cli.app import app
from optbench.verify.conformance import CHECKS, Verdict
from optbench.verify.installed_packages import Checked
from optbench.verify.result_tables import packages_table

PACKAGE = "checked_optimizers"
SOURCE = '''
import os

import torch


class Correct(torch.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr=lr)


class DropsState(torch.optim.SGD):
    """Momentum that is not in the state dict."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
        self.kept = {}

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    kept = self.kept.setdefault(p, torch.zeros_like(p))
                    p.sub_(kept.mul_(0.9).add_(p.grad), alpha=group["lr"])


class Refuses(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        raise RuntimeError("needs a GPU")


class Wraps:
    """Wrap an optimizer."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.param_groups = optimizer.param_groups
        self.step, self.zero_grad = optimizer.step, optimizer.zero_grad
        self.state_dict, self.load_state_dict = optimizer.state_dict, optimizer.load_state_dict

    def step(self): ...
    def zero_grad(self): ...
    def state_dict(self): ...


class Ends(torch.optim.SGD):
    def step(self, closure=None):
        os._exit(3)
'''


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{PACKAGE}.py").write_text(SOURCE)
    info = tmp_path / f"{PACKAGE}-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {PACKAGE}\nVersion: 2.0\nRequires-Dist: torch\n")
    (info / "top_level.txt").write_text(f"{PACKAGE}\n")
    monkeypatch.syspath_prepend(tmp_path)


def _run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["verify", "--all", *arguments], env={"COLUMNS": "120"})
    return result.exit_code, result.stdout, result.stderr


def test_the_matrix_has_one_row_per_class_and_one_column_per_check() -> None:
    code, printed, notes = _run(PACKAGE, "--format", "csv")
    rows = {row["class"].rpartition(".")[2]: row for row in csv.DictReader(io.StringIO(printed))}
    assert code == 1
    assert list(rows) == ["Correct", "DropsState", "Ends", "Refuses", "Wraps"]
    assert {row["version"] for row in rows.values()} == {"2.0"}
    outcomes = [rows["Correct"]["trains"], rows["Correct"]["state-dict"], rows["Wraps"]["trains"]]
    assert outcomes == ["pass"] * 3, [row["details"] for row in rows.values()]
    assert rows["DropsState"]["state-dict"] == "fail"
    assert "state-dict: " in rows["DropsState"]["details"]
    assert rows["Refuses"]["trains"] == ""
    assert "needs a GPU" in rows["Refuses"]["details"]
    assert "exit code 3" in rows["Ends"]["details"]
    assert f"{PACKAGE}.Correct: passed" in notes


def test_the_table_names_the_failed_checks() -> None:
    code, printed, _ = _run(f"{PACKAGE}.DropsState")
    assert code == 1
    assert "state-dict" in printed
    assert "0 of 1 class passed all checks" in printed
    assert f"{PACKAGE} 2.0" in printed


def test_at_80_columns_each_class_is_one_row_and_long_messages_are_below() -> None:
    long = "cannot be checked: ValueError: needs a GPU (/a/path/of/a/package/that/is/longer/than/the/column/of/failures.py, line 2)"
    faulty = tuple(Verdict(check, "fail" if at < 9 else "pass", "") for at, check in enumerate(CHECKS))
    checked = [
        Checked(
            Offered("schedulefree.AdamWScheduleFreeReference", "schedulefree", "1.4"),
            state=8.0,
            verdicts=faulty,
        ),
        Checked(Offered("muon.Muon", "muon", "0.1"), problem=long),
    ]
    console = Console(width=80, file=io.StringIO())
    console.print(packages_table(checked), crop=False)
    first, _, *rest = console.file.getvalue().splitlines()
    assert first.split() == ["optimizer", "passed", "state", "failed", "checks"]
    assert rest[0].split()[:3] == [
        "schedulefree.AdamWScheduleFreeReference",
        f"{len(CHECKS) - 9}/{len(CHECKS)}",
        "2x",
    ]
    assert any(line.strip().endswith("and 3 more") for line in rest)
    assert any(line.startswith("muon.Muon was not checked: ValueError: needs a GPU") for line in rest)


def test_a_class_that_passes_gives_exit_code_0() -> None:
    code, printed, _ = _run(f"{PACKAGE}.Correct", "--format", "markdown")
    assert code == 0
    assert printed.splitlines()[2].startswith(f"| {PACKAGE}.Correct | {PACKAGE} | 2.0 |")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("checked_optimzers",), f"did you mean '{PACKAGE}'?"),
        ((PACKAGE, "--format", "cvs"), "did you mean 'csv'?"),
        ((PACKAGE, "--set", "lr=1"), "cannot be combined with --all"),
    ],
)
def test_bad_input_is_one_error(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["verify", "--all", *arguments])
    assert message in str(result.exception)
