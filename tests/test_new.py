"""`optbench new`: a suite that runs, from answers or flags; nothing is left where it stops."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path
from typing import Any

import pytest

from optbench.catalog import lookup
from optbench.catalog.check import examine
from optbench.catalog.data_root import data_root
from optbench.catalog.sources import constants
from optbench.catalog.starter import budget, scalar
from optbench.catalog.task_defaults import complete, defaults, model_tasks, models_of, task_starters
from optbench.cli import answer_parsing
from optbench.cli.commands import new
from optbench.cli.entry import main
from optbench.errors import OptbenchError
from optbench.suite.load import load
from program import optbench


def options(
    file: Path | None,
    model: str | None,
    data: str | None,
    optimizers: tuple[str, ...],
    minutes: float | None,
    seeds: int | None,
    target: float | None,
    task: str | None = None,
) -> new.Options:
    """Return the options of the command."""
    return new.Options(
        file=file,
        task=task,
        model=model,
        data=data,
        optimizer=list(optimizers),
        minutes=minutes,
        seeds=seeds,
        target=target,
    )


FLAGS = ["--model", "mlp", "--data", "digits", "--optimizer", "sgd", "--minutes", "1"]
MODELS, DATA = sorted(lookup.items("models")), sorted(lookup.items("data"))
CLASSIFIERS = ("logistic_regression", "mlp", "resnet18_cifar", "resnet20", "small_cnn", "vit_tiny")
SHIPPED = {(model, data) for model in CLASSIFIERS for data in ("digits", "synthetic", "cifar10")}
#: each model with data of its task, and each data set with a model of its task
USUAL = SHIPPED | {
    *((model, task_starters()[model_tasks(model, Path())[0]]["data"]) for model in MODELS),
    *(
        (task_starters()[constants(lookup.items("data")[data]).get("TASK", "classification")]["model"], data)
        for data in DATA
    ),
}
PAIRS = [
    pytest.param(model, data, marks=[] if (model, data) in USUAL else pytest.mark.slow)
    for model in MODELS
    for data in DATA
]


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pace is not what is tested here."""
    monkeypatch.setattr(new, "_pace", lambda *_: (0.01, "timed on this machine"))


@pytest.mark.parametrize(("model", "data"), PAIRS)
def test_every_shipped_pair_that_fits_passes_the_check(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Path] = []

    def counted(path: Path, *rest: Any) -> Any:
        loaded, problems = examine(path, *rest)
        assert problems == []
        checked.append(path)
        return loaded, problems

    monkeypatch.setattr(new, "examine", counted)
    file = tmp_path / "s.yaml"
    given = options(file, model, data, ("sgd", "muon"), 10, 3, None)
    try:
        new.make(given, data_root(None), asks=False)
    except OptbenchError as refused:  # the data aren't here, need a path, or the model can't take them
        places = {problem.where for problem in refused.problems}
    else:
        assert checked == [file]
        places = set()
    if places:
        assert places == {"--data"}
        assert (model, data) not in SHIPPED
        assert written(tmp_path) == []


def test_every_shipped_optimizer_passes_the_check(tmp_path: Path) -> None:
    optimizers = tuple(sorted(lookup.items("optimizers")))
    file = tmp_path / "s.yaml"
    new.make(options(file, "mlp", "digits", optimizers, 10, 3, None), tmp_path, asks=False)
    assert examine(file, (), None, tmp_path)[1] == []
    assert len(load(file).suite.optimizers) == len(optimizers)


def test_flags_make_a_suite_that_is_planned_and_states_what_its_budget_rests_on(tmp_path: Path) -> None:
    done = optbench("new", *FLAGS, "--seeds", "3", "--target", "0.9", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "digits.yaml").read_text()
    suite = load(tmp_path / "digits.yaml").suite
    assert suite.workloads["digits"].target[0].value == 0.9
    assert len(suite.seeds) == 3
    assert "timed on this machine" in text
    assert "optbench run digits.yaml" in done.stdout


def test_missing_flags_without_a_terminal_are_named(tmp_path: Path) -> None:
    done = optbench("new", "--model", "mlp", cwd=tmp_path)
    assert done.returncode == 2
    assert "missing --data, --optimizer:" in done.stderr
    assert written(tmp_path) == []


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("mine")
    done = optbench("new", "digits.yaml", *FLAGS, cwd=tmp_path)
    assert done.returncode == 2
    assert "not overwritten" in done.stderr
    assert (tmp_path / "digits.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("small_cn", "digits", "sgd"), "--model: unknown model 'small_cn'; did you mean 'small_cnn'?"),
        (("mlp", "digit", "sgd"), "--data: unknown data set 'digit'; did you mean 'digits'?"),
        (("mlp", "digits", "adamv"), "--optimizer: unknown optimizer 'adamv'; did you mean 'adam"),
        (("mlp(hiden=3)", "digits", "sgd"), "'mlp' has no argument 'hiden'; did you mean 'hidden'?"),
        (("small_cnn", "synthetic(shape=[8])", "sgd"), "--data: building 'small_cnn' failed"),
        (("mlp", "digits", "sgd(learning_rate=1)"), "did you mean 'lr'?"),
    ],
)
def test_a_wrong_name_is_reported_with_its_flag_and_the_nearest_one(
    flags: tuple[str, str, str], words: str, tmp_path: Path
) -> None:
    given = options(tmp_path / "s.yaml", flags[0], flags[1], (flags[2],), None, None, None)
    with pytest.raises(OptbenchError) as caught:
        new.make(given, tmp_path, asks=False)
    assert words in str(caught.value)
    assert written(tmp_path) == []


