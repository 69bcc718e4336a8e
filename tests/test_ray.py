"""The Ray executor without a cluster: its node process, its messages to users, and the manifest for Kubernetes."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from optbench.errors import OptbenchError
from optbench.events import Evaluated, Finished
from optbench.executor import ray_cluster
from optbench.executor.api import Ended, Message, Settings, Unit
from optbench.executor.node_host import Host
from optbench.executor.suite_files import suite_files
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.resources import Resources
from program import optbench
from real_runs import a_suite

ANY = Resources()
OFTEN = Settings(threads=1, checkpoint_seconds=0)
PLUGIN = """
import torch
from neighbour import Base
class Own(Base):
    pass
"""
NEIGHBOUR = """
import torch
Base = torch.optim.SGD
"""


@pytest.fixture
def trials(tmp_path: Path) -> Any:
    (tmp_path / "own.py").write_text(PLUGIN)
    (tmp_path / "neighbour.py").write_text(NEIGHBOUR)
    return plan(load(a_suite(tmp_path, {"Own": "'own.py:Own'"})))


@pytest.fixture
def host(trials: Any) -> Any:
    files = suite_files(trials)
    host = Host(files, OFTEN, None, "cpu", cores=2)
    yield host
    host.close()


def train(host: Host, unit: Unit, slot: Any, checkpoint: bytes | None = None, stop_after: int = 99) -> Any:
    """Return the messages and the checkpoints of a unit. A stop is requested in the answer to evaluation `stop_after`."""
    messages: list[Message] = []
    checkpoints: list[bytes] = []
    for message, content in host.run(unit, slot, checkpoint):
        if content is not None:
            checkpoints.append(content)
            continue
        assert message is not None
        messages.append(message)
        host.answer(unit.execution, len(evaluations(messages)) >= stop_after)
    return messages, checkpoints


def evaluations(messages: list[Message]) -> list[Any]:
    events = [event for m in messages if isinstance(m.content, tuple) for _, event in m.content]
    return [(e.step, e.train_loss, e.metrics) for e in events if isinstance(e, Evaluated)]


def test_a_node_trains_a_plugin_and_continues_from_the_checkpoint_it_is_sent(host: Host, trials: Any) -> None:
    *lines, (slot,) = host.open(trials)
    assert all(isinstance(line, str) for line in lines)
    assert (slot.device, slot.threads, slot.host_cores) == ("cpu", 1, 2)
    trial = trials[0].model_copy(update={"folder": ""})
    whole, checkpoints = train(host, Unit("a", (trial,), OFTEN, "a.pt", execution=1), slot)
    assert whole[-1].content == Ended("finished")
    assert checkpoints
    assert {message.execution for message in whole} == {1}
    first, [*_, last] = train(host, Unit("a", (trial,), OFTEN, "a.pt", execution=2), slot, stop_after=1)
    [(_, end)] = first[-2].content
    assert isinstance(end, Finished)
    assert end.status == "interrupted"
    rest, _ = train(host, Unit("a", (trial,), Settings(1), "a.pt", execution=3), slot, last)
    assert 0 < len(evaluations(first)) < len(evaluations(whole))
    assert evaluations(first) + evaluations(rest) == evaluations(whole)


def test_a_unit_can_be_killed_while_it_waits_for_an_answer(host: Host, trials: Any) -> None:
    *_, (slot,) = host.open(trials)
    trial = trials[0].model_copy(update={"folder": ""})
    stream = host.run(Unit("a", (trial,), Settings(1), "a.pt", execution=7), slot, None)
    next(stream)
    ended = threading.Thread(target=lambda: list(stream), daemon=True)
    ended.start()
    assert isinstance(host.kill(7, show_stacks=False), str)
    ended.join(30)
    assert not ended.is_alive()
    assert host.kill(7, show_stacks=False) == ""


def test_files_beside_a_plugin_travel(trials: Any, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("")
    (tmp_path / "package/part.py").write_text("x = 1")
    (tmp_path / "not_a_package").mkdir()
    (tmp_path / "not_a_package/big.py").write_text("")
    (tmp_path / ".secret").write_text("")
    with (tmp_path / "data.bin").open("wb") as file:
        file.truncate(10_000_001)
    files = suite_files(trials)
    assert set(files) == {"own.py", "neighbour.py", "tiny.yaml", "package/__init__.py", "package/part.py"}
    assert files["own.py"] == PLUGIN.encode()


def test_without_ray_one_message_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    done = optbench("run", "tiny.yaml", "--executor", "ray", cwd=tmp_path)
    assert done.returncode == 2
    assert "--executor: requires Ray, which is not installed: pip install 'optbench[ray]'" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "executor"),
    [("--address", "head:6379", "ray"), ("--workers", "8", "slurm"), ("--sbatch", "--time=1:00", "slurm")],
)
def test_an_option_of_another_executor_is_one_message(
    tmp_path: Path, option: str, value: str, executor: str
) -> None:
    a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    done = optbench("run", "tiny.yaml", f"{option}={value}", cwd=tmp_path)
    assert done.returncode == 2
    assert f"{option}: requires --executor {executor}" in done.stderr


class _Nodes:
    """What Ray returns about a cluster with these resources of its nodes."""

    def __init__(self, *resources: dict[str, float]) -> None:
        self._resources = resources

    def nodes(self) -> Any:
        return [
            {"Alive": True, "NodeID": str(number), "NodeManagerHostname": f"host{number}", "Resources": one}
            for number, one in enumerate(self._resources)
        ]


def names(nodes: Any) -> list[str]:
    return [node["NodeManagerHostname"] for node in nodes]


def test_nodes_with_gpus_are_used_and_otherwise_those_with_processors() -> None:
    mixed = _Nodes({"CPU": 0}, {"CPU": 8}, {"CPU": 8, "GPU": 2})
    assert names(ray_cluster.suitable_nodes(mixed, "auto", ANY)) == ["host2"]
    assert names(ray_cluster.suitable_nodes(mixed, "cpu", ANY)) == ["host1", "host2"]
    assert names(ray_cluster.suitable_nodes(_Nodes({"CPU": 0}, {"CPU": 8}), "auto", ANY)) == ["host1"]


@pytest.mark.parametrize(
    ("nodes", "device", "message"),
    [
        (_Nodes({"CPU": 8}), "cuda", "--device: the cluster has 1 node with 8 CPUs and no GPU: add a node"),
        (_Nodes({"CPU": 0}), "auto", "--address: the cluster has 1 node with 0 CPUs and no GPU: add a node"),
        (_Nodes({"CPU": 8}), "cuda:1", "--device: with --executor ray expected auto, cpu or cuda"),
    ],
)
def test_missing_resources(nodes: Any, device: str, message: str) -> None:
    with pytest.raises(OptbenchError) as error:
        ray_cluster.suitable_nodes(nodes, device, ANY)
    assert str(error.value).startswith(message)


def test_a_node_is_free_if_all_its_processors_or_one_of_its_gpus_are() -> None:
    on_cpu, on_gpu = {"Resources": {"CPU": 8.0}}, {"Resources": {"CPU": 8.0, "GPU": 2.0}}
    assert ray_cluster.is_free(on_cpu, {"CPU": 8.0})
    assert not ray_cluster.is_free(on_cpu, {"CPU": 7.0})
    assert ray_cluster.is_free(on_gpu, {"CPU": 1.0, "GPU": 1.0})
    assert not ray_cluster.is_free(on_gpu, {"CPU": 8.0})
    assert not ray_cluster.is_free(on_cpu, None)


def test_the_manifest_for_kubernetes_is_consistent() -> None:
    """Fields of KubeRay's RayCluster v1, the health checks, and workers whose requests equal their limits."""
    page = (Path(__file__).parents[1] / "docs/ray.md").read_text()
    [block] = re.findall(r"```yaml\n# optbench-cluster.yaml\n(.*?)```", page, re.DOTALL)
    cluster, claim = yaml.safe_load_all(block)
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert set(cluster["spec"]) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    head, [workers] = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert set(head) == {"rayStartParams", "template"}
    assert set(workers) == set(head) | {"groupName", "replicas", "minReplicas", "maxReplicas"}
    assert all(isinstance(value, str) for value in head["rayStartParams"].values())
    for group in (head, workers):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {
            one["name"] for one in pod["volumes"]
        }
        assert all(isinstance(variable["value"], str) for variable in container["env"])
    [volume] = head["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    variables = {one["name"] for one in head["template"]["spec"]["containers"][0]["env"]}
    assert {name for name in variables if name.startswith("RAY_")} == set(re.findall(r"RAY_[a-z]\w+", page))
    nice = {"name": "RAY_worker_niceness", "value": "0"}  # of every node
    assert nice in workers["template"]["spec"]["containers"][0]["env"]
