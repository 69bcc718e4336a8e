"""`check` finds everything that can be known before a run, each mistake at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from optbench.catalog.check import problems
from optbench.suite.load import load

HEAD = """\
workload:
  model: {name: mlp}
  data: {name: digits}
  batch_size: 64
  budget: 1 epoch
optimizers:
"""


def found(tmp_path: Path, entries: str = "  A: adam\n", *overrides: str, head: str = HEAD) -> list[str]:
    path = tmp_path / "s.yaml"
    path.write_text(head + entries)
    return [str(p).removeprefix(f"{tmp_path}/") for p in problems(load(path, overrides), tmp_path)]


def at(tmp_path: Path, *overrides: str) -> list[str]:
    """Messages without the place, which is the option itself."""
    return [
        line.removeprefix("--set ").split(": ", 1)[1] for line in found(tmp_path, "  A: adam\n", *overrides)
    ]


def test_a_good_suite_has_no_problems(tmp_path: Path) -> None:
    entries = """\
  SGD: {use: torch.optim.SGD, lr: 0.1, momentum: 0.9, nesterov: true}
  AdamW: {use: adamw, lr: 1e-3, betas: [0.9, 0.95], weight_decay: 0, foreach: null}
  Free: {use: schedulefree.AdamWScheduleFree, lr: 0.01}
  Muon: {use: [{parameters: matrices, use: muon, lr: 0.1}, {parameters: rest, use: adamw}]}
  LBFGS: {use: lbfgs, line_search_fn: strong_wolfe, batch_size: 512}
"""
    assert found(tmp_path, entries) == []


def test_all_problems_come_at_once_in_the_files_order(tmp_path: Path) -> None:
    head = """\
workload:
  model: {name: small_cnn, widht: 32}
  data: {name: digitz}
  batch_size: 64
  budget: 30 epochs
  loss: {name: cross_entropy, label_smoothing: lots}
  target: [{at_least: 75}, {metric: acuracy, at_least: 0.5}, {metric: loss, at_least: 0.5}]
  metrics: [accuracy, top6_accuracy]
  accumulate: 128
baseline: Adan
schedule: {name: cosin}
optimizers:
"""
    entries = """\
  SGD: {use: torch.optim.SGD, lr: fast, momentun: 0.9}
  Addam: {use: torch.optim.Addam, schedule: {name: cosine, finale: 0}}
  Mine: {use: my_opt.py:Mine}
  Nope: {use: nope.Nope}
  Adam: {use: adam, betas: [0.9, 1.5], lr: -1, amsgrad: yes, params: 3}
