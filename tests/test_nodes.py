"""Trials on several nodes: two executors on this machine are two nodes, whose processes meet over TCP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from fake_executor import FINISHED, FakeExecutor, events
from optbench.engine import checkpoint as checkpoints
from optbench.engine.network import Network
from optbench.errors import OptbenchError, Problem
from optbench.events import Evaluated, Event, Finished
from optbench.executor import parts
from optbench.executor.api import (
    Ended,
    Refused,
    Rendezvous,
    Settings,
    Slot,
    SlotLost,
    StopRequest,
    join_slots,
    take_slots,
)
from optbench.executor.descendants import children
from optbench.executor.dispatch import Dispatcher, Summary
from optbench.executor.joined_nodes import joined_nodes
from optbench.executor.local import LocalExecutor
from optbench.executor.parts import PartsExecutor
from optbench.executor.several_hosts import SeveralHosts
from optbench.store import SuiteFolder
from program import optbench
from ranks import FAULTY
from real_runs import SUITE, a_suite
from results_builder import ENVIRONMENT, curve, finished, started
from trials import RESUME_CASES
from two_nodes import ADAM, Nodes, one_trial

ON_TWO = SUITE.replace("  batch_size: 16\n", "  batch_size: 16\n  nodes: 2\n  devices: 3\n")
SGD = {"optimizers": {"A": {"use": "torch.optim.SGD", "lr": 0.5}}}


@pytest.fixture(scope="module")
def adam(tmp_path_factory: pytest.TempPathFactory) -> Nodes:
    """An undisturbed trial on two nodes."""
    folder = tmp_path_factory.mktemp("nodes")
    nodes = Nodes(one_trial(folder, {**ADAM, "nodes": 2}, **RESUME_CASES["adam with everything"]), folder)
    assert nodes.run().ended == {"completed": 1}, nodes.end.detail
    return nodes


def test_two_nodes_compute_what_two_devices_compute_bit_for_bit(tmp_path: Path, adam: Nodes) -> None:
    trial = one_trial(tmp_path, {**ADAM, "devices": 2}, **RESUME_CASES["adam with everything"])
    assert trial.id != adam.trial.id
    on_one = Nodes(trial, tmp_path, threads=2)
    assert on_one.run().ended == {"completed": 1}
    assert adam.records() == on_one.records()


def test_a_record_contains_the_environment_of_each_node(adam: Nodes) -> None:
    assert adam.log.started is not None
    environment = adam.log.started.environment
    assert environment["nodes"] == [{"host": environment["host"]}] * 2  # they differ in nothing else
    assert environment["threads"] == 1


def test_two_nodes_compute_the_gradients_of_one_process(tmp_path: Path) -> None:
    """After one step, from batches of unequal shares."""
    workload = {"batch_size": 15, "budget": "2 steps", "evaluate": {"every": "1 steps"}}
    weights = []
    for nodes in (1, 2):
        folder = tmp_path / str(nodes)
        folder.mkdir()
        bench = Nodes(one_trial(folder, {**workload, "nodes": nodes}, **SGD), folder)

        def keep(event: Event, bench: Nodes = bench) -> None:
            if isinstance(event, Evaluated) and event.step == 2:
                path = bench.results.checkpoint_path(bench.trial)
                state = checkpoints.load(path, bench.trial.id)
                assert state is not None
                assert state["counts"][0] == 1
                weights.append(state["model"])

        assert bench.run(keep).ended == {"completed": 1}, bench.end.detail
    assert len(weights) == 2
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-6)


def test_a_stopped_trial_resumes_exactly(tmp_path: Path, adam: Nodes) -> None:
    nodes = Nodes(one_trial(tmp_path, {**ADAM, "nodes": 2}, **RESUME_CASES["adam with everything"]), tmp_path)

    def stop(event: Event) -> None:
        if isinstance(event, Evaluated):
            nodes.stop.signal = signal.SIGINT

    ended = 0
    while nodes.run(stop).ended == {"interrupted": 1}:
        nodes.stop = StopRequest()
        ended += 1
    assert ended >= 2
    assert all(event.step > 0 for event in nodes.log.resumed)
    assert nodes.records() == adam.records()


@pytest.mark.parametrize("host", ["one", "two"])
@pytest.mark.parametrize("kills", ["part", "rank"])
def test_a_trial_that_lost_processes_resumes_exactly(
    tmp_path: Path, adam: Nodes, host: str, kills: str
) -> None:
    """Of a node, the process that runs its part or a process that trains is killed."""
    nodes = Nodes(one_trial(tmp_path, {**ADAM, "nodes": 2}, **RESUME_CASES["adam with everything"]), tmp_path)
    killed = []

    def kill(event: Event) -> None:
        if isinstance(event, Evaluated) and not killed:
            part = nodes.worker_of(host)
            killed.extend([part] if kills == "part" else children(part))
            os.kill(killed[0], signal.SIGKILL)

    nodes.run(kill)
    assert "was killed by SIGKILL" in nodes.end.detail
    assert nodes.end.at_fault == "infrastructure"
    assert nodes.run().ended == {"completed": 1}
    assert [event.step > 0 for event in nodes.log.resumed] == [True]
    assert nodes.records() == adam.records()


@pytest.mark.parametrize(
    ("label", "fault", "words"),
    [
        ("Raises", "optimizer", ["ValueError: on one rank only", "(in rank 1 of 2)"]),
        ("Hangs", "", ["no progress reported for 3 s", "node two:", "in fail", "node one:"]),
    ],
)
def test_a_fault_on_the_second_node_ends_the_trial(
    tmp_path: Path, label: str, fault: str, words: list[str]
) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    entry = {"optimizers": {"A": {"use": f"faulty.py:{label}", "lr": 0.1}}}
    nodes = Nodes(one_trial(tmp_path, {"nodes": 2}, **entry), tmp_path, stall_seconds=3)
    assert nodes.run().ended == {"failed": 1}
    assert nodes.end.at_fault == fault
    for text in words:
        assert text in nodes.end.detail


def test_nodes_with_other_versions_are_refused(tmp_path: Path) -> None:
    slots = tuple(Slot(host, "cpu", ENVIRONMENT | {"torch": host}, host=host) for host in ("a", "b"))
    executor = PartsExecutor(FakeExecutor(lambda unit: (), slots))
    one, two = (one_trial(tmp_path, {"nodes": nodes}, **SGD) for nodes in (1, 2))
    assert executor.open([one], print, StopRequest()) == slots
    with pytest.raises(OptbenchError, match="nodes a and b differ: torch is 'a' and 'b'"):
        executor.open([two], print, StopRequest())


def test_a_trial_takes_slots_of_as_many_nodes() -> None:
    gpus = [Slot(f"{host}:{i}", f"cuda:{i}", host=host) for host in "abc" for i in range(2)]
    taken = take_slots(gpus[1:], gpus, devices=2, nodes=2)
    assert taken is not None
    joined = join_slots(taken)
    assert (joined.host, joined.device, joined.others[0].host) == ("b", "cuda:0,cuda:1", "c")
    assert take_slots(gpus[3:], gpus, devices=2, nodes=2) is None
    with pytest.raises(OptbenchError, match=r"a trial needs 4 nodes with 2 devices each .* and there are 3"):
        take_slots(gpus, gpus, devices=2, nodes=4)
    with pytest.raises(OptbenchError, match=r"a trial needs 2 nodes \(`nodes: 2`\) and there is 1"):
        take_slots(gpus[:2], gpus[:2], devices=1, nodes=2)


class Scripted:
    """A trial on two nodes whose parts send what a test has prepared, by node."""

    def __init__(self, folder: Path, *scripts: list[Any], lost: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.trial = one_trial(folder, {"nodes": 2}, **SGD)
        slots = tuple(Slot(host, "cpu", ENVIRONMENT, host=host) for host in ("a", "b"))
        self.inner = FakeExecutor(lambda unit: scripts[unit.part.node], slots)  # type: ignore[union-attr]
        start = self.inner.start

        def start_unless_lost(unit: Any, slot: Slot) -> None:
            if slot.host == lost:
                raise SlotLost(slot.host)
            start(unit, slot)

        self.inner.start = start_unless_lost  # type: ignore[method-assign]
        self.folder = SuiteFolder.of(folder / "results", "tiny")
        self.folder.create()

    def run(self) -> list[Any]:
        """Return how the trial ended, as stored."""
        dispatcher = Dispatcher(PartsExecutor(self.inner), self.folder, Settings(), StopRequest())
        ends: list[Any] = []
        dispatcher.run_timed(
            [self.trial],
            self.inner.slots,
            lambda _, event: ends.append(event) if isinstance(event, Finished) else None,
        )
        return ends


def failed(fault: Any) -> Finished:
    return Finished("failed", detail="it failed", at_fault=fault)


def test_the_other_parts_start_when_the_first_waits_and_are_killed_when_it_ends(tmp_path: Path) -> None:
    trial = one_trial(tmp_path, {"nodes": 2}, **SGD)
    whole = [Rendezvous("a:1"), *events(trial.id, [started(), *curve([0.5, 0.9])[1:-1], finished(0.9)])]
    bench = Scripted(tmp_path, whole, [])
    assert [end.status for end in bench.run()] == ["completed"]
    kinds = [call[0] for call in bench.inner.calls]
    assert kinds[:2] == ["start", "start"]
    assert ("kill", f"{bench.inner.calls[0][1]}.node1") in bench.inner.calls
    assert not bench.inner.running


@pytest.mark.parametrize("fault", ["", "infrastructure"])
def test_a_lost_node_explains_the_failure_of_the_first_part(tmp_path: Path, fault: str) -> None:
    """A rank that lost its peers raises an error. The trial has not failed: it starts again, here five times."""
    trial = one_trial(tmp_path, {"nodes": 2}, **SGD)
    first = [Rendezvous("a:1"), ((trial.id, started()),), ((trial.id, failed(fault)),)]
    bench = Scripted(tmp_path, first, [Ended("host", "node b was lost")])
    *again, last = bench.run()
    assert [end.status for end in again] == ["interrupted"] * 5
    assert {end.reason for end in again} == {"node b was lost; it starts again from step 0"}
    assert (last.status, last.at_fault) == ("failed", "infrastructure")


def test_a_lost_connection_without_a_lost_node_is_no_failure_of_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_LOST_SECONDS", 0.2)
    trial = one_trial(tmp_path, {"nodes": 2}, **SGD)
    first = [Rendezvous("a:1"), ((trial.id, started()),), ((trial.id, failed("infrastructure")),)]
    ends = Scripted(tmp_path, first, []).run()
    assert {end.at_fault for end in ends} == {"infrastructure"}
    assert "the connection between the nodes of the trial was lost: it failed" in ends[0].detail


def test_a_failure_of_a_part_is_that_of_the_trial(tmp_path: Path) -> None:
    trial = one_trial(tmp_path, {"nodes": 2}, **SGD)
    first = [Rendezvous("a:1"), ((trial.id, started()),)]
    bench = Scripted(tmp_path, first, [((trial.id, failed("optimizer")),), FINISHED])
    [end] = bench.run()
    assert (end.status, end.at_fault) == ("failed", "optimizer")
    assert not bench.inner.running


def test_a_problem_of_a_part_ends_the_run(tmp_path: Path) -> None:
    bench = Scripted(tmp_path, [Rendezvous("a:1")], [Refused((Problem("the nodes cannot connect"),))])
    with pytest.raises(OptbenchError, match="the nodes cannot connect"):
        bench.run()
    assert not bench.inner.running


def test_without_enough_nodes_the_run_ends(tmp_path: Path) -> None:
    bench = Scripted(tmp_path, [Rendezvous("a:1")], [], lost="b")
    with pytest.raises(OptbenchError, match=r"a trial needs 2 nodes .* and there is 1"):
        bench.run()
    assert not bench.inner.running


def test_the_interface_of_an_address() -> None:
    assert Network("127.0.0.1:1", "127.0.0.1").interface() == "lo"
    assert Network("192.0.2.1:1", "192.0.2.1").interface() == ""


def test_nodes_join_over_tcp_and_get_checkpoint_and_files(tmp_path: Path, adam: Nodes) -> None:
    """The second node is a process of its own, as in a SLURM job. It is killed once, and the trial resumes on a new one."""
    nodes = Nodes(one_trial(tmp_path, {**ADAM, "nodes": 2}, **RESUME_CASES["adam with everything"]), tmp_path)
    settings = Settings(threads=1, allocator="default", checkpoint_seconds=0)

    def start(count: int) -> subprocess.Popen[bytes]:
        """As srun does: start a process that is not a child of the one that is killed."""
        command = f"exec 3<&0; setsid {sys.executable} -m optbench.executor.joined_nodes <&3 & echo $! >{tmp_path}/pid; wait"
        return subprocess.Popen(["bash", "-c", command], stdin=subprocess.PIPE, start_new_session=True)

    def run(listen: Callable[[Event], None]) -> Summary:
        with (
            closing(LocalExecutor(nodes.results.path, settings, tmp_path, "cpu")) as here,
            joined_nodes(1, start) as [other],
        ):
            other.configure(nodes.results.path, settings, str(tmp_path), "cpu")
            hosts = {"here": here, other.name: other}
            addresses = {"here": other.worker_address, other.name: other.address}
            with closing(PartsExecutor(SeveralHosts(hosts, addresses))) as executor:
                slots = executor.open([nodes.trial], lambda line: None, nodes.stop)
                dispatcher = Dispatcher(executor, nodes.results, settings, nodes.stop)
                return dispatcher.run_timed([nodes.trial], slots, lambda _, event: listen(event))

    def kill(event: Event) -> None:
        if isinstance(event, Evaluated):
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    with pytest.raises(OptbenchError, match=r"a trial needs 2 nodes .* and there is 1"):
        run(kill)
    assert nodes.end.at_fault == "infrastructure"
    assert "was lost; it resumes from its last checkpoint" in nodes.end.detail
    assert run(lambda event: None).ended == {"completed": 1}
    assert [event.step > 0 for event in nodes.log.resumed] == [True]
    assert nodes.records() == adam.records()


def test_nodes_that_do_not_join_are_one_message() -> None:
    start = lambda count: subprocess.Popen(["false"], stdin=subprocess.PIPE, start_new_session=True)  # noqa: E731
    message = (
        "0 of 2 other nodes have joined this worker and the command that starts them ended with exit code 1"
    )
    with pytest.raises(OptbenchError, match=message), joined_nodes(2, start):
        pass


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--executor", "shared")])
def test_one_machine_refuses_several_nodes(tmp_path: Path, options: tuple[str, ...]) -> None:
    suite = a_suite(tmp_path, {"A": "torch.optim.SGD"}, text=ON_TWO)
    done = optbench("run", suite.name, *options, cwd=tmp_path)
    executor = options[-1] if len(options) == 2 else "local"
    assert done.returncode == 2
    message = (
        f"tiny.yaml:7:3: workload.nodes: a trial on 2 nodes does not run with --executor {executor}: expected"
    )
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "results").exists()


def test_check_and_plan_state_the_number_of_nodes(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, {"A": "torch.optim.SGD"}, text=ON_TWO)
    for command in ("check", "plan"):
        done = optbench(command, suite.name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        words = (
            "'synthetic': each trial trains on 6 devices, 3 on each of 2 nodes, with --executor slurm or ray"
        )
        assert words in " ".join(done.stdout.split())


def test_a_slurm_script_requests_the_nodes(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, {"A": "torch.optim.SGD"}, text=ON_TWO)
    done = optbench("run", suite.name, "--executor", "slurm", "--dry-run", cwd=tmp_path)
    assert "#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=1\n" in done.stdout
