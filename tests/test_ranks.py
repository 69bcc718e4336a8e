"""Trials on several devices: two processes compute what one computes, resume exactly, and end cleanly when one of them fails."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from optbench.engine import checkpoint as checkpoints
from optbench.errors import OptbenchError
from optbench.events import Finished
from optbench.executor.api import Slot, join_slots, take_slots
from optbench.executor.worker import WorkerEnded
from optbench.store import read
from optbench.suite.types import Trial
from program import optbench
from ranks import FAULTY, one_trial, stopped_often, train_in_processes
from real_runs import SUITE, Run, a_suite
from trials import RESUME_CASES, evaluations, finished, records, run

SGD = {"optimizers": {"A": {"use": "torch.optim.SGD", "lr": 0.5}}}
EQUAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sgd": ({}, SGD),
    "unequal shares": ({"batch_size": 15}, SGD),
    "micro-batches and clipping": ({"batch_size": 14, "accumulate": 3}, SGD | {"clip": {"norm": 0.2}}),
    "clipping by value": ({}, SGD | {"clip": {"value": 0.01}}),
    "own units": ({"task": "task.py:Task", "metrics": ["loss"]}, SGD),
    "unused parameters": ({"model": "unused.py:net"}, SGD),
    "batch norm over the whole batch": (
        {"model": "norm.py:net", "sync_batch_norm": True, "accumulate": 2},
        SGD,
    ),
    "lbfgs": ({}, {"optimizers": {"A": {"use": "torch.optim.LBFGS", "lr": 0.1, "max_iter": 3}}}),
    "adamw with ema": (
        {},
        {"optimizers": {"A": {"use": "torch.optim.AdamW", "lr": 1e-2}}, "ema": {"decay": 0.8}},
    ),
}


def weights_after_one_step(trial: Trial, folder: Path) -> dict[str, Tensor]:
    """The weights in the checkpoint of a trial that is stopped at once."""
    path = folder / f"{trial.id}.pt"
    if trial.workload.devices == 1:
        events = run(trial, folder, checkpoint=path, should_stop=lambda: True)
    else:
        events = list(train_in_processes(trial, folder, checkpoint=path, stop=True))
    assert finished(events).status == "interrupted", finished(events).detail
    state = checkpoints.load(path, trial.id)
    assert state is not None
    assert state["counts"][0] == 1
    weights: dict[str, Tensor] = state["model"]
    return weights


@pytest.mark.parametrize("case", EQUAL)
def test_two_processes_compute_the_gradients_of_one(case: str, tmp_path: Path) -> None:
    workload, changes = EQUAL[case]
    one, two = (one_trial(tmp_path, devices, workload, **changes) for devices in (1, 2))
    expected, weights = (weights_after_one_step(trial, tmp_path) for trial in (one, two))
    tolerance = 1e-5 if case == "lbfgs" else 1e-6  # three inner iterations
    moved = 0.0
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=tolerance)
        moved += float(tensor.abs().sum())
    assert moved > 0
    before, after = evaluations(run(one, tmp_path)), evaluations(list(train_in_processes(two, tmp_path)))
    assert [e.step for e in after] == [e.step for e in before]
    for alone, together in zip(before, after, strict=True):
        assert together.train_loss == pytest.approx(alone.train_loss, abs=1e-4)
        assert together.gradient_norm == pytest.approx(alone.gradient_norm, rel=1e-3)
        assert together.clipped_steps == alone.clipped_steps
        assert together.metrics["validation"]["loss"] == pytest.approx(
            alone.metrics["validation"]["loss"], abs=1e-4
        )


def test_batch_norm_over_shares_differs_from_one_process(tmp_path: Path) -> None:
    one, two = (one_trial(tmp_path, devices, {"model": "norm.py:net"}, **SGD) for devices in (1, 2))
    expected, weights = (weights_after_one_step(trial, tmp_path) for trial in (one, two))
    assert (weights["0.weight"] - expected["0.weight"]).abs().max() > 1e-4
    assert (weights["1.running_mean"] - expected["1.running_mean"]).abs().max() > 1e-4


@pytest.mark.parametrize("case", ["adam with everything", "lbfgs"])
def test_resuming_on_two_processes_changes_no_record(case: str, tmp_path: Path) -> None:
    workload = {"model": "net.py:net", "budget": "4 steps", "evaluate": {"every": "2 steps"}}
    trial = one_trial(tmp_path, 2, workload, **RESUME_CASES[case])
    undisturbed = records(list(train_in_processes(trial, tmp_path)))
    interrupted = list(stopped_often(trial, tmp_path, tmp_path / "a.pt"))
    assert sum(isinstance(event, Finished) for event in interrupted) > 3
    assert repr(records(interrupted)) == repr(undisturbed)


def test_dropout_masks_differ_between_processes(tmp_path: Path) -> None:
    """With equal masks, equal samples would have equal gradients on both, and half of the batch would train like all of it."""
    (tmp_path / "drop.py").write_text(
        "import torch, torch.distributed as dist\n"
        "from torch import nn\n"
        "class net(nn.Module):\n"
        "    def __init__(self, shape, classes):\n"
        "        super().__init__()\n"
        "        self.out = nn.Linear(shape[0], classes)\n"
        "    def forward(self, x):\n"
        "        if self.training and dist.is_initialized():\n"
        "            drawn = torch.rand(1)\n"
        "            both = [torch.empty(1), torch.empty(1)]\n"
        "            dist.all_gather(both, drawn)\n"
        "            assert both[0] != both[1], 'equal'\n"
        "        return self.out(x)\n"
    )
    events = list(train_in_processes(one_trial(tmp_path, 2, {"model": "drop.py:net"}, **SGD), tmp_path))
    assert finished(events).status == "completed", finished(events).detail


def test_a_killed_process_ends_the_trial(tmp_path: Path) -> None:
    trial = one_trial(tmp_path, 2, {"budget": "100000 steps"}, **SGD)

    with pytest.raises(WorkerEnded, match=r"rank 1 of 2.* was killed by SIGKILL") as raised:
        list(train_in_processes(trial, tmp_path, kill=True))
    assert raised.value.ended.signal == signal.SIGKILL


FAULTS = [
    ("Killed", "failed", "infrastructure", "rank 1 of 2) was killed by SIGKILL"),
    ("Hangs", "failed", "", "no progress reported for 10 s"),
    ("Hangs", "failed", "", "in fail"),  # the stacks of all processes
    ("Raises", "failed", "optimizer", "(in rank 1 of 2)"),
    ("Raises", "failed", "optimizer", "on one rank only"),
    ("Memory", "out_of_memory", "", "(in rank 1 of 2)"),
    ("Drifts", "failed", "optimizer", "the parameters of rank 1 differ from those of rank 0"),
    ("OnAll", "failed", "optimizer", "on every rank"),
    ("Healthy", "completed", "", ""),
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "faulty.py").write_text(FAULTY)
    uses = {label: f"'faulty.py:{label}'" for label, *_ in FAULTS}
    text = SUITE.replace("batch_size: 16", "batch_size: 16\n  devices: 2")
    suite = a_suite(folder, {**uses, "Healthy": "torch.optim.SGD"}, budget=3, text=text)
    process = Run(folder, ("run", str(suite), "--threads", "2", "--stall-timeout", "10"))
    code, _, errors = process.end(300)
    assert code == 1, errors
    assert "Traceback" not in errors
    return folder, process


@pytest.mark.parametrize(("label", "status", "fault", "words"), FAULTS)
def test_a_fault_of_one_process_is_recorded_as_what_it_is(
    ran: tuple[Path, Run], label: str, status: str, fault: str, words: str
) -> None:
    folder, _ = ran
    (suite,) = read([folder / "results" / "tiny"]).suites
    (end,) = (one.finished for one in suite.logs if one.trial["label"] == label)
    assert end is not None
    assert (end.status, end.at_fault) == (status, fault), end.detail
    assert words in end.detail


def test_no_process_of_a_trial_survives_the_run(ran: tuple[Path, Run]) -> None:
    assert ran[1].survivors() == []


def test_a_trial_takes_the_slots_of_its_devices() -> None:
    gpus = [Slot(f"cuda:{i}/{part}", f"cuda:{i}") for part in range(2) for i in range(3)]
    taken = take_slots(gpus, gpus, 2)
    assert taken is not None
    assert join_slots(taken).device == "cuda:0,cuda:1"
    assert take_slots([gpus[0], gpus[3]], gpus, 2) is None  # two halves of one GPU
    with pytest.raises(OptbenchError, match=r"needs 4 devices .* and there are 3: use --device cuda"):
        take_slots(gpus, gpus, 4)
    cores = [Slot(f"cpu/{part}", "cpu", threads=2, cores=(2 * part, 2 * part + 1)) for part in range(3)]
    taken = take_slots(cores, cores, 2)
    assert taken is not None
    assert join_slots(taken).threads == 4
    assert join_slots(taken).cores == (0, 1, 2, 3)
    assert take_slots(cores[:1], cores[:1], 2) == cores[:1]


@pytest.mark.parametrize(
    ("workload", "suite", "entry", "message"),
    [
        ("  devices: 2\n  batch_size: 1\n", "", "", "expected at least one sample for each of 2 devices x 1"),
        (
            "  devices: 2\n  study: noise\n",
            "",
            "",
            "`noise` is measured on one device: expected one device per trial",
        ),
        ("  devices: 2\n", "cuda_graph: 'on'\n", "", "training on several devices is not captured"),
        (
            "  devices: 2\n",
            "",
            ", create_graph: true",
            "not averaged over several processes: expected one device per trial",
        ),
        (
            "  devices: 2\n",
            "",
            ", closure: loss_only",
            "not averaged over several processes: expected one device per trial",
        ),
        ("  sync_batch_norm: true\n", "", "", "requires several devices"),
        ("  devices: 0\n", "", "", "devices"),
        ("  nodes: 0\n", "", "", "nodes"),
        ("  nodes: 2\n  devices: 2\n  batch_size: 3\n", "", "", "for each of 4 devices x 1"),
    ],
)
def test_check_reports_what_several_devices_do_not_support(
    workload: str, suite: str, entry: str, message: str, tmp_path: Path
) -> None:
    text = SUITE.replace("BUDGET", "1")
    if "batch_size" in workload:
        text = text.replace("  batch_size: 16\n", "")
    text = text.replace("seeds: 1\n", f"{workload}seeds: 1\n{suite}")
    (tmp_path / "tiny.yaml").write_text(f"{text}  A: {{use: torch.optim.SGD, lr: 0.1{entry}}}\n")
    done = optbench("check", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join((done.stdout + done.stderr).split())


def test_one_device_is_absent_from_the_id(tmp_path: Path) -> None:
    one, same, two = (one_trial(tmp_path, 1, changes) for changes in ({}, {"devices": 1}, {"devices": 2}))
    assert one.id == same.id != two.id
