"""What `make bench` compares is alike: the loops written by hand train the models that the suites name, and rounds take turns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmarks import tasks
from benchmarks.loops import model_of
from benchmarks.running import rounds
from benchmarks.workloads import WORKLOADS, suite
from optbench.catalog.check import examine, problems
from optbench.catalog.data_root import data_root
from optbench.catalog.types import DataInfo
from optbench.engine.models import build_model
from optbench.suite.load import load

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", WORKLOADS)
def test_loop_and_suite_train_the_same_model(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    path.write_text(yaml.safe_dump(suite(WORKLOADS[name])))
    loaded = load(path)
    assert problems(loaded, data_root(None)) == []
    (workload,) = loaded.suite.workloads.values()
    ours = build_model(workload.model, DataInfo(0, 0, 0, (1, 28, 28), 10), str(tmp_path)).state_dict()
    by_hand = model_of(WORKLOADS[name]).state_dict()
    assert [t.shape for t in ours.values()] == [t.shape for t in by_hand.values()]
    assert (workload.batch_size, loaded.suite.precision) == (
        WORKLOADS[name].batch,
        "bf16" if WORKLOADS[name].bf16 else "fp32",
    )


@pytest.mark.parametrize("name", tasks.WORKLOADS)
def test_loops_of_other_tasks_have_the_loss_of_their_suite(name: str, tmp_path: Path) -> None:
    work = tasks.WORKLOADS[name]
    path = tmp_path / "bench.yaml"
    path.write_text(yaml.safe_dump(tasks.suite(work)))
    loaded, found = examine(path, (), None, data_root(None))
    assert found == []
    assert loaded is not None
    (workload,) = loaded.suite.workloads.values()
    assert (workload.batch_size, workload.loss.name) == (work.batch, work.loss)


@pytest.mark.parametrize("loop", [tasks.best, tasks.usual])
def test_loops_of_other_tasks_train(loop: Callable[[tasks.Work, int], float]) -> None:
    ratings = {"name": "synthetic_ratings", "users": 10, "items": 20, "ratings": 100}
    assert loop(replace(tasks.WORKLOADS["sparse_factors"], data=ratings, batch=16), 7) > 0


def test_rounds_take_turns() -> None:
    calls: list[str] = []

    def side(name: str, value: float) -> float:
        calls.append(name)
        return value

    found = rounds(3, lambda: side("a", 1.0), lambda: side("b", 2.0))
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert found == [(1.0, 2.0)] * 3


def test_an_unknown_topic_is_reported_with_the_known_topics() -> None:
    line = [sys.executable, "-m", "benchmarks", "overhed"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown topic overhed; expected one or more of overhead, " in done.stderr
