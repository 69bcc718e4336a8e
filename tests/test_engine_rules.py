"""Rules of measurement in the engine: same start, a clock for training only, measured memory, recorded outcomes."""

from __future__ import annotations

import time
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from optbench.engine import loop, passes
from optbench.engine.batch import Batch, tensors
from optbench.engine.evaluate import measure
from trials import evaluations, finished, run, started, trials

FOUR = {
    "SGD": {"use": "torch.optim.SGD", "lr": 0.05},
    "SGD + Momentum": {"use": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9},
    "Adam": {"use": "torch.optim.Adam", "lr": 1e-3},
    "AdamW": {"use": "torch.optim.AdamW", "lr": 1e-3},
    "RMSprop": {"use": "torch.optim.RMSprop", "lr": 1e-3},
}


def plugin(folder: Path, code: str) -> None:
    (folder / "mine.py").write_text("import torch\n\n" + dedent(code))


def only(folder: Path, entry: dict[str, Any], **changes: Any) -> Any:
    (trial,) = trials(folder, optimizers={"Mine": entry}, **changes)
    return trial


def test_initial_weights_and_batches_are_the_same_bits_for_every_optimizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[bytes]] = {}
    original = passes.forward_loss

    def spy(session: Any, batch: Batch) -> torch.Tensor:
        arrays = [tensor.numpy().tobytes() for tensor in (*tensors(batch.inputs), *tensors(batch.targets))]
        seen.setdefault(session.trial.label, []).append(b"".join(arrays))
        return original(session, batch)

    monkeypatch.setattr(passes, "forward_loss", spy)
    weights = {started(run(trial, tmp_path)).initial_weights for trial in trials(tmp_path, optimizers=FOUR)}
    assert len(weights) == 1
    assert len(seen) == len(FOUR)
    assert all(batches == seen["SGD"] for batches in seen.values())
    assert len(seen["SGD"]) == 18


def test_another_seed_has_other_weights_and_another_order(tmp_path: Path) -> None:
    first, second = trials(tmp_path, seeds=2)
    assert started(run(first, tmp_path)).initial_weights != started(run(second, tmp_path)).initial_weights


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A time in which each step takes a second, and nothing else takes any unless a test says so."""
    simulated = SimpleNamespace(seconds=0.0, monotonic=time.monotonic)
    simulated.perf_counter = simulated.process_time = lambda: simulated.seconds
    step = torch.optim.SGD.step

    def timed(*arguments: Any, **options: Any) -> Any:
        simulated.seconds += 1
        return step(*arguments, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", timed)
    monkeypatch.setattr("optbench.engine.clock.time", simulated)
    return simulated


def test_a_slow_evaluation_does_not_change_train_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: SimpleNamespace
) -> None:
    def slow(*arguments: Any) -> dict[str, float]:
        simulated.seconds += 100
        return measure(*arguments)

    (trial,) = trials(tmp_path)
    monkeypatch.setattr(loop, "measure", slow)
    end = finished(run(trial, tmp_path))
    assert end.evaluation_seconds >= 400  # three validations, a test or two
    assert end.train_seconds == end.step == 18


def test_what_the_listener_does_is_not_training_time(tmp_path: Path, simulated: SimpleNamespace) -> None:
    (trial,) = trials(tmp_path)
    events = []
    for event in loop.train(trial, torch.device("cpu"), data_root=tmp_path):
        simulated.seconds += 100
        events.append(event)
    assert finished(events).train_seconds == 18


@pytest.mark.parametrize(
    ("label", "times"), [("SGD", 0), ("SGD + Momentum", 1), ("Adam", 2), ("AdamW", 2), ("RMSprop", 1)]
)
def test_optimizer_state_is_exact_in_parameter_bytes(label: str, times: int, tmp_path: Path) -> None:
    (trial,) = trials(tmp_path, optimizers={label: FOUR[label]})
    events = run(trial, tmp_path)
    assert finished(events).state_bytes == times * started(events).parameter_bytes


def test_step_peak_shows_what_foreach_hides(tmp_path: Path) -> None:
    wide = {"model": {"name": "mlp", "hidden": [64, 64, 64]}}
    plain, foreach = (
        run(
            only(tmp_path, {"use": "torch.optim.Adam", "lr": 1e-3}, workload=wide, implementation=name),
            tmp_path,
        )
        for name in ("forloop", "foreach")
    )
    size = started(plain).parameter_bytes
    assert finished(foreach).step_peak_bytes > 0.9 * size
    assert finished(plain).step_peak_bytes < finished(foreach).step_peak_bytes


def test_final_metrics_name_their_estimand(tmp_path: Path) -> None:
    events = run(only(tmp_path, {"use": "torch.optim.SGD", "lr": 0.1}), tmp_path)
    end = finished(events)
    assert end.status == "completed"
    assert set(end.final) == {"last", "best_validation"}
    best = max(evaluations(events), key=lambda record: record.metrics["validation"]["accuracy"])
    assert end.best_step == best.step


def test_the_best_weights_are_tested_as_if_training_had_ended_there(tmp_path: Path) -> None:
    """Measured anew where they are not the last, taken over where they are."""
    ends = {}
    for rate in (1.0, 2.0):
        entry = {"use": "torch.optim.SGD", "lr": rate}
        often = {"evaluate": {"every": "2 steps"}}
        end = finished(run(only(tmp_path, entry, workload=often), tmp_path))
        until = often | {"budget": {"steps": end.best_step}}
        there = finished(run(only(tmp_path, entry, workload=until), tmp_path))
        assert end.final["best_validation"] == there.final["last"]
        ends[end.best_step == end.step] = end.final
    assert set(ends) == {True, False}
    assert ends[False]["last"] != ends[False]["best_validation"]


def test_a_diverging_trial_states_at_which_step(tmp_path: Path) -> None:
    end = finished(run(only(tmp_path, {"use": "torch.optim.SGD", "lr": 1e9}), tmp_path))
    assert end.status == "diverged"
    assert "at step" in end.detail
    assert end.at_fault == ""


def test_an_exception_in_the_optimizers_step_is_its_fault_with_its_traceback(tmp_path: Path) -> None:
    plugin(
        tmp_path,
        """
        class Breaks(torch.optim.SGD):
            def step(self, closure=None):
                raise ZeroDivisionError("as planned")
        """,
    )
    end = finished(run(only(tmp_path, {"use": "mine.py:Breaks", "lr": 0.1}), tmp_path))
    assert (end.status, end.at_fault) == ("failed", "optimizer")
    assert "ZeroDivisionError: as planned" in end.detail
    assert "mine.py" in end.detail


def test_an_optimizer_over_a_copy_of_the_model_is_refused(tmp_path: Path) -> None:
    plugin(
        tmp_path,
        """
        def copied(parameters, lr):
            return torch.optim.SGD([torch.nn.Parameter(p.detach().clone()) for p in parameters], lr=lr)
        """,
    )
    end = finished(run(only(tmp_path, {"use": "mine.py:copied", "lr": 0.1}), tmp_path))
    assert end.status == "failed"
    assert "the trained model's parameters" in end.detail


def test_an_optimizer_that_moves_nothing_is_found_out(tmp_path: Path) -> None:
    plugin(
        tmp_path,
        """
        class Lazy(torch.optim.SGD):
            def step(self, closure=None):
                return None
        """,
    )
    end = finished(run(only(tmp_path, {"use": "mine.py:Lazy", "lr": 0.1}), tmp_path))
    assert (end.status, end.at_fault) == ("failed", "optimizer")
    assert end.detail.startswith("the optimizer does not train the model")


LATE = """
class Late(torch.optim.SGD):
    calls = 0

    def step(self, closure=None):
        self.calls += 1
        return super().step(closure) if self.calls > {first} else None
