"""Runs on a real Ray cluster of two nodes: killed actors, nodes and drivers lose nothing, and records equal those of a local run."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.ray_cluster import Cluster, cluster, why_not
from optbench.store import read
from program import optbench
from real_runs import SUITE, Run, a_suite

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]
SLOW = """
import time, torch
from pause import SECONDS
class Slow(torch.optim.SGD):
    def step(self, closure=None):
        time.sleep(SECONDS)
        return super().step(closure)
"""
LABELS = {"Slow": "'slow.py:Slow'", "Adam": "torch.optim.Adam"}
OPTIONS = ("--threads", "1", "--checkpoint-interval", "0")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster(1, 1) as running:
        yield running


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of an undisturbed run on this machine."""
    folder = tmp_path_factory.mktemp("local")
    code, _, errors = Run(folder, ("run", a_slow_suite(folder, pause=0).name, *OPTIONS)).end(300)
    assert code == 0, errors
    return computed(folder)


def a_slow_suite(folder: Path, pause: float = 0.05, extra: str = "") -> Path:
    (folder / "slow.py").write_text(SLOW)
    (folder / "pause.py").write_text(f"SECONDS = {pause}\n")
    return a_suite(folder, LABELS, budget=8, text=SUITE.replace("seeds: 1", f"seeds: 2\n{extra}"))


def started(folder: Path, nodes: Cluster, *options: str) -> Run:
    return Run(folder, ("run", "tiny.yaml", "--executor", "ray", *OPTIONS, *options), nodes.environment)


def computed(folder: Path) -> Any:
    """Return what the trials computed: everything but times, by trial."""
    logs = read([folder / "results"]).suites[0].logs
    return {
        log.id: (
            [(event.step, repr(event.train_loss), event.metrics) for event in log.evaluations],
            log.finished.status,
            log.finished.final,
            log.finished.best_step,
            log.finished.state_bytes,
        )
        for log in logs
        if log.finished is not None
    }


def in_training(folder: Path) -> bool:
    return any('"evaluated"' in path.read_text() for path in (folder / "results/tiny/trials").glob("*Slow*"))


def resumed(folder: Path) -> list[int]:
    return [event.step for log in read([folder / "results"]).suites[0].logs for event in log.resumed]


def finish(run: Run, folder: Path) -> str:
    code, _, errors = run.end(300)
    assert code == 0, errors
    assert not run.survivors()
    assert not list((folder / "results/tiny/checkpoints").iterdir())
    return errors


def test_records_equal_those_of_a_local_run(tmp_path: Path, nodes: Cluster, expected: Any) -> None:
    a_slow_suite(tmp_path, pause=0)
    errors = finish(started(tmp_path, nodes), tmp_path)
    assert computed(tmp_path) == expected
    assert "(raylet)" not in errors


def test_a_sweep_fills_the_nodes(tmp_path: Path, nodes: Cluster) -> None:
    a_slow_suite(tmp_path, pause=0, extra="sensitivity: {lr: [0.5, 1, 2]}")
    finish(started(tmp_path, nodes, "--only", "Adam"), tmp_path)
    on_ray = computed(tmp_path)
    local = Run(tmp_path, ("run", "tiny.yaml", *OPTIONS, "--only", "Adam", "--results", "local/results"))
    code, _, errors = local.end(300)
    assert code == 0, errors
    assert on_ray == computed(tmp_path / "local")


def test_a_killed_actor_is_replaced_and_its_trials_continue(
    tmp_path: Path, nodes: Cluster, expected: Any
) -> None:
    a_slow_suite(tmp_path)
    run = started(tmp_path, nodes)
    run.until(lambda: in_training(tmp_path))
    for pid in nodes.hosts():
        os.kill(pid, signal.SIGKILL)
    finish(run, tmp_path)
    assert any(step > 0 for step in resumed(tmp_path))
    assert computed(tmp_path) == expected


def test_trials_of_a_killed_node_continue_on_the_others(
    tmp_path: Path, nodes: Cluster, expected: Any
) -> None:
    extra = nodes.add_node(1)
    a_slow_suite(tmp_path)
    run = started(tmp_path, nodes)
    run.until(lambda: in_training(tmp_path))
    nodes.kill_node(extra)
    finish(run, tmp_path)
    assert computed(tmp_path) == expected


def test_a_killed_trial_process_continues_in_the_same_run(
    tmp_path: Path, nodes: Cluster, expected: Any
) -> None:
    a_slow_suite(tmp_path)
    run = started(tmp_path, nodes)
    run.until(lambda: in_training(tmp_path))
    [trial, *_] = nodes.trial_processes()
    os.kill(trial, signal.SIGKILL)
    finish(run, tmp_path)
    assert resumed(tmp_path)
    assert computed(tmp_path) == expected


def test_a_killed_driver_continues_when_it_is_started_again(
    tmp_path: Path, nodes: Cluster, expected: Any
) -> None:
    a_slow_suite(tmp_path)
    run = started(tmp_path, nodes)
    run.until(lambda: in_training(tmp_path))
    run.process.kill()
    run.process.wait()
    finish(started(tmp_path, nodes), tmp_path)
    assert resumed(tmp_path)
    assert computed(tmp_path) == expected


def test_ctrl_c_writes_checkpoints_and_the_next_run_resumes(
    tmp_path: Path, nodes: Cluster, expected: Any
) -> None:
    a_slow_suite(tmp_path)
    run = started(tmp_path, nodes)
    run.until(lambda: in_training(tmp_path))
    run.process.send_signal(signal.SIGINT)
    code, _, errors = run.end(120)
    assert code == 130, errors
    assert list((tmp_path / "results/tiny/checkpoints").iterdir())
    finish(started(tmp_path, nodes), tmp_path)
    assert computed(tmp_path) == expected


def test_resources_that_the_cluster_does_not_have_are_one_message(tmp_path: Path, nodes: Cluster) -> None:
    a_slow_suite(tmp_path)
    code, _, errors = started(tmp_path, nodes, "--device", "cuda").end(120)
    assert code == 2
    assert "error: --device: the cluster has 2 nodes with 2 CPUs and no GPU" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "results/tiny/plan.json").exists()


def test_an_address_without_a_cluster_is_one_message(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    a_slow_suite(tmp_path)
    done = optbench("run", "tiny.yaml", "--executor", "ray", "--address", address, cwd=tmp_path)
    assert done.returncode == 2
    assert f"error: --address: cannot connect to Ray at {address}: Connection refused" in done.stderr
