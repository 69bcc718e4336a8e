"""Runs on a real Ray cluster of two nodes: killed actors, nodes and drivers lose nothing, and records equal those of a local run."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.ray_cluster import Cluster, cluster, hosts_below, why_not
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
KILLS = int(os.environ.get("KILLS", "30"))
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


def test_trials_of_a_node_that_will_be_preempted_continue_on_the_others(
    tmp_path: Path, nodes: Cluster, expected: Any
) -> None:
    extra = nodes.add_node(1)
    node = nodes.node_id(extra)
    a_slow_suite(tmp_path)
    run = started(tmp_path, nodes, "--checkpoint-interval", "1000")
    run.until(lambda: in_training(tmp_path))
    nodes.drain(node)
    errors = finish(run, tmp_path)
    nodes.kill_node(extra)
    assert "takes node" in errors
    assert resumed(tmp_path)
    assert all(step > 0 for step in resumed(tmp_path))  # the notice left time for a checkpoint
    assert computed(tmp_path) == expected


def test_thirty_kills_at_random_moments_change_nothing(tmp_path: Path, nodes: Cluster, expected: Any) -> None:
    """Of processes that train, of whole nodes and of drivers. A run that did not end with all its trials is started again."""
    draw, kills = random.Random(0), 0
    kinds: Counter[str] = Counter()
    a_slow_suite(tmp_path, pause=0.1)
    while True:
        run = started(tmp_path, nodes)
        while kills < KILLS and run.process.poll() is None:
            time.sleep(draw.uniform(0.5, 4))
            kind = draw.choice(["trial", "actor", "node", "driver"])
            trials, hosts = nodes.trial_processes(), nodes.hosts()
            if kind == "node":
                nodes.kill_node(nodes.nodes[-1])
                nodes.add_node(1)
            elif kind == "driver":
                run.process.kill()
            elif victims := trials if kind == "trial" else hosts:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(draw.choice(victims), signal.SIGKILL)
            else:
                continue
            kills, kinds = kills + 1, kinds + Counter([kind])
        code, _, errors = run.end(300)
        if code == 0 and kills >= KILLS:
            break
        if code == 0:  # all trials have ended: again, in a new folder
            assert computed(tmp_path) == expected
            shutil.rmtree(tmp_path / "results")
            continue
        assert code in (-signal.SIGKILL, 1, 2), errors  # 1: a trial was killed five times in this run
        assert code != 2 or "nodes" in errors, errors
    print(f"kills: {dict(kinds)}")
    assert computed(tmp_path) == expected
    assert not list((tmp_path / "results/tiny/checkpoints").iterdir())


def test_a_trial_on_two_devices_and_a_stack(tmp_path: Path, nodes: Cluster) -> None:
    """As on this machine: two processes share the CPUs of a node; a sweep of a small model is one program."""
    a_slow_suite(tmp_path, pause=0, extra="sensitivity: {lr: [0.5, 1, 2]}")
    suite = tmp_path / "tiny.yaml"
    stacked = suite.read_text()
    several = stacked.replace("  batch_size: 16\n", "  batch_size: 16\n  devices: 2\n")
    for name, text in (("stacked", stacked), ("several", several)):
        suite.write_text(text)
        options = ("--only", "Adam", "--results", f"{name}/results")
        code, _, errors = started(tmp_path, nodes, *options).end(300)
        assert code == 0, errors
        on_ray = computed(tmp_path / name)
        options = ("--only", "Adam", "--results", f"{name}-local/results")
        code, _, errors = Run(tmp_path, ("run", "tiny.yaml", *OPTIONS, *options)).end(300)
        assert code == 0, errors
        assert on_ray == computed(tmp_path / f"{name}-local")


def test_a_run_can_be_watched_and_reported_meanwhile_and_has_one_driver(
    tmp_path: Path, nodes: Cluster, expected: Any
) -> None:
    a_slow_suite(tmp_path)
    run = started(tmp_path, nodes)
    run.until(lambda: in_training(tmp_path))
    watch = Run(tmp_path, ("watch", "results/tiny"))
    reported = optbench("report", "results/tiny", cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr
    assert "Slow" in reported.stdout
    code, _, errors = started(tmp_path, nodes).end(120)
    assert code == 2
    assert "is running this suite in this folder" in errors
    finish(run, tmp_path)
    code, output, errors = watch.end(60)
    assert code == 0, errors
    assert "Slow" in output
    assert computed(tmp_path) == expected


def test_a_gpu_type_that_the_cluster_does_not_have_is_one_message(tmp_path: Path, nodes: Cluster) -> None:
    a_slow_suite(tmp_path, extra="resources: {gpu: 1, accelerator_type: H100}")
    code, _, errors = started(tmp_path, nodes).end(120)
    assert code == 2
    assert (
        "error: resources: the suite requires a GPU of type H100; the cluster has 2 nodes with 2 CPUs"
        in errors
    )
    assert not (tmp_path / "results/tiny/plan.json").exists()


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


def test_without_an_address_ray_is_started_here_and_trials_have_normal_priority(
    tmp_path: Path, expected: Any
) -> None:
    a_slow_suite(tmp_path)
    run = Run(tmp_path, ("run", "tiny.yaml", "--executor", "ray", *OPTIONS))
    run.until(lambda: in_training(tmp_path))
    hosts = hosts_below(run.process.pid)
    assert hosts
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in hosts} == {os.getpriority(os.PRIO_PROCESS, 0)}
    finish(run, tmp_path)
    assert computed(tmp_path) == expected


def test_an_address_without_a_cluster_is_one_message(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    a_slow_suite(tmp_path)
    done = optbench("run", "tiny.yaml", "--executor", "ray", "--address", address, cwd=tmp_path)
    assert done.returncode == 2
    assert f"error: --address: cannot connect to Ray at {address}: Connection refused" in done.stderr


def on_two_nodes(folder: Path, pause: float = 0.05) -> None:
    suite = a_slow_suite(folder, pause)
    text = suite.read_text().replace("  batch_size: 16\n", "  batch_size: 16\n  nodes: 2\n")
    suite.write_text(text.replace("seeds: 2", "seeds: 1"))


def values(folder: Path) -> Any:
    """Return what the trials computed, in order of their names: ids differ with `nodes`."""
    return list(computed(folder).values())


@pytest.fixture(scope="module")
def expected_of_two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of an undisturbed run with two devices on this machine."""
    folder = tmp_path_factory.mktemp("devices")
    suite = a_slow_suite(folder, pause=0)
    text = suite.read_text().replace("  batch_size: 16\n", "  batch_size: 16\n  devices: 2\n")
    suite.write_text(text.replace("seeds: 2", "seeds: 1"))
    code, _, errors = Run(folder, ("run", suite.name, "--threads", "2")).end(300)
    assert code == 0, errors
    return values(folder)