"""


@pytest.mark.parametrize(
    ("first", "workload", "setting", "status"),
    [
        (12, {}, {}, "completed"),  # evaluated after 6 steps
        (12, {"evaluate": {"every": "1 step"}}, {}, "completed"),
        (30, {"budget": {"steps": 40}, "evaluate": {"every": "35 steps"}}, {}, "completed"),
        (30, {"budget": {"steps": 40}}, {}, "failed"),
        (30, {"budget": {"steps": 40}}, {"first_update_by": "35 steps"}, "completed"),
        (12, {}, {"first_update_by": "1 epoch"}, "failed"),
        (50, {"budget": {"steps": 10}}, {}, "failed"),
    ],
)
def test_an_optimizer_may_start_late(
    first: int, workload: dict[str, Any], setting: dict[str, str], status: str, tmp_path: Path
) -> None:
    """Until the first evaluation and for 20 steps, or as long as the entry says."""
    plugin(tmp_path, LATE.format(first=first))
    end = finished(
        run(only(tmp_path, {"use": "mine.py:Late", "lr": 0.1, **setting}, workload=workload), tmp_path)
    )
    assert end.status == status
    assert ("first_update_by: N steps" in end.detail) == (status == "failed")


def test_a_learning_rate_of_zero_is_no_fault(tmp_path: Path) -> None:
    end = finished(run(only(tmp_path, {"use": "torch.optim.SGD", "lr": 0.0}), tmp_path))
    assert end.status == "completed"


def test_out_of_memory_is_reported_with_its_sizes(tmp_path: Path) -> None:
    plugin(
        tmp_path,
        """
        class Huge(torch.optim.SGD):
            def step(self, closure=None):
                torch.empty(2**46)
        """,
    )
    end = finished(run(only(tmp_path, {"use": "mine.py:Huge", "lr": 0.1}), tmp_path))
    assert end.status == "out_of_memory"
    assert str(2**48) in end.detail
    assert "out of memory" not in end.detail  # the status, which is shown before it


def test_stop_at_target_ends_early_and_has_no_final_metric(tmp_path: Path) -> None:
    trial = only(
        tmp_path,
        {"use": "torch.optim.SGD", "lr": 0.1},
        workload={"target": {"metric": "accuracy", "at_least": 0.01}, "stop_at_target": True},
    )
    end = finished(run(trial, tmp_path))
    assert (end.status, end.step, end.final) == ("stopped", 6, {})


def test_evaluations_fall_on_fixed_steps_and_on_the_last(tmp_path: Path) -> None:
    workload = {"evaluate": {"every": "4 steps"}, "budget": {"steps": 10}}
    trial = only(tmp_path, {"use": "torch.optim.SGD", "lr": 0.1}, workload=workload)
    assert [record.step for record in evaluations(run(trial, tmp_path))] == [4, 8, 10]


def test_a_budget_in_seconds_ends_with_an_evaluation(tmp_path: Path, simulated: SimpleNamespace) -> None:
    workload = {"evaluate": {"every": "1000 steps"}, "budget": {"seconds": 10}}
    events = run(only(tmp_path, {"use": "torch.optim.SGD", "lr": 0.1}, workload=workload), tmp_path)
    end = finished(events)
    assert end.status == "completed"
    assert evaluations(events)[-1].step == end.step
    assert end.train_seconds == end.step == 10