"""
    assert found(tmp_path, entries, head=head) == [
        "s.yaml:2:28: workload.model.widht: 'small_cnn' has no argument 'widht'; did you mean 'width'?",
        "s.yaml:3:10: workload.data.name: unknown data set 'digitz'; did you mean 'digits'?",
        "s.yaml:6:31: workload.loss.label_smoothing: expected a number; found 'lots'",
        "s.yaml:7:13: workload.target.0.at_least: expected accuracy between 0 and 1; found 75; "
        "accuracy is a fraction: did you mean 0.75?",
        "s.yaml:7:29: workload.target.1.metric: unknown metric 'acuracy'; did you mean 'accuracy'?",
        "s.yaml:7:77: workload.target.2.at_least: expected 'at_most': lower values of loss are better",
        "s.yaml:8:23: workload.metrics.1: unknown metric 'top6_accuracy'; did you mean 'top5_accuracy'?",
        "s.yaml:9:3: workload.accumulate: expected at most the batch size, 64; found 128",
        "s.yaml:10:1: baseline: no entry 'Adan'; did you mean 'Adam'?",
        "s.yaml:11:12: schedule.name: unknown schedule 'cosin'; did you mean 'cosine'?",
        "s.yaml:13:31: optimizers.SGD.lr: expected a number; found 'fast'",
        "s.yaml:13:41: optimizers.SGD.momentun: 'torch.optim.SGD' has no argument 'momentun'; "
        "did you mean 'momentum'?",
        "s.yaml:14:11: optimizers.Addam.use: 'torch.optim.Addam': torch.optim has no 'Addam'; "
        "did you mean 'Adam'?",
        "s.yaml:14:60: optimizers.Addam.schedule.finale: 'cosine' has no argument 'finale'; did you mean 'final'?",
        f"s.yaml:15:10: optimizers.Mine.use: no file 'my_opt.py' in {tmp_path}",
        "s.yaml:16:10: optimizers.Nope.use: 'nope.Nope' cannot be found: the module 'nope' is not installed "
        "in this environment",
        "s.yaml:17:21: optimizers.Adam.betas: expected numbers from 0 to 1; found 1.5",
        "s.yaml:17:40: optimizers.Adam.lr: expected at least 0; found -1",
        "s.yaml:17:48: optimizers.Adam.amsgrad: expected true or false; found 'yes'",
        "s.yaml:17:62: optimizers.Adam.params: 'params' is passed by optbench: remove it",
    ]


def test_a_search_space_in_an_argument_of_a_model_is_refused(tmp_path: Path) -> None:
    (message,) = at(tmp_path, "workload.model.hidden={choice: [[16], [32]]}")
    assert "workload.model.hidden: expected a value; found a search space: only arguments" in message


def test_a_typo_never_passes_because_a_class_swallows_keywords(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine:\n    def __init__(self, params, lr=1, **kwargs): ...\n")
    assert found(tmp_path, "  A: {use: mine.py:Mine, lrr: 1}\n") == [
        "s.yaml:7:26: optimizers.A.lrr: 'mine.py:Mine' has no argument 'lrr'; did you mean 'lr'?"
    ]


def test_missing_arguments_of_a_users_optimizer_are_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine:\n    def __init__(self, parameters, lr, model): ...\n")
    assert found(tmp_path, "  A: {use: mine.py:Mine}\n") == [
        "s.yaml:7:3: optimizers.A: 'mine.py:Mine' requires the argument 'lr'"
    ]


def test_a_broken_users_file_is_reported_with_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\ndef f(:\n")
    (message,) = found(tmp_path, "  A: {use: mine.py:Mine}\n")
    assert message.startswith("s.yaml:7:7: optimizers.A.use: fails when imported: SyntaxError")
    assert message.endswith(f"({tmp_path}/mine.py, line 2)")


def test_batches_larger_than_the_training_split_are_found(tmp_path: Path) -> None:
    small = "workload.data={name: synthetic, shape: [5], train: 50}"
    lines = found(tmp_path, "  A: {use: adam, batch_size: 51}\n", small)
    assert lines == [
        "s.yaml:4:3: workload.batch_size: a batch of 64 is larger than the training split (50 samples)",
        "s.yaml:7:18: optimizers.A.batch_size: a batch of 51 is larger than the training split (50 samples)",
    ]


def test_what_the_data_find_wrong_is_placed_at_the_argument(tmp_path: Path) -> None:
    data = "workload.data={name: synthetic, shape: [5], classes: 1}"
    assert at(tmp_path, data)[0].endswith("workload.data.classes: expected at least 2; found 1")


def test_data_of_a_users_file_that_is_missing_is_reported_not_raised(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def describe(root, *, path='x'): return open(root / path)\ndef load(root, *, path='x'): ...\n"
    )
    (message,) = at(tmp_path, "workload.data={name: mine.py, path: gone}")
    assert "workload.data.name: describing 'mine.py' failed: FileNotFoundError" in message


def test_a_missing_folder_of_pictures_is_placed_at_its_path(tmp_path: Path) -> None:
    (message,) = at(tmp_path, "workload.data={name: image_folder, path: gone}")
    assert f"workload.data.path: {tmp_path}/gone: " in message


def test_image_settings_are_refused_for_vectors(tmp_path: Path) -> None:
    vectors = "workload.data={name: synthetic, shape: [5]}"
    options = ("workload.augment={flip: true, crop: 2}", "workload.memory_format=channels_last")
    lines = at(tmp_path, vectors, *options, "workload.model=torchvision.models.resnet18")
    assert sum("found data of shape (5,)" in line for line in lines) == 4


def test_models_are_built_where_their_source_is_not_enough(tmp_path: Path) -> None:
    vectors = "workload.data={name: synthetic, shape: [5]}"
    (message,) = at(tmp_path, vectors, "workload.model=small_cnn")
    assert "small_cnn needs images" in message
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def build(classes, **options):\n"
        "    return eval('torch.nn.Linear')(64, classes, **options)\n"
    )
    assert at(tmp_path, "workload.model={name: net.py:build, bias: false}") == []
    (message,) = at(tmp_path, "workload.model={name: net.py:build, bais: false}")
    assert "unexpected keyword argument 'bais'" in message


def test_all_models_are_built_if_requested(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(HEAD + "  A: adam\n")
    loaded = load(path, ["workload.model={name: small_cnn, width: -1}"])
    assert problems(loaded, tmp_path) == []
    (problem,) = problems(loaded, tmp_path, build_models=True)
    assert "expected width >= 1" in problem.message


def test_a_budget_in_seconds_needs_a_schedule_without_length(tmp_path: Path) -> None:
    seconds, cosine = "workload.budget=60 seconds", "schedule=cosine"
    (message,) = found(tmp_path, "  A: adam\n  B: {use: sgd, horizon: 3 epochs}\n", seconds, cosine)
    assert "the schedule 'cosine' requires a length in steps" in message
    (own,) = found(tmp_path, "  A: {use: adam, schedule: linear}\n", seconds)
    assert own.startswith("s.yaml:7:18: optimizers.A.schedule: ")
    assert found(tmp_path, "  A: {use: adam, schedule: constant}\n", seconds, cosine) == []
    (warmup,) = found(tmp_path, "  A: {use: adam, schedule: {name: constant, warmup: 5%}}\n", seconds)
    assert "requires a length in steps" in warmup
    assert found(tmp_path, "  A: {use: adam, schedule: {name: constant, warmup: 3 steps}}\n", seconds) == []


@pytest.mark.parametrize(
    ("warmup", "more", "steps"),
    [
        ("2 epochs", (), "32 steps is longer than the 16 steps of 1 epoch"),
        ("17 steps", (), "17 steps is longer than the 16 steps of 1 epoch"),
        ("2 epochs", ("workload.batch_size=full",), "2 steps is longer than the 1 step of 1 epoch"),
        ("16 steps", (), ""),
        ("100%", (), ""),
        ("2 epochs", ("workload.budget=60 seconds",), ""),
    ],
)
def test_a_warmup_that_never_ends_is_found(tmp_path, warmup, more, steps):
    own = f"  A: {{use: adam, schedule: {{name: constant, warmup: {warmup}}}}}\n"
    shared = found(tmp_path, "  A: adam\n", f"schedule={{name: constant, warmup: {warmup}}}", *more)
    for told in (found(tmp_path, own, *more), shared):
        assert [steps in line and "schedule.warmup" in line for line in told] == [True] * bool(steps)


def test_rules_that_get_no_parameters_are_found(tmp_path: Path) -> None:
    entries = """\
  A:
    use:
      - {parameters: matrixes, use: muon}
      - {parameters: vectors, use: sgd}
      - {parameters: vectors, use: adam}
      - {parameters: rest, use: adam}
      - {parameters: 'head.*', use: adam}