def test_a_trial_on_two_nodes_computes_what_two_devices_compute(
    tmp_path: Path, nodes: Cluster, expected_of_two: Any
) -> None:
    on_two_nodes(tmp_path, pause=0)
    finish(started(tmp_path, nodes), tmp_path)
    assert values(tmp_path) == expected_of_two
    [log, _] = read([tmp_path / "results"]).suites[0].logs
    assert log.started is not None
    assert len(log.started.environment["nodes"]) == 2


@pytest.mark.parametrize("victim", ["first part", "second part", "actor", "node"])
def test_a_trial_on_two_nodes_continues_when_one_is_lost(
    tmp_path: Path, nodes: Cluster, expected_of_two: Any, victim: str
) -> None:
    if victim == "node":
        nodes.add_node(1)
    on_two_nodes(tmp_path)
    run = started(tmp_path, nodes)
    run.until(lambda: in_training(tmp_path))
    if victim == "node":
        node = nodes.training_node()
        nodes.kill_node(node)
    elif victim == "actor":
        os.kill(nodes.hosts()[1], signal.SIGKILL)
    else:
        os.kill(nodes.trial_processes()[victim == "second part"], signal.SIGKILL)
    finish(run, tmp_path)
    assert any(step > 0 for step in resumed(tmp_path))
    assert values(tmp_path) == expected_of_two


def test_a_trial_on_two_nodes_leaves_a_draining_node(
    tmp_path: Path, nodes: Cluster, expected_of_two: Any
) -> None:
    nodes.add_node(1)
    on_two_nodes(tmp_path, pause=0.4)  # longer than the command that drains takes
    run = started(tmp_path, nodes, "--checkpoint-interval", "1000")
    run.until(lambda: in_training(tmp_path))
    leaving = nodes.training_node()
    nodes.drain(nodes.node_id(leaving))
    finish(run, tmp_path)
    assert resumed(tmp_path)
    assert all(step > 0 for step in resumed(tmp_path))
    nodes.kill_node(leaving)
    assert values(tmp_path) == expected_of_two


def test_more_nodes_than_the_cluster_has_are_one_message(tmp_path: Path, nodes: Cluster) -> None:
    on_two_nodes(tmp_path)
    suite = tmp_path / "tiny.yaml"
    suite.write_text(suite.read_text().replace("nodes: 2", "nodes: 5"))
    code, _, errors = started(tmp_path, nodes).end(120)
    assert code == 2
    assert "error: nodes: a trial needs 5 nodes (`nodes: 5`) and there are" in errors
