"""Slots: several devices, and parts of a CPU for sweeps."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from optbench import read as read_results
from optbench.cpu_cores import cores
from optbench.engine.devices import select_devices
from optbench.errors import OptbenchError
from optbench.executor import worker
from optbench.executor.api import Settings, Slot
from optbench.runner import suite_run
from optbench.runner.environment_check import refuse_to_mix, refuse_unequal
from optbench.runner.options import RunOptions
from optbench.store import StoredSuite, read
from optbench.store.merge_checks import check_source, disagreements
from optbench.suite.load import load
from optbench.suite.plan import plan
from program import optbench
from real_runs import a_suite
from results_builder import ENVIRONMENT, curve, started, trials_of, write_trials
from results_builder import a_suite as a_suite_of

ON_CPU = (Slot("cpu", "cpu", ENVIRONMENT | {"device": "cpu"}),)


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize(
    ("names", "devices"),
    [
        ("auto", ["cuda:0"]),
        ("cuda", ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda:2", ["cuda:2"]),
        ("cuda:2,cuda:0", ["cuda:2", "cuda:0"]),
        ("cuda:1, cuda:1", ["cuda:1"]),
        ("cpu", ["cpu"]),
    ],
)
def test_devices_by_name(names: str, devices: list[str]) -> None:
    assert [str(device) for device in select_devices(names)] == devices


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize("names", ["cuda:3", "cuda:0,cuda:9", "cuda,", "gpu"])
def test_a_device_that_is_not_there(names: str) -> None:
    with pytest.raises(OptbenchError, match="is not available; expected one of cpu, cuda:0, cuda:1, cuda:2"):
        select_devices(names)


def test_the_environment_of_a_device_is_collected_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, sent, collected = worker.load_training(), [], []

    def environment(device: torch.device, folder: str) -> dict[str, str]:
        collected.append(str(device))
        return {"device_name": "a processor"}

    monkeypatch.setattr(training, "environment", environment)
    monkeypatch.setattr(worker, "exchange", lambda connection, message: sent.append(message))
    for name in ("isolate_process", "flush_and_exit"):
        monkeypatch.setattr(worker, name, lambda *_: None)
    monkeypatch.setattr(worker.os, "dup2", lambda *_: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(logging.getLogger("optbench.data"), "handlers", [])
    connection: Any = None
    trials = plan(load(a_suite(tmp_path, {"SGD": "torch.optim.SGD"})))
    worker.prepare(connection, connection, trials, "cpu", Settings(allocator="default"), tmp_path)
    assert (sent, collected) == ([{"cpu": {"device_name": "a processor"}}], ["cpu"])


def test_by_default_sweep_trials_have_one_core_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_run, "cores", lambda: 5)
    slots = suite_run._sweep_slots(ON_CPU, RunOptions())
    assert [(slot.threads, slot.cores) for slot in slots] == [(1, ())] * 5


def test_slots_divide_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_run, "cores", lambda: 5)
    monkeypatch.setattr(suite_run, "core_numbers", lambda: [0, 2, 4, 6, 8])
    slots = suite_run._sweep_slots(ON_CPU, RunOptions(slots=2))
    assert [(slot.threads, slot.cores) for slot in slots] == [(2, (0, 2)), (2, (4, 6))]
    with pytest.raises(OptbenchError, match="at most 5, the number of cores; found 6"):
        suite_run._sweep_slots(ON_CPU, RunOptions(slots=6))


def test_each_gpu_is_a_slot_and_jobs_share_it() -> None:
    gpus = [Slot(f"cuda:{n}", f"cuda:{n}", ENVIRONMENT | {"device": "cuda"}) for n in range(2)]
    slots = suite_run._sweep_slots(gpus, RunOptions(jobs=2))
    assert [slot.device for slot in slots] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert len({slot.name for slot in slots}) == 4
    with pytest.raises(OptbenchError, match="use --jobs"):
        suite_run._sweep_slots(gpus, RunOptions(slots=2))


def test_devices_of_two_kinds_are_not_mixed() -> None:
    gpus = [Slot(f"cuda:{n}", environment=ENVIRONMENT | {"device_name": f"model {n}"}) for n in range(2)]
    with pytest.raises(
        OptbenchError, match="cuda:0 and cuda:1 differ: device_name is 'model 0' and 'model 1'"
    ):
        refuse_unequal(gpus)
    refuse_unequal(gpus[:1] * 2)


def test_a_sweep_on_cpu_slots(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    text = suite.read_text().replace(
        "seeds: 1", "seeds: 1\nengine: plain\nsensitivity: {lr: {factors: [0.5, 1, 2]}}"
    )
    suite.write_text(text)
    done = optbench("run", suite, "--slots", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    swept = [log for log in read([tmp_path / "results"]).suites[0].logs if log.trial["point"]]
    assert len(swept) >= 3
    assert {log.started.environment["threads"] for log in swept if log.started} == {cores()}


# Waits in the first step of a trial until three trials are that far, which needs them to run at the same time.
MEETS = """
import multiprocessing
import os
import time
from pathlib import Path

