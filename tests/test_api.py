"""The Python API: the same suites, runs and numbers as on the command line."""

from __future__ import annotations

import linecache
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import optbench
from optbench.api.class_source import reference_to
from optbench.events import Event
from optbench.suite.dump import dump_text
from optbench.suite.types import Trial
from program import optbench as command
from results_builder import a_suite, reaching, write
from trials import TINY

WORKLOAD = TINY["workload"]


@pytest.fixture
def study(tmp_path: Path) -> optbench.Study:
    events = {("SGD", seed): reaching(3) for seed in (0, 1)} | {
        ("Adam", seed): reaching(2) for seed in (0, 1)
    }
    write(tmp_path, a_suite(labels=("SGD", "Adam"), seeds=2), events)
    return optbench.read(tmp_path)


def test_public_names_are_pinned() -> None:
    assert optbench.__all__ == [
        "Figure",
        "Loaded",
        "OptbenchError",
        "Study",
        "compare",
        "load_suite",
        "read",
        "run",
    ]
    assert all(getattr(optbench, name).__doc__ for name in optbench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = optbench.nonsense


def test_the_table_is_that_of_the_report(study: optbench.Study, tmp_path: Path) -> None:
    done = command("report", tmp_path, "--format", "csv", cwd=tmp_path)
    (tmp_path / "table.csv").write_text(done.stdout)
    reported = pd.read_csv(tmp_path / "table.csv")
    table = study.table()
    assert list(table["optimizer"]) == list(reported["optimizer"]) == ["SGD", "Adam"]
    assert list(table["epochs_to_target"]) == list(reported["epochs_to_target"])


def test_a_frame_is_the_callers_own(study: optbench.Study) -> None:
    changed = study.table()
    changed["optimizer"] = "changed"
    assert list(study.table()["optimizer"]) == ["SGD", "Adam"]


def test_comparisons_name_the_baseline(study: optbench.Study) -> None:
    [row] = study.comparisons().to_dict("records")
    assert (row["baseline"], row["optimizer"], row["difference_n"]) == ("SGD", "Adam", 2)
    assert len(study.evaluations()) > 4
    assert len(study.trials()) == 4
    assert study.sensitivity().empty
    assert study.verdicts().empty


def test_figures_are_named_and_saved(study: optbench.Study, tmp_path: Path) -> None:
    assert "finals" in study.figures
    assert study.figure("finals").svg().startswith("<?xml")
    assert study.figure("finals").save(tmp_path / "finals.PDF").read_bytes().startswith(b"%PDF")
    with pytest.raises(optbench.OptbenchError, match="did you mean 'finals'"):
        study.figure("final")
    with pytest.raises(optbench.OptbenchError, match="unknown format 'gif'"):
        study.figure("finals").save(tmp_path / "finals.gif")


def test_jupyter_shows_escaped_tables(tmp_path: Path) -> None:
    write(tmp_path, a_suite(labels=("<b>SGD",), seeds=1), {("<b>SGD", 0): reaching(3)})
    shown = optbench.read(tmp_path)._repr_html_()
    assert "<table" in shown
    assert "&lt;b&gt;SGD" in shown
    assert "<b>SGD" not in shown


def test_jupyter_explains_the_mark_of_the_best_entries() -> None:
    shown = optbench.read(Path(__file__).parents[1] / "results/fashion_mnist")._repr_html_()
    assert "◆ bold: not significantly worse than any other entry" in shown
    assert "{mark}" not in shown


def test_a_dict_is_checked_as_a_file_is() -> None:
    suite: dict[str, Any] = TINY | {"optimizers": {"A": {"use": "torch.optim.SGDD", "lr": 0.1}}}
    with pytest.raises(optbench.OptbenchError, match=r"mine: optimizers\.A.*SGD"):
        optbench.load_suite(suite, name="mine")
    with pytest.raises(optbench.OptbenchError, match="expected text, numbers, lists and dicts only"):
        optbench.load_suite(TINY | {"title": object()})


def test_seeds_and_overrides_apply_to_a_dict() -> None:
    loaded = optbench.load_suite(TINY, seeds=4, overrides=["workload.batch_size=8"])
    assert loaded.suite.seeds == (0, 1, 2, 3)
    assert next(iter(loaded.suite.workloads.values())).batch_size == 8


SCRIPT = """
import math
import optbench
import torch
from torch import optim as o

HALF = 0.5


def halved(rate):
    return rate * HALF


class Mine(o.SGD):
    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=halved(lr) * math.cos(0))


class Plain(o.SGD):
    pass


class Documented(Plain):
    \"\"\"Has attributes only.\"\"\"

    length = staticmethod(len)


print("the script runs")
events = []
study = optbench.compare(
    {
        "mine": {"use": Mine, "lr": 0.2},
        "half": {"use": torch.optim.SGD, "lr": 0.1},
        "Adam": "torch.optim.Adam",
        "without methods": {"use": Documented, "lr": 0.1},
    },
    WORKLOAD,
    seeds=1,
    on_event=lambda trial, event: events.append((trial.label, event.kind)),
)
assert ("mine", "finished") in events
final = study.table().set_index("optimizer")["final_metric"]
assert final["mine"] == final["half"] == final["without methods"], final
assert list(final.index) == ["mine", "half", "Adam", "without methods"]
print(study)
"""


def test_classes_of_a_script_are_compared(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.replace("WORKLOAD", repr(WORKLOAD)))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the script runs") == 1
    assert "Repeat with" not in done.stdout
    copied = (tmp_path / "results/compare/plugins/mine.py").read_text()
    assert "from torch import optim as o" in copied or "import torch.optim as o" in copied


def test_what_cannot_be_copied_states_what_to_do(tmp_path: Path) -> None:
    class Local(torch.optim.SGD):
        pass

    with pytest.raises(optbench.OptbenchError, match=r"Put it into a file, for example my_opt\.py"):
        optbench.compare({"local": Local}, WORKLOAD, results=tmp_path)


def test_run_resumes_and_reports_events(tmp_path: Path) -> None:
    heard: list[str] = []

    def listen(trial: Trial, event: Event) -> None:
        heard.append(event.kind)

    suite = optbench.load_suite(TINY, name="tiny", seeds=1)
    first = optbench.run(suite, results=tmp_path, reruns=0, on_event=listen)
    assert heard.count("finished") == len(first.trials())
    heard.clear()
    messages: list[str] = []
    again = optbench.run(suite, results=tmp_path, reruns=0, on_event=listen, on_message=messages.append)
    assert heard == []
    assert "All trials are already in" in messages[0]
    pd.testing.assert_frame_equal(first.table(), again.table())


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[1] / "docs/python-api.md"
    example = page.read_text().partition("```python\n")[2].partition("```")[0]
    small = example.replace("seeds=5", "seeds=1, reruns=0, threads=1").replace("5 epochs", "1 epochs")
    (tmp_path / "example.py").write_text(small)
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Sign descent" in done.stdout


def test_a_class_of_a_notebook_cell_without_methods_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = sys.modules["__main__"]
    text = "class Cell(torch.optim.SGD):\n    rate = 1\n"
    monkeypatch.setattr(main, "torch", torch, raising=False)
    monkeypatch.setattr(main, "Cell", None, raising=False)
    exec(compile(text, "<cell 1>", "exec"), vars(main))
    monkeypatch.setitem(linecache.cache, "<cell 1>", (len(text), None, text.splitlines(True), "<cell 1>"))
    monkeypatch.chdir(tmp_path)
    assert reference_to(vars(main)["Cell"], tmp_path) == "cell.py:Cell"
    assert (tmp_path / "cell.py").read_text().endswith("import torch\n\n\n" + text)


def test_a_call_that_repeats_a_run_names_the_suite(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_text(optbench.load_suite(TINY, seeds=1).suite))
    study = optbench.run(path, results=tmp_path / "r", only=["SGD"], reruns=0, threads=1)
    expected = (
        f"optbench.run({str(path)!r}, results={str(tmp_path / 'r')!r}, only=('SGD',), threads=1, reruns=0)"
    )
    plan = study.results.suites[0].plan
    assert plan is not None
    assert plan.command == expected


def made(params: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params)


PARAMETER = torch.nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    ("optimizers", "options", "message"),
    [
        ([torch.optim.Adam], {}, r"optimizers: expected a dict, such as .* found an object of list"),
        (
            {"I": torch.optim.Adam([PARAMETER])},
            {},
            r"optimizers\.I: expected a class, .* object of torch\.optim\.adam\.Adam",
        ),
        ({"N": 3}, {}, r"optimizers\.N: expected a class, .* found an object of int"),
        ({"P": partial(made)}, {}, r"optimizers\.P: .* found an object of functools\.partial"),
        (
            {"L": lambda params: made(params)},
            {},
            r"optimizers\.L: a lambda cannot be used in other processes: write it as a function \(def\)",
        ),
        ({"A": torch.optim.Adam}, {"schedule": "cosine"}, r"schedule: .* suite=\{'schedule': \.\.\.\}"),
        ({"A": torch.optim.Adam}, {"batch_size": 3}, r"batch_size: .* workload=\{'batch_size': \.\.\.\}"),
        ({"A": torch.optim.Adam}, {"sedes": 1}, r"sedes: no such option: did you mean 'seeds'\?"),
    ],
)
def test_an_argument_that_compare_cannot_use_is_named(
    tmp_path: Path, optimizers: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(optbench.OptbenchError, match=message) as raised:
        optbench.compare(optimizers, WORKLOAD, results=tmp_path, **options)
    assert "my_opt.py:<" not in str(raised.value)


def test_an_object_in_a_suite_is_named_by_its_key() -> None:
    with pytest.raises(optbench.OptbenchError) as raised:
        optbench.load_suite(
            {
                "workload": {**WORKLOAD, "model": torch.nn.Linear},
                "optimizers": {"A": {"use": torch.optim.Adam}},
            },
            name="mine",
        )
    assert [(problem.file, problem.where) for problem in raised.value.problems] == [
        ("mine", "workload.model"),
        ("mine", "optimizers.A.use"),
    ]
    assert "found the class torch.nn.modules.linear.Linear: write a class" in str(raised.value)
