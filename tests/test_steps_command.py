"""`optbench steps`: measurements, reasons for missing ones, and the table and figure."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from optbench.cli.app import app
from optbench.cli.entry import main
from optbench.cli.named_trials import WorkloadSettings, named_trials
from optbench.engine import step_times as measuring
from optbench.engine.step_times import step_times
from optbench.errors import OptbenchError
from optbench.report import render_report
from optbench.report.steps import save_figure, steps_frame, steps_report
from optbench.step_time_results import StepTime, StepTimes

MODEL = "mlp(hidden=[16])"
PARAMETERS = 8 * 16 + 16 + 16 * 3 + 3
CPU = torch.device("cpu")
OPTIMIZERS = '''
import torch

class Tiring(torch.optim.Optimizer):
    """Raises at its sixth step: after the state was made, before the rounds are over."""
    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})
        self.calls = 0
    def step(self, closure=None):
        self.calls += 1
        if self.calls == 6:
            raise ValueError("cannot go on")
'''


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And no trace in this process or on the user's disk of what the command sets for its own."""
    monkeypatch.setenv("OPTBENCH_ALLOCATOR", "default")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
    monkeypatch.setattr(measuring, "TURN_SECONDS", 1e-4)


def measured(*optimizers: str, implementations: tuple[str, ...] = ("forloop",), rounds: int = 3) -> StepTimes:
    named = named_trials(MODEL, optimizers, {}, WorkloadSettings(shape="8", classes=3))
    return step_times(named.trials, implementations, named.info, CPU, rounds)


def row(times: StepTimes, label: str, implementation: str) -> StepTime:
    (found,) = [r for r in times.rows if (r.label, r.implementation) == (label, implementation)]
    return found


def steps(*arguments: str) -> Any:
    return CliRunner().invoke(
        app, ["steps", MODEL, "--shape", "8", "--classes", "3", "--rounds", "2", *arguments]
    )


def test_each_implementation_has_a_time_a_round_and_a_pass_over_as_many_bytes() -> None:
    times = measured("adam", implementations=("forloop", "foreach", "fused"))
    assert [r.implementation for r in times.rows] == ["forloop", "foreach", "fused"]
    assert all(
        len(r.milliseconds) == len(r.pass_milliseconds) == 3 and min(r.milliseconds) > 0 for r in times.rows
    )


@pytest.mark.parametrize(
    ("typed", "tensors"), [("sgd", 0), ("sgd(momentum=0.9)", 1), ("adagrad", 1), ("adam", 2)]
)
def test_moved_bytes_are_gradients_once_and_parameters_and_state_twice(typed: str, tensors: int) -> None:
    (only,) = measured(typed, rounds=1).rows
    assert only.state_bytes == tensors * 4 * PARAMETERS
    assert only.moved_bytes == 4 * PARAMETERS * (3 + 2 * tensors)


def test_the_floor_moves_as_many_bytes_as_the_update_in_place() -> None:
    sizes = {4 * PARAMETERS * 3, 4 * PARAMETERS * 7}
    for size, once in measuring._passes(sizes, CPU).items():
        moved = once.step()
        assert abs(2 * moved.numel() * moved.element_size() - size) < 8
        assert once.step().data_ptr() == moved.data_ptr()


def test_the_state_of_one_is_not_the_state_of_another() -> None:
    """All step on the same parameters; each is measured with the state that it would have alone."""
    together = measured("adam", "sgd(momentum=0.9)", "rmsprop", rounds=1)
    for only in together.rows:
        assert only.state_bytes == measured(only.label, rounds=1).rows[0].state_bytes


def test_an_implementation_that_a_class_has_not_got_reports_it_and_the_others_are_measured() -> None:
    times = measured("rmsprop", implementations=("forloop", "fused"))
    assert row(times, "rmsprop", "fused").problem == "it has no fused step"
    assert row(times, "rmsprop", "forloop").milliseconds


def test_an_optimizer_with_a_closure_has_one_row_with_the_reason() -> None:
    (only,) = measured("lbfgs", implementations=("forloop", "foreach", "compiled")).rows
    assert "calls a closure" in only.problem


def test_a_step_that_can_not_be_compiled_states_the_reason() -> None:
    (only,) = measured("adafactor", implementations=("compiled",)).rows
    assert only.problem == "not compiled: its step reads tensor values on the host"


def test_a_step_that_raises_on_the_way_ends_its_own_row_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(OPTIMIZERS)
    monkeypatch.chdir(tmp_path)
    times = measured("./mine.py:Tiring", "sgd")
    assert row(times, "./mine.py:Tiring", "own").problem == "ValueError: cannot go on"
    assert len(row(times, "sgd", "forloop").milliseconds) == 3