import torch


class Meets(torch.optim.SGD):
    def step(self, closure=None):
        if multiprocessing.parent_process() is not None:
            (Path(__file__).parent / f"{os.getpid()}.arrived").touch()
            deadline = time.monotonic() + 120
            while len(list(Path(__file__).parent.glob("*.arrived"))) < 3:
                assert time.monotonic() < deadline, "the other trials do not arrive"
                time.sleep(0.01)
        return super().step(closure)
"""


def test_untimed_trials_run_at_the_same_time_and_have_no_seconds(tmp_path: Path) -> None:
    (tmp_path / "meets.py").write_text(MEETS)
    suite = a_suite(tmp_path, {"Meets": "meets.py:Meets"})
    suite.write_text(suite.read_text().replace("seeds: 1", "seeds: 3\ntimed: false"))
    done = optbench("run", suite, "--jobs", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no seconds: 3 trials trained at the same time as others (timed: false)" in " ".join(
        done.stdout.split()
    )
    table = read_results(tmp_path / "results").table()
    assert table["timed"].tolist() == [0]
    assert table["train_seconds"].isna().all()


@pytest.mark.parametrize(
    ("changes", "exempt"), [({"timed": False}, True), ({"point": {"lr": 1.0}}, True), ({}, False)]
)
def test_numbers_of_threads_may_differ_between_trials_that_run_at_the_same_time(
    tmp_path: Path, changes: dict[str, Any], exempt: bool
) -> None:
    suite = a_suite_of(seeds=1)
    trials = [trial.model_copy(update=changes) for trial in trials_of(suite)]
    for name, threads in (("a", 1), ("b", 2)):
        environment = ENVIRONMENT | {"threads": threads}
        moved = [trial.with_seed(threads) for trial in trials]
        events = {trial.id: [started(environment=environment), *curve([0.5])[1:]] for trial in moved}
        write_trials(tmp_path / name, suite.model_copy(update={"seeds": (threads,)}), moved, events)
    stored = StoredSuite(tmp_path / "a" / "digits")
    rows = {trial.config_id for trial in trials}
    sources = [check_source(suite) for suite in read([tmp_path / "a", tmp_path / "b"]).suites]
    if exempt:
        refuse_to_mix(stored, rows, ENVIRONMENT | {"threads": 2})
        assert disagreements(sources, allow_mixed=False) == []
    else:
        with pytest.raises(OptbenchError, match="threads was 1, now 2"):
            refuse_to_mix(stored, rows, ENVIRONMENT | {"threads": 2})
        [problem] = disagreements(sources, allow_mixed=False)
        assert "different environments: threads is 1" in problem.message


def test_a_timed_suite_does_not_take_trials_without_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    text = a_suite(tmp_path, {"SGD": "torch.optim.SGD"}).read_text()
    (folder / "a.yaml").write_text(text.replace("seeds: 1", "seeds: 1\ntimed: false"))
    (folder / "b.yaml").write_text(text)
    (folder / "c.yaml").write_text(text.replace("seeds: 1", "seeds: 1\ntimed: false"))
    done = optbench("run", "both", "--reruns", "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("1 trial copied from suites that ran before") == 1
    suites = {suite.name: suite.logs for suite in read([tmp_path / "results" / "both"]).suites}
    assert {name: [log.seconds_count for log in logs] for name, logs in suites.items()} == {
        "a": [False],
        "b": [True],
        "c": [False],
    }


def test_a_budget_in_seconds_is_timed(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    suite.write_text(
        suite.read_text().replace("3 epochs", "3 seconds").replace("seeds: 1", "seeds: 1\ntimed: false")
    )
    done = optbench("check", suite, cwd=tmp_path)
    assert done.returncode == 2
    assert "is in seconds; found false" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--slots", "1", "--jobs", "1"), "not both"), (("--slots", "1000"), "the number of cores")],
)
def test_slots_that_cannot_be_are_one_clear_error(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    done = optbench("run", a_suite(tmp_path, {"SGD": "torch.optim.SGD"}), *options, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