def test_a_target_in_percent_gets_the_fraction_as_a_hint() -> None:
    for text in ("97%", "97"):
        with pytest.raises(OptbenchError, match=r"did you mean 0\.97"):
            answer_parsing.target(text)
    assert answer_parsing.target("0.97") == 0.97


def test_own_files_are_found_beside_the_suite_and_labels_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "my_opt.py").write_text(
        "import torch\nclass Mine(torch.optim.SGD):\n    def __init__(self, params, lr=0.1):\n"
        "        super().__init__(params, lr=lr)\n"
    )
    optimizers = ("my_opt.py:Mine", "sgd(lr=0.1)", "sgd(lr=0.2)")
    new.make(options(tmp_path / "s.yaml", "mlp", "digits", optimizers, 1, 2, None), tmp_path, asks=False)
    entries = load(tmp_path / "s.yaml").suite.optimizers
    assert list(entries) == ["Mine", "SGD + Momentum", "SGD + Momentum, lr=0.2"]
    assert entries["Mine"].rules[0].arguments == {"lr": 0.1}


def test_the_budget_fills_seven_tenths_of_the_time_and_no_more() -> None:
    made = budget(minutes=10, trials=20, step_seconds=0.02, steps_an_epoch=100, most_epochs=30)
    assert made.text == "10 epochs"
    assert 20 * made.steps * 0.02 <= 0.7 * 600
    assert budget(10_000, 20, 0.02, 100, 30).text == "30 epochs"
    assert budget(10, 20, 0.02, 10_000, 30).text.endswith("steps")
    least = budget(0.1, 100, 10.0, 100, 30)
    assert (least.text, least.floored) == ("20 steps", True)


@pytest.mark.parametrize(
    "text", ["1e-3", "no", "a: b", "x #y", "null", "{a}", "SGD + Momentum", "ß 🚀", "a,b", "-"]
)
def test_text_is_quoted_where_yaml_would_read_something_else(text: str) -> None:
    from optbench.suite.yaml_source import parse

    assert parse(f"{{{scalar(text)}: {scalar(text)}}}", "s").data == {text: text}


def in_terminal(folder: Path, typed: str, *flags: str) -> tuple[int, str]:
    """Exit code and what the terminal showed."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        sys.argv = ["optbench", "new", *flags]
        sys.stdin = open(os.dup(0))  # noqa: SIM115 - another number: else `input` uses readline, which pytest has loaded
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
        code = 1
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            os._exit(code)
    shown = b""
    os.write(terminal, typed.encode())
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def test_in_a_terminal_it_asks_again_until_an_answer_can_be_used(tmp_path: Path) -> None:
    code, shown = in_terminal(tmp_path, "clasification\n\nnonsense\nmlpp\nmlp\n\nsgd, adam\n1\n2\n0.9\n")
    assert code == 0, shown
    assert any(
        line.startswith("  ") and line.endswith(", ...") for line in shown.splitlines()
    )  # folded between words
    assert "did you mean 'classification'?" in shown
    assert "did you mean 'mlp'?" in shown
    suite = load(tmp_path / "digits.yaml").suite
    assert list(suite.optimizers) == ["SGD + Momentum", "Adam"]
    assert len(suite.seeds) == 2


@pytest.mark.parametrize("task", task_starters())
def test_each_task_has_a_model_and_data_that_make_a_suite(task: str, tmp_path: Path) -> None:
    starter = task_starters()[task]
    assert starter["model"] in models_of(task)
    file = tmp_path / "s.yaml"
    given = options(file, starter["model"], starter["data"], ("sgd",), 1, 2, None, task)
    new.make(given, data_root(None), asks=False)
    workload = next(iter(load(file, complete=complete).suite.workloads.values()))
    assert workload.metrics == defaults(task)[1]


def test_the_task_is_asked_first_and_proposes_model_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []
    answers = iter(["custom", "minimisation"])

    def answer(question: str) -> str:
        questions.append(question)
        return next(answers, "")

    monkeypatch.setattr("builtins.input", answer)
    new.make(options(tmp_path / "s.yaml", None, None, (), None, None, None), tmp_path, asks=True)
    assert questions[:4] == [
        "Task [classification]: ",
        "Task [classification]: ",
        "Model [test_function]: ",
        "Data [evaluations]: ",
    ]
    assert questions[-1] == "Target distance [0.1]: "


def test_data_of_another_task_are_refused(tmp_path: Path) -> None:
    given = options(tmp_path / "s.yaml", "mlp", "digits", ("sgd",), None, None, None, "language")
    with pytest.raises(
        OptbenchError, match="--data: expected data of task language; 'digits' is of task class"
    ):
        new.make(given, tmp_path, asks=False)


def test_the_end_of_input_leaves_nothing(tmp_path: Path) -> None:
    code, shown = in_terminal(tmp_path, "\nmlp\n\x04")
    assert code == 130, shown
    assert "Traceback" not in shown
    assert written(tmp_path) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new.make(options(tmp_path / "s.yaml", "mlp", "digits", (), None, None, None), tmp_path, asks=True)
    assert written(tmp_path) == []