def test_steps_are_measured_in_turns_forwards_and_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    plain = measuring._TimedStep.time

    def noted(each: Any, device: torch.device) -> None:
        turns.append(each.row.label)
        plain(each, device)

    monkeypatch.setattr(measuring._TimedStep, "time", noted)
    measured("sgd", "adam", rounds=2)
    assert turns[: len(turns) // 2] == turns[len(turns) // 2 :][::-1]
    assert {"pass", "sgd", "adam"} == set(turns)


def test_a_compiled_step_runs_the_compiled_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend that counts instead of compiling: the real one takes seconds."""
    ran = []
    plain = measuring.compile_members

    def counting(graph: torch.fx.GraphModule, _: Any) -> Any:
        def run(*inputs: Any) -> Any:
            ran.append(1)
            return graph(*inputs)

        return run

    monkeypatch.setattr(measuring, "compile_members", lambda built: plain(built, backend=counting))
    (only,) = measured("rmsprop", implementations=("compiled",), rounds=2).rows
    assert (only.implementation, only.problem) == ("compiled", "")
    assert only.compile_seconds is not None
    assert only.compile_seconds > 0
    assert len(ran) > 2 * 2


def test_more_than_the_memory_holds_is_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "free_bytes", lambda device: 1000)
    with pytest.raises(OptbenchError, match="select fewer"):
        measured("adam")


def canned() -> StepTimes:
    loop = StepTime("Adam", "forloop", (4.0, 5.0, 9.0), (1.0, 2.0, 2.0), 28, 8, 4, None)
    fused = replace(loop, implementation="fused", milliseconds=(2.0, 2.5, 3.0))
    hostile = StepTime("<b>$x$\x1b[31m" + "long " * 20, "own", (1.0, 1.0, 1.0), (2.0, 2.0, 2.0), 28, 8, 0)
    none = StepTime("LBFGS", "own", problem="its step calls a closure")
    return StepTimes("net", 1, 1, 4, "a CPU", 2, 3, (loop, fused, hostile, none))


def test_the_frame_compares_with_the_loop_and_the_floor() -> None:
    frame = steps_frame(canned()).set_index(["optimizer", "implementation"])
    fused = frame.loc[("Adam", "fused")]
    assert (fused["milliseconds"], fused["milliseconds_low"], fused["milliseconds_high"]) == (2.5, 2, 3)
    assert (fused["times_faster_than_forloop"], fused["times_the_floor"]) == (2, 1.25)
    assert (fused["state_over_parameters"], fused["step_peak_over_parameters"]) == (2, 1)
    assert math.isnan(frame.loc[("LBFGS", "own"), "milliseconds"])


@pytest.mark.parametrize("name", ["terminal", "markdown", "csv", "json"])
def test_every_format_has_every_row_and_why_one_is_empty(name: str) -> None:
    text = render_report(steps_report(canned()), name)
    assert "its step calls a closure" in text
    assert text.count("Adam") >= 2
    assert "\x1b" not in text or name == "terminal"
    assert "\x1b[31m" not in text


def test_the_figure_is_drawn_for_hostile_labels_and_not_without_data(tmp_path: Path) -> None:
    paths = save_figure(canned(), tmp_path)
    assert {path.suffix for path in paths} == {".svg", ".png", ".pdf"}
    assert all(path.stat().st_size > 3000 for path in paths)
    (empty := tmp_path / "empty").mkdir()
    assert save_figure(replace(canned(), rows=canned().rows[-1:]), empty) == ()
    assert not list(empty.iterdir())


def test_the_command_prints_and_saves(tmp_path: Path) -> None:
    done = steps(
        "--optimizer", "sgd", "--implementation", "forloop", "--implementation", "forloop",
        "--format", "csv", "--save", str(tmp_path / "new" / "steps"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout.count(",sgd,forloop,") == 1
    saved = tmp_path / "new" / "steps"
    assert {path.name for path in saved.iterdir()} == {
        f"steps.{s}" for s in ("md", "csv", "json", "svg", "png", "pdf")
    }
    assert json.loads((saved / "steps.json").read_text())
    assert pd.read_csv(saved / "steps.csv")["rounds"].tolist() == [2]


def test_an_optimizer_of_which_nothing_could_be_measured_is_exit_code_1() -> None:
    done = steps("--optimizer", "lbfgs", "--optimizer", "sgd", "--implementation", "forloop")
    assert done.exit_code == 1
    assert "lbfgs, own: its step calls a closure" in done.stdout


def test_wrong_names_are_all_reported_with_the_nearest() -> None:
    done = CliRunner().invoke(
        app, ["steps", "resnet2O", "--optimizer", "adamww", "--optimizer", "sgd(lr=0.1, mom=1)"]
    )
    assert isinstance(done.exception, OptbenchError)
    told = str(done.exception)
    assert "did you mean 'resnet20'" in told
    assert "did you mean 'adamw'" in told
    assert "momentum" in told


def test_ctrl_c_is_exit_code_130_without_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(each: Any, device: torch.device) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring._TimedStep, "time", interrupted)
    monkeypatch.setattr(
        sys,
        "argv",
        ["optbench", "steps", MODEL, "--shape", "8", "--optimizer", "sgd", "--implementation", "forloop"],
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