"""
    lines = found(tmp_path, entries)
    assert [line.split(": ", 1)[0] for line in lines] == ["s.yaml:9:10", "s.yaml:11:10", "s.yaml:13:10"]
    assert "did you mean 'matrices'" in lines[0]
    assert "an earlier rule matches 'vectors'" in lines[1]
    assert "matches 'rest'" in lines[2]


def test_closures_go_with_neither_fp16_nor_several_rules(tmp_path: Path) -> None:
    (fp16,) = found(tmp_path, "  A: lbfgs\n", "precision=fp16")
    assert "is not compatible with the gradient scaler of fp16" in fp16
    assert found(tmp_path, "  A: {use: adam}\n", "precision=fp16") == []
    assert len(found(tmp_path, "  A: {use: adam, closure: true}\n", "precision=fp16")) == 1
    (rules,) = found(
        tmp_path, "  A: {use: [{parameters: matrices, use: lbfgs}, {parameters: rest, use: sgd}]}\n"
    )
    assert "can't be one of several rules" in rules


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("lr: [1]", "expected a number; found a list"),
        ("lr: true", "expected a number; found true"),
        ("betas: 0.9", "expected a list"),
        ("betas: [a, b]", "expected numbers; found 'a'"),
        ("betas: [0.9]", "expected 2 numbers; found 1"),
        ("weight_decay: none", "expected a number; found 'none'"),
        ("foreach: 3", "expected true or false or null; found 3"),
        ("eps: -1", "expected at least 0"),
        ("betas: [1, true]", "expected numbers; found true"),
    ],
)
def test_arguments_of_the_wrong_type_are_found(tmp_path: Path, argument: str, message: str) -> None:
    (line,) = found(tmp_path, f"  A: {{use: adam, {argument}}}\n")
    assert message in line
