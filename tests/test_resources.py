"""What a suite requires of machines: `resources: {gpu: 1, accelerator_type: H100}`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optbench.catalog.check import problems
from optbench.errors import OptbenchError
from optbench.executor import ray_cluster
from optbench.executor.worker import _suitable
from optbench.runner import slurm
from optbench.store import SuiteFolder
from optbench.suite.dump import dump
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.resources import Resources
from program import optbench
from real_runs import SUITE, a_suite
from test_ray import _Nodes, names

H100 = Resources(gpu=1, accelerator_type="H100")
SGD = {"SGD": "torch.optim.SGD"}


def a_suite_with(folder: Path, resources: str, workload: str = "") -> Path:
    text = SUITE.replace("seeds: 1", f"seeds: 1\nresources: {resources}")
    return a_suite(folder, SGD, text=text.replace("  batch_size: 16\n", f"  batch_size: 16\n{workload}"))


@pytest.mark.parametrize(
    ("wanted", "name", "is_accepted"),
    [
        ("H100", "NVIDIA H100 80GB HBM3", True),
        ("h100", "NVIDIA H100 80GB HBM3", True),
        ("H100", "NVIDIA GH200 480GB", False),
        ("H100", "NVIDIA A100-SXM4-80GB", False),
        ("A100", "NVIDIA A100-SXM4-80GB", True),
        ("A100-80GB", "NVIDIA A100-SXM4-80GB", True),
        ("A100-40GB", "NVIDIA A100-SXM4-80GB", False),
        ("RTX 4090", "NVIDIA GeForce RTX 4090", True),
        ("4090", "NVIDIA GeForce RTX 4090 Ti", True),
        ("A10", "NVIDIA A100-SXM4-80GB", False),
    ],
)
def test_a_type_is_compared_with_the_words_of_a_name(wanted: str, name: str, is_accepted: bool) -> None:
    assert Resources(accelerator_type=wanted).accepts(name) is is_accepted


def test_the_suite_keeps_them_and_ids_do_not_depend_on_them(tmp_path: Path) -> None:
    loaded = load(a_suite_with(tmp_path, "{gpu: 1, accelerator_type: H100}"))
    assert loaded.suite.resources == H100
    assert dump(loaded.suite)["resources"] == {"gpu": 1, "accelerator_type": "H100"}
    assert [trial.id for trial in plan(loaded)] == [trial.id for trial in plan(load(a_suite(tmp_path, SGD)))]


@pytest.mark.parametrize(
    ("resources", "workload", "message"),
    [
        ("{gpus: 1}", "", "gpu"),
        ("{gpu: -1}", "", "0"),
        ("{gpu: 0, accelerator_type: H100}", "", "`gpu: 0` uses no GPU"),
        ("{gpu: 2}", "", "expected as many GPUs as `devices` of the workload, 1; found 2"),
        ("{gpu: 1}", "  devices: 2\n", "expected as many GPUs as `devices` of the workload, 2; found 1"),
    ],
)
def test_wrong_resources_are_reported_by_line(
    tmp_path: Path, resources: str, workload: str, message: str
) -> None:
    a_suite_with(tmp_path, resources, workload)
    done = optbench("check", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "tiny.yaml:" in done.stderr
    assert not problems(load(a_suite(tmp_path, SGD)), tmp_path)


@pytest.mark.parametrize(
    ("resources", "options", "message"),
    [
        ("{accelerator_type: Z9000}", (), "error: resources: the suite requires a GPU of type Z9000; found "),
        (
            "{gpu: 1}",
            ("--device", "cpu"),
            "error: --device: the suite requires a GPU (`resources`); found cpu",
        ),
        (
            "{gpu: 0}",
            ("--device", "cuda"),
            "error: --device: the suite requires a CPU (`resources`); found cuda",
        ),
    ],
)
def test_a_machine_without_them_is_refused_before_anything_runs(
    tmp_path: Path, resources: str, options: tuple[str, ...], message: str
) -> None:
    a_suite_with(tmp_path, resources)
    done = optbench("run", "tiny.yaml", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "results/tiny/plan.json").exists()


def test_devices_of_another_type_are_left_out() -> None:
    devices = {
        "cuda:0": {"device": "cuda", "device_name": "NVIDIA A100-SXM4-80GB"},
        "cuda:1": {"device": "cuda", "device_name": "NVIDIA H100 80GB HBM3"},
    }
    assert list(_suitable(devices, H100)) == ["cuda:1"]
    assert _suitable(devices, Resources(gpu=1)) == devices
    with pytest.raises(OptbenchError, match=r"requires a GPU of type T4; found NVIDIA A100.*, NVIDIA H100"):
        _suitable(devices, Resources(accelerator_type="T4"))
    with pytest.raises(OptbenchError, match="requires a GPU; found AMD EPYC"):
        _suitable({"cpu": {"device": "cpu", "device_name": "AMD EPYC"}}, Resources(gpu=1))


def test_nodes_with_another_type_are_left_out() -> None:
    nodes: Any = _Nodes(
        {"CPU": 8, "GPU": 2, "accelerator_type:A100": 1},
        {"CPU": 8, "GPU": 2, "accelerator_type:H100": 1},
        {"CPU": 8, "GPU": 2},  # Ray does not know which: the node itself compares
    )
    assert names(ray_cluster.suitable_nodes(nodes, "auto", H100)) == ["host1", "host2"]
    only: Any = _Nodes({"CPU": 8, "GPU": 1, "accelerator_type:T4": 1}, {"CPU": 8})
    with pytest.raises(OptbenchError, match="requires a GPU of type H100; the cluster has GPUs of type T4"):
        ray_cluster.suitable_nodes(only, "auto", H100)
    with pytest.raises(OptbenchError, match="requires a GPU; the cluster has 1 node with 8 CPUs and no GPU"):
        ray_cluster.suitable_nodes(_Nodes({"CPU": 8}), "auto", Resources(gpu=1))


@pytest.mark.parametrize(
    ("resources", "options", "line"),
    [
        (H100, (), "#SBATCH --gres=gpu:h100:1"),
        (Resources(gpu=4), (), "#SBATCH --gres=gpu:4"),
        (Resources(accelerator_type="A100"), (), "#SBATCH --gres=gpu:a100:1"),
        (H100, ("--gres=gpu:nvidia_h100_80gb_hbm3:1",), None),
        (H100, ("--gpus=h100:1",), None),
        (H100, ("-G 1",), None),
        (H100, ("-G2",), None),
        (H100, ("--gpus-per-task=1",), None),
        (H100, ("--gpus-per-node=h100:1",), None),
        (H100, ("--comment=run-G",), "#SBATCH --gres=gpu:h100:1"),
        (Resources(gpu=0), (), None),
        (Resources(), (), None),
    ],
)
def test_a_slurm_script_requests_the_gpus_unless_the_user_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resources: Resources, options: Any, line: str | None
) -> None:
    monkeypatch.setattr(slurm, "user_file", lambda: tmp_path / "none")
    script = slurm.script(SuiteFolder(tmp_path), "tiny", "1", options, resources).splitlines()
    requests = [one for one in script if "--gres=gpu" in one or "gpus" in one or "-G" in one]
    assert requests == [*(f"#SBATCH {option}" for option in options), *([line] if line is not None else [])]
