"""`--set` changes any value, typed and checked like the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from optbench.catalog.check import examine
from optbench.errors import OptbenchError
from optbench.suite.load import load
from optbench.suite.types import Suite

ONE = """\
workload:
  model: small_cnn
  data: {name: digits}
  batch_size: 64
  budget: 30 epochs
  target: {at_least: 0.97}
clip: {norm: 1}
optimizers:
  SGD + Momentum: {use: torch.optim.SGD, lr: 0.05}
  v1.5 Adam: adam
  Muon: {use: [{parameters: matrices, use: muon, lr: 0.1}, {parameters: rest, use: adamw}]}
"""
TWO = """\
workloads:
  small: {model: mlp, data: digits, batch_size: 64, budget: {steps: 100}}
  large: {model: mlp, data: digits, batch_size: 256, budget: 3 epochs}
optimizers: {A: adam}
"""


def changed(tmp_path: Path, *overrides: str, text: str = ONE, seeds: int | None = None) -> Suite:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return load(path, overrides, seeds).suite


def refusal(tmp_path: Path, *overrides: str, seeds: int | None = None) -> list[str]:
    with pytest.raises(OptbenchError) as caught:
        changed(tmp_path, *overrides, seeds=seeds)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("budget", ["30 epochs", "{steps: 100}", "{epochs: 3}"])
def test_a_duration_is_replaced_whatever_its_unit_was(tmp_path: Path, budget: str) -> None:
    suite = changed(tmp_path, "workload.budget.epochs=1", text=ONE.replace("30 epochs", budget))
    assert str(suite.workloads["digits"].budget) == "1 epoch"


def test_short_forms_are_opened_up(tmp_path: Path) -> None:
    suite = changed(
        tmp_path, "workload.model.width=8", "optimizers.v1.5 Adam.lr=1e-4", "schedule.name=cosine"
    )
    assert suite.workloads["digits"].model.arguments == {"width": 8}
    assert suite.optimizers["v1.5 Adam"].rules[0].arguments == {"lr": 1e-4}
    assert suite.schedule.name == "cosine"


def test_labels_with_dots_and_spaces_and_rules_are_reached(tmp_path: Path) -> None:
    suite = changed(tmp_path, "optimizers.SGD + Momentum.lr=0.1", "optimizers.Muon.use.0.lr=0.5")
    assert suite.optimizers["SGD + Momentum"].rules[0].arguments == {"lr": 0.1}
    assert suite.optimizers["Muon"].rules[0].arguments == {"lr": 0.5}


def test_a_name_keeps_the_other_arguments_and_a_whole_value_replaces_them(tmp_path: Path) -> None:
    kept = changed(tmp_path, "workload.model.width=8", "workload.model.name=mlp")
    assert kept.workloads["digits"].model.arguments == {"width": 8}
    whole = changed(tmp_path, "workload.data={name: synthetic, shape: [3, 32, 32]}")
    assert whole.workloads["synthetic"].data.arguments == {"shape": [3, 32, 32]}


def test_one_alternative_replaces_the_other(tmp_path: Path) -> None:
    suite = changed(tmp_path, "clip.value=0.5", "workload.target.at_most=0.2")
    assert suite.clip is not None
    assert (suite.clip.norm, suite.clip.value) == (None, 0.5)
    assert suite.workloads["digits"].target[0].at_most == 0.2


def test_workload_sets_all_workloads_and_a_name_sets_one(tmp_path: Path) -> None:
    suite = changed(tmp_path, "workload.budget.epochs=1", "workloads.small.batch_size=8", text=TWO)
    assert [str(workload.budget) for workload in suite.workloads.values()] == ["1 epoch", "1 epoch"]
    assert [workload.batch_size for workload in suite.workloads.values()] == [8, 256]


def test_a_value_set_in_all_workloads_is_not_shared_between_them(tmp_path: Path) -> None:
    options = ("workload.data={name: synthetic, train: 64}", "workloads.small.data.train=32")
    suite = changed(tmp_path, *options, text=TWO)
    assert [w.data.arguments["train"] for w in suite.workloads.values()] == [32, 64]


def test_the_named_form_reaches_the_one_workload(tmp_path: Path) -> None:
    assert changed(tmp_path, "workloads.digits.batch_size=8").workloads["digits"].batch_size == 8


def test_a_new_entry_can_be_added_whole(tmp_path: Path) -> None:
    suite = changed(tmp_path, "optimizers.Lion={use: pytorch_optimizer.Lion, lr: 1e-4}")
    assert suite.optimizers["Lion"].rules[0].use == "pytorch_optimizer.Lion"


def test_seeds_option_wins(tmp_path: Path) -> None:
    assert changed(tmp_path, text=ONE + "seeds: [7]\n", seeds=2).seeds == (0, 1)
    assert refusal(tmp_path, seeds=0) == ["--seeds 0: seeds: expected 1 to 100,000 seeds; found 0"]


def test_all_bad_overrides_are_reported_with_the_option(tmp_path: Path) -> None:
    found = refusal(
        tmp_path,
        "workload.bach_size=3",
        "workload.batch_size=many",
        "optimizers.Adm.lr=1",
        "workload.batch_size.x=1",
        "optimizers.Muon.use.7.lr=1",
        "workload",
        "=3",
        "a=[1",
    )
    assert len(found) == 8
    assert (
        "--set workload.bach_size=3: workload.bach_size: unknown key 'bach_size'; did you mean 'batch_size'?"
        in found
    )
    assert (
        "--set workload.batch_size=many: workload.batch_size: expected a whole number of at least 1, or 'full'; found 'many'"
        in found
    )
    assert any(
        message.startswith("--set optimizers.Adm.lr=1: ") and "no entry 'Adm'" in message for message in found
    )
    assert "--set workload: expected PATH=VALUE, as in workload.budget.epochs=1" in found


@pytest.mark.parametrize("value", ["*.md", "*", "&a", "%d", "@x", "`x`", "*it's"])
def test_a_value_that_starts_with_a_character_of_yaml_syntax_is_text(value: str, tmp_path: Path) -> None:
    suite = changed(tmp_path, f"title={value}")
    assert suite.title == value
    (found,) = refusal(tmp_path, f"workload.batch_size={value}")
    assert "expected a whole number of at least 1" in found


def test_a_value_that_cannot_be_parsed_is_the_only_problem(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(ONE)
    overrides = ["workload.data={name: text, path: missing}", "workload.data.pattern=[*.md]"]
    (found,) = examine(tmp_path / "suite.yaml", overrides, None, tmp_path)[1]
    assert "text that starts with '*' must be quoted" in str(found)


@pytest.mark.parametrize(
    ("override", "where", "message"),
    [
        ("optimizers.Muon.lr={log: [0, 1]}", "optimizers.Muon.lr", "expected a minimum above 0"),
        ("optimizers.Muon.lr={log: [1e-3, .inf]}", "optimizers.Muon.lr.log.1", "expected a finite number"),
        ("optimizers.Muon.lr=.nan", "optimizers.Muon.lr", "expected a finite number"),
        ("tuning={trials: 2, budget: 3 s}", "tuning.budget", "expected epochs or steps; found seconds"),
        (
            "tuning={trials: 2, sampler: tpe, prune: {rung: 1/3, keep: 1/2}}",
            "tuning.sampler",
            "expected 'prune' with a sampler that ignores results",
        ),
    ],
)
def test_problems_of_a_given_value_name_the_option_and_the_path(
    tmp_path: Path, override: str, where: str, message: str
) -> None:
    (found,) = refusal(tmp_path, "optimizers.Muon={use: adam}", override)
    assert found.startswith(f"--set {override}: {where}: {message}")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("workload.batch_size", "{choice: [32, 64]}"),
        ("workload.budget.epochs", "{integer: [3, 4]}"),
        ("workload.model", "{choice: [mlp, small_cnn]}"),
        ("schedule", "{choice: [constant, cosine]}"),
        ("clip.norm", "{log: [0.1, 10]}"),
        ("optimizers.v1.5 Adam.use", "{choice: [adam, sgd]}"),
    ],
)
def test_a_search_space_outside_of_the_arguments_of_optimizers_is_refused(
    tmp_path: Path, path: str, value: str
) -> None:
    (found,) = refusal(tmp_path, f"{path}={value}")
    message = "expected a value; found a search space: only arguments of optimizers can be tuned"
    assert found.startswith(f"--set {path}={value}: {path}: {message}")
    assert "axes: {" in found


def test_null_restores_the_default_of_seeds_and_targets(tmp_path: Path) -> None:
    suite = changed(tmp_path, "seeds=null", "workload.target=null", text=ONE + "seeds: [7]\n")
    assert suite.seeds == (0, 1, 2)
    assert suite.workloads["digits"].target == ()
    of_protocol = changed(tmp_path, "seeds=null", "tuning.protocol=algoperf-external", text=ONE)
    assert len(of_protocol.seeds) == 3


def test_what_the_command_line_replaced_has_no_line(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(ONE)
    loaded = load(path, ["workload.data={name: synthetic, shape: [1]}"])
    assert loaded.where("workload.data.shape") == (None, None)
    assert loaded.problem("workload.data.shape", "x").file.startswith("--set workload.data=")
    assert loaded.where("workload.model") == (2, 3)
