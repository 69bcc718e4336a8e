"""The reason of a failure in one line: what is printed while a run goes on, at its end, and on the page."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from optbench.engine.trial_records import format_traceback
from optbench.events import reason_of
from program import optbench
from real_runs import a_suite
from trials import finished, run, trials


def one_message() -> None:
    raise NotImplementedError("Could not run 'aten::clamp'\n\nCPU: registered\nPythonDispatcher: registered")


def chained() -> None:
    try:
        one_message()
    except NotImplementedError as error:
        raise ValueError("the second") from error


def announces() -> None:
    raise RuntimeError("Error(s) in loading state_dict:\n\tMissing key(s): w")


def begins_empty() -> None:
    raise ValueError("\n\n  what happened\nmore")


def quotes_a_traceback() -> None:
    raise RuntimeError(f"worker failed\n{traceback_of(one_message)}")


def without_message() -> None:
    raise KeyboardInterrupt


def group() -> None:
    raise ExceptionGroup("both failed", [ValueError("x"), TypeError("y")])


def in_syntax() -> None:
    exec("x = = 3")


def endless() -> None:
    raise RuntimeError("it is long " * 100_000)


def deep(left: int = 400) -> None:
    if left:
        (deep if left % 2 else deeper)(left - 1)
    raise RuntimeError("at the bottom")


def deeper(left: int) -> None:
    deep(left)


def traceback_of(failing: Callable[[], None]) -> str:
    try:
        failing()
    except BaseException as error:
        return format_traceback(error)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        (one_message, "NotImplementedError: Could not run 'aten::clamp'"),
        (chained, "ValueError: the second"),
        (announces, "RuntimeError: Error(s) in loading state_dict: Missing key(s): w"),
        (begins_empty, "ValueError: what happened"),
        (quotes_a_traceback, "RuntimeError: worker failed"),
        (without_message, "KeyboardInterrupt"),
        (group, "ExceptionGroup: both failed (2 sub-exceptions)"),
        (in_syntax, "SyntaxError: invalid syntax"),
        (deep, "RuntimeError: at the bottom"),
    ],
)
def test_the_reason_of_a_traceback_is_its_exception(failing: Callable[[], None], reason: str) -> None:
    assert reason_of(traceback_of(failing)) == reason


def test_the_reason_of_a_crash_or_a_hang_is_the_first_line() -> None:
    dump = "Fatal Python error: Segmentation fault\n\nExtension modules: numpy._core"
    assert reason_of(f"the trial's process was ended by SIGSEGV\n{dump}") == (
        "the trial's process was ended by SIGSEGV"
    )
    printed = traceback.format_exception(ValueError("printed before the hang"))
    assert reason_of("no sign of life for 15 s\n" + "".join(printed)) == "no sign of life for 15 s"


def test_long_messages_are_shortened_and_keep_their_beginning() -> None:
    text = traceback_of(endless)
    assert len(text) < 25_000
    reason = reason_of(text)
    assert reason.startswith("RuntimeError: it is long")
    assert reason.endswith("...")
    assert len(reason) == 300


def test_nothing_recorded_has_no_reason() -> None:
    assert reason_of("") == reason_of(" \n") == ""


OWN = """
import helper
import torch
class Net(torch.nn.Module):
    def __init__(self, in_features, num_classes):
        super().__init__()
        self.layer = torch.nn.Linear(in_features, num_classes)
    def forward(self, x):
        return OUTPUTS
class Task:
    metrics = {}
    def loss(self, model, batch):
        return model(batch.inputs).mean() * {}["scale"]
    def evaluate(self, model, batch):
        return {}
"""


@pytest.mark.parametrize(
    ("outputs", "task", "reason"),
    [
        ("self.layr(x)", None, "AttributeError in own.py, line 9: 'Net' object has no attribute 'layr'"),
        (
            "self.layer(x[:, 1:])",
            None,
            "model own.py:Net does not accept inputs of shape (12,): mat1 and mat2 shapes cannot be multiplied (2x11 and 12x3) "
            "(own.py, line 9)",
        ),
        ("helper.fail(self.layer(x))", None, "KeyError in own.py, line 9: 'helper'"),
        ("self.layer(x)", "own.py:Task", "KeyError in own.py, line 13: 'scale'"),
    ],
)
def test_the_reason_has_the_line_of_the_file_of_the_suite(
    outputs: str, task: str | None, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN.replace("OUTPUTS", outputs))
    (tmp_path / "helper.py").write_text("def fail(x):\n    raise KeyError('helper')\n")
    workload = {"model": "own.py:Net"} | ({"task": task, "metrics": ["loss"]} if task else {})
    (trial,) = trials(tmp_path, workload=workload)
    end = finished(run(trial, tmp_path))
    assert (end.status, reason_of(end.detail)) == ("failed", reason)
    assert ("Traceback (most recent call last)" in end.detail) == (" in own.py" in reason)


def test_a_run_and_its_page_show_the_reason(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(
        "import torch\n"
        "class Many(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        raise NotImplementedError('no such kernel\\n\\nCPU: registered\\nDispatcher: the last line')\n"
    )
    suite = a_suite(tmp_path, {"Many": "'faulty.py:Many'"})
    done = optbench("run", suite, "--reruns", "0", cwd=tmp_path)
    assert done.returncode == 1
    reason = "NotImplementedError in faulty.py, line 4: no such kernel"
    lines = [line for line in done.stderr.splitlines() if "Many seed 0" in line]
    assert any(reason in line for line in lines)
    assert "the last line" not in done.stderr
    assert "Traceback" not in done.stderr
    assert reason in (tmp_path / "results/tiny/report.html").read_text()
