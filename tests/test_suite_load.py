"""A suite file becomes a typed suite, or one error with all that is wrong, each with its place."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from optbench.catalog.check import problems
from optbench.errors import OptbenchError
from optbench.suite.dump import dump_text
from optbench.suite.load import Loaded, load
from optbench.suite.plan import plan

SUITE = """\
title: Which?
workload:
  model: {name: small_cnn, width: 32}
  data: digits
  batch_size: 64
  budget: 30 epochs
  target: {metric: accuracy, at_least: 0.97}
schedule: {name: cosine, warmup: 5%}
no_weight_decay: norms
optimizers:
  SGD + Momentum: {use: torch.optim.SGD, lr: 0.05, schedule: constant, clip: {norm: 1}, batch_size: 32}
  Adam: adam
  Muon v1.5:
    use:
      - {parameters: matrices, use: torch.optim.Muon, lr: 0.02}
      - {parameters: rest, use: torch.optim.AdamW, lr: 1e-3}
"""


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE)
    return path


def loaded_from(tmp_path: Path, text: str) -> Loaded:
    path = tmp_path / "s.yaml"
    path.write_text(textwrap.dedent(text))
    return load(path)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(OptbenchError) as caught:
        loaded_from(tmp_path, text)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


def in_workload(line: str) -> str:
    lines = {"model": "mlp", "data": "digits", "batch_size": "8", "budget": "1 epoch"}
    key, _, value = line.partition(": ")
    lines[key] = value
    body = "\n".join(f"  {key}: {value}" for key, value in lines.items())
    return f"workload:\n{body}\noptimizers:\n  A: adam\n"


def test_a_suite_is_typed(suite_file: Path) -> None:
    loaded = load(suite_file)
    suite = loaded.suite
    assert (loaded.name, loaded.folder, suite.title) == ("mine", suite_file.parent, "Which?")
    assert list(suite.optimizers) == ["SGD + Momentum", "Adam", "Muon v1.5"]
    workload = suite.workloads["digits"]
    assert (workload.model.name, workload.model.arguments) == ("small_cnn", {"width": 32})
    assert str(workload.budget) == "30 epochs"
    assert str(workload.target[0]) == "validation accuracy >= 0.97"
    assert suite.schedule.warmup is not None
    assert suite.schedule.warmup.steps(1000, 10) == 50
    assert suite.no_weight_decay == ("norms",)
    assert suite.seeds == (0, 1, 2)


def test_keys_that_are_no_settings_are_the_optimizers_arguments(suite_file: Path) -> None:
    entry = load(suite_file).suite.optimizers["SGD + Momentum"]
    assert entry.rules[0].use == "torch.optim.SGD"
    assert entry.rules[0].arguments == {"lr": 0.05}
    assert entry.batch_size == 32
    assert entry.clip is not None
    assert entry.clip.norm == 1


def test_arguments_named_like_settings_have_a_place_of_their_own(tmp_path: Path) -> None:
    text = in_workload("batch_size: 8").replace("A: adam", "A: {use: x.Y, lr: 1, arguments: {clip: 2}}")
    assert loaded_from(tmp_path, text).suite.optimizers["A"].rules[0].arguments == {"lr": 1, "clip": 2}
    twice = text.replace("{clip: 2}", "{lr: 2}")
    assert mistakes(tmp_path, twice) == [
        "s.yaml:7:6: optimizers.A: 'lr' is given twice: here and in 'arguments'"
    ]


def test_a_list_of_rules_takes_no_arguments_beside_it(tmp_path: Path) -> None:
    text = in_workload("batch_size: 8").replace("A: adam", "A: {use: [{use: x.Y}], lr: 1}")
    assert mistakes(tmp_path, text) == [
        "s.yaml:7:6: optimizers.A: 'use' is a list of rules: move 'lr' into one of them"
    ]


def test_where_finds_written_paths_also_with_dots_in_labels(suite_file: Path) -> None:
    loaded = load(suite_file)
    assert loaded.where("workload.model.width") == (3, 28)
    assert loaded.where("workloads.digits.model.width") == (3, 28)
    assert loaded.where("optimizers.SGD + Momentum.lr") == (11, 42)
    assert loaded.where("optimizers.Muon v1.5.use.1.lr") == (16, 52)
    assert loaded.where("optimizers.Adam.lr") == (12, 3)
    assert str(loaded.problem("optimizers.Adam", "is odd")) == f"{suite_file}:12:3: optimizers.Adam: is odd"


def test_typed_paths_are_reported_as_written(suite_file: Path) -> None:
    loaded = load(suite_file)
    typed = ("optimizers", "Muon v1.5", "rules", 0, "arguments", "lr")
    assert loaded.problem_at(typed, "x").where == "optimizers.Muon v1.5.use.0.lr"
    assert loaded.problem_at(("optimizers", "Adam", "rules", 0, "use"), "x").where == "optimizers.Adam"
    assert loaded.problem_at(("workloads", "digits", "target", 0, "at_least"), "x").line == 7


def test_all_mistakes_are_reported_at_once_in_the_files_order(tmp_path: Path) -> None:
    text = """\
        titel: x
        workload:
          model: {width: 3}
          data: [digits]
          batch_size: true
          budget: {epochs: many}
          target: {metric: accuracy, at_lest: 0.9}
          memory_format: channels-last
        precision: fp17
        clip: {norm: 0}
        seeds: [1, 2, 1]
        optimizers:
          A: {lr: 1}
          B: {use: adam, batch_size: 1.5}
        """
    assert mistakes(tmp_path, text) == [
        "s.yaml:1:1: titel: unknown key 'titel'; did you mean 'title'?",
        "s.yaml:3:3: workload.model.name: missing: catalog name, import path or file",
        "s.yaml:4:9: workload.data: expected a name, or a mapping with one, as in {name: mlp, width: 64}; "
        "found a list",
        "s.yaml:5:15: workload.batch_size: expected a whole number of at least 1; found true",
        "s.yaml:6:20: workload.budget.epochs: expected a number above 0; found 'many'",
        "s.yaml:7:30: workload.target.at_lest: unknown key 'at_lest'; did you mean 'at_least'?",
        "s.yaml:8:18: workload.memory_format: expected one of auto, contiguous, channels_last; "
        "found 'channels-last'; did you mean 'channels_last'?",
        "s.yaml:9:12: precision: expected one of auto, fp32, bf16, fp16; found 'fp17'; did you mean 'fp16'?",
        "s.yaml:10:14: clip.norm: expected a number above 0; found 0",
        "s.yaml:11:8: seeds: expected distinct seeds; found 1 twice",
        "s.yaml:13:3: optimizers.A.use: missing: optimizer class or factory function: catalog name, import path "
        "(`torch.optim.AdamW`) or file (`my_opt.py:MyOptimizer`)",
        "s.yaml:14:30: optimizers.B.batch_size: expected a whole number of at least 1; found 1.5",
    ]


@pytest.mark.parametrize(
    ("line", "where", "message"),
    [
        ("budget: 30", "workload.budget", "expected a number and a unit .* found 30"),
        (
            "budget: {epochs: 1, steps: 2}",
            "workload.budget",
            "expected exactly one of .* found epochs, steps",
        ),
        ("budget: 3 parsecs", "workload.budget", "found '3 parsecs'"),
        ("budget: 1.5 steps", "workload.budget", "whole number of steps; found 1.5"),
        ("budget: -1 epochs", "workload.budget", "above 0; found -1"),
        ("budget: 1e999 epochs", "workload.budget", "number above 0"),
        ("budget: ", "workload.budget", "found nothing"),
        ("batch_size: '64'", "workload.batch_size", "found '64'"),
        ("compile: yes", "workload.compile", "expected true or false; found 'yes'"),
        ("target: {at_least: 0.9, at_most: 1}", "workload.target", "exactly one of 'at_least' and 'at_most'"),
        ("target: [{at_least: true}]", "workload.target.0.at_least", "expected a number; found true"),
        ("evaluate: {every: 3 seconds}", "workload.evaluate", "expected epochs or steps"),
        ("metrics: []", "workload.metrics", "a list of at least one"),
        ("augment: {random_resized_crop: [0.5, 0.1]}", "workload.augment.random_resized_crop", "two shares"),
        ("model: {name: 3}", "workload.model.name", "expected text; found 3"),
        ("loss_bound: 0", "workload.loss_bound", "above 0"),
    ],
)
def test_values_are_refused_in_plain_words(tmp_path: Path, line: str, where: str, message: str) -> None:
    import re

    (found,) = mistakes(tmp_path, in_workload(line))
    assert found.split(": ")[1] == where
    assert re.search(message, found)


@pytest.mark.parametrize("label", ['""', '"  "', '"a\\tb"', "x" * 101, '"a\\u2028b"'])
def test_labels_are_one_short_line(tmp_path: Path, label: str) -> None:
    (found,) = mistakes(tmp_path, in_workload("batch_size: 8").replace("A: adam", f"{label}: adam"))
    assert "s.yaml:7:3" in found
    assert "expected a name" in found


def test_numbers_as_labels_are_text(tmp_path: Path) -> None:
    text = in_workload("batch_size: 8").replace("A: adam", "1e-3: adam\n  5: sgd\n  true: sgd")
    assert list(loaded_from(tmp_path, text).suite.optimizers) == ["1e-3", "5", "true"]


@pytest.mark.parametrize(("text", "seeds"), [("3", (0, 1, 2)), ("[5, 2]", (5, 2)), ("1", (0,))])
def test_seeds_are_counted_or_listed(tmp_path: Path, text: str, seeds: tuple[int, ...]) -> None:
    assert loaded_from(tmp_path, in_workload("batch_size: 8") + f"seeds: {text}\n").suite.seeds == seeds


@pytest.mark.parametrize(
    "text", ["0", "-1", "1.5", "true", "[]", "[-1]", "[1.0]", "many", "100001", "[4294967296]"]
)
def test_seeds_that_cannot_be_are_refused(tmp_path: Path, text: str) -> None:
    assert len(mistakes(tmp_path, in_workload("batch_size: 8") + f"seeds: {text}\n")) == 1


def test_a_target_without_a_metric_means_the_first_metric(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, in_workload("metrics: [loss, accuracy]\n  target: {at_most: 0.1}"))
    assert [target.metric for target in loaded.suite.workloads["digits"].target] == ["loss"]


def test_targets_metrics_are_measured_too(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, in_workload("target: [{metric: loss, at_most: 0.1}, {at_least: 0.5}]"))
    assert loaded.suite.workloads["digits"].metrics == ("accuracy", "loss")


def test_workload_and_workloads_exclude_each_other(tmp_path: Path) -> None:
    text = (
        in_workload("batch_size: 8")
        + "workloads:\n  a: {model: mlp, data: digits, batch_size: 8, budget: 1 epoch}\n"
    )
    assert mistakes(tmp_path, text) == [
        "s.yaml:1:1: workload: expected either 'workload' or 'workloads' (line 8); found both"
    ]


@pytest.mark.parametrize(("text", "found"), [("", "an empty file"), ("- 1", "a list"), ("hello", "a value")])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (message,) = mistakes(tmp_path, text)
    assert message.endswith(f"found {found}")


def test_entries_have_the_settings_of_their_family_and_their_label_as_class(tmp_path: Path) -> None:
    loaded = loaded_from(
        tmp_path,
        """\
        workload: {model: mlp, data: digits, batch_size: 8, budget: 1 epoch}
        families:
          adaptive: {lr: 0.01, schedule: cosine}
        optimizers:
          torch.optim.Adam: {family: adaptive}
          torch.optim.AdamW: {family: adaptive, lr: 0.1, schedule: constant}
          torch.optim.SGD:
          Two: {family: adaptive, use: [{parameters: matrices, use: muon, lr: 1}, {parameters: rest, use: adam}]}
        """,
    )
    entries = loaded.suite.optimizers
    assert [(e.rules[0].use, e.rules[0].arguments) for e in entries.values()] == [
        ("torch.optim.Adam", {"lr": 0.01}),
        ("torch.optim.AdamW", {"lr": 0.1}),
        ("torch.optim.SGD", {}),
        ("muon", {"lr": 1}),
    ]
    names = [entry.schedule.name if entry.schedule else None for entry in entries.values()]
    assert names == ["cosine", "constant", None, "cosine"]
    written = tmp_path / "again.yaml"
    written.write_text(dump_text(loaded.suite))
    assert load(written).suite == loaded.suite


def test_the_name_of_a_family_is_not_part_of_a_trial(tmp_path: Path) -> None:
    text = "workload: {model: mlp, data: digits, batch_size: 8, budget: 1 epoch}\noptimizers: {A: {use: adam, lr: 1}}\n"
    first = plan(loaded_from(tmp_path, text))
    text = text.replace("lr: 1", "family: adaptive").replace(
        "optim", "families: {adaptive: {lr: 1}}\noptim", 1
    )
    assert [t.id for t in plan(loaded_from(tmp_path, text))] == [t.id for t in first]


def test_an_unknown_family_is_an_error(tmp_path: Path) -> None:
    loaded = loaded_from(
        tmp_path,
        """\
        workload: {model: mlp, data: digits, batch_size: 8, budget: 1 epoch}
        families: {adaptive: {lr: 0.01}}
        optimizers:
          torch.optim.Adam: {family: adaptiv}
        """,
    )
    [problem] = problems(loaded, tmp_path)
    assert str(problem).endswith(
        "s.yaml:4:22: optimizers.torch.optim.Adam.family: no family 'adaptiv'; did you mean 'adaptive'?"
    )


def test_a_value_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "workload: {model: mlp, data: digits, batch_size: .inf, budget: 1 epochs}\n"
        "optimizers: {A: {use: torch.optim.SGD, lr: {log: [1e-4, .inf]}, momentum: x}}\n"
    )
    with pytest.raises(OptbenchError) as raised:
        load(path)
    assert [problem.where for problem in raised.value.problems] == [
        "workload.batch_size",
        "optimizers.A.lr.log.1",
    ]
