"""Sharded training: two processes that divide the optimizer state or the whole model compute what one process computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optbench.catalog.sharding import ELEMENTWISE
from optbench.engine.sharding import blocks, largest_share, owners
from optbench.events import Finished
from program import optbench
from ranks import one_trial, stopped_often, train_in_processes
from real_runs import SUITE
from trials import evaluations, finished, records, run

NET = {"model": "net.py:net", "sync_batch_norm": True, "budget": "8 steps", "evaluate": {"every": "2 steps"}}
PLAIN = {"model": {"name": "mlp", "hidden": [15]}, "budget": "8 steps", "evaluate": {"every": "2 steps"}}
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {
        "optimizers": {"A": {"use": "torch.optim.SGD", "lr": 0.3, "momentum": 0.9}},
        "clip": {"norm": 0.3},
    },
    "adamw": {
        "optimizers": {"A": {"use": "adamw", "lr": 1e-2}},
        "schedule": {"name": "cosine", "warmup": "3 steps"},
        "clip": {"value": 0.02},
        "ema": {"decay": 0.8},
        "no_weight_decay": "biases",
    },
    "rules": {
        "optimizers": {
            "A": {
                "use": [
                    {"parameters": "matrices", "use": "torch.optim.RMSprop", "lr": 1e-3},
                    {"parameters": "rest", "use": "torch.optim.SGD", "lr": 0.1},
                ]
            }
        }
    },
}


@pytest.mark.parametrize("sharding", ["zero1", "full"])
@pytest.mark.parametrize("case", SETTINGS)
def test_sharded_training_equals_one_process(case: str, sharding: str, tmp_path: Path) -> None:
    workload = {**PLAIN, "accumulate": 2, "batch_size": 15}
    one = one_trial(tmp_path, 1, workload, **SETTINGS[case])
    two = one_trial(tmp_path, 2, workload | {"sharding": sharding}, **SETTINGS[case])
    alone, together = run(one, tmp_path), list(train_in_processes(two, tmp_path))
    assert finished(together).status == "completed", finished(together).detail
    assert len(evaluations(together)) == 4
    for before, after in zip(evaluations(alone), evaluations(together), strict=True):
        assert after.train_loss == pytest.approx(before.train_loss, abs=1e-5)
        assert after.gradient_norm == pytest.approx(before.gradient_norm, rel=1e-4)
        assert after.clipped_steps == before.clipped_steps
        for name, value in before.metrics["validation"].items():
            assert after.metrics["validation"][name] == pytest.approx(value, abs=1e-5)
    assert finished(together).final["last"]["loss"] == pytest.approx(
        finished(alone).final["last"]["loss"], abs=1e-5
    )


@pytest.mark.parametrize("sharding", ["zero1", "full"])
def test_a_sharded_trial_resumes_exactly(sharding: str, tmp_path: Path) -> None:
    trial = one_trial(tmp_path, 2, NET | {"budget": "4 steps", "sharding": sharding}, **SETTINGS["adamw"])
    undisturbed = records(list(train_in_processes(trial, tmp_path)))
    interrupted = list(stopped_often(trial, tmp_path, tmp_path / "a.pt"))
    assert sum(isinstance(event, Finished) for event in interrupted) > 3
    assert repr(records(interrupted)) == repr(undisturbed)


@pytest.mark.parametrize(("sharding", "elements"), [("none", 259), ("zero1", 192), ("full", 138)])
def test_the_forecast_of_state_is_what_a_run_measures(sharding: str, elements: int, tmp_path: Path) -> None:
    """12 x 16 and 16 x 3 weights with biases: zero1 gives the larger matrix to one rank, full half of each tensor, rounded up."""
    workload = {"sharding": sharding, "budget": "4 steps"}
    trial = one_trial(tmp_path, 2, workload, optimizers={"A": {"use": "torch.optim.AdamW", "lr": 1e-2}})
    measured = finished(list(train_in_processes(trial, tmp_path)))
    assert measured.state_bytes == 2 * 4 * elements
    line = ("mlp(hidden=[16])", "--shape", "12", "--classes", "3", "--optimizer", "adamw", "--format", "json")
    done = optbench("memory", *line, "--devices", "2", "--sharding", sharding, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["state_bytes"] == measured.state_bytes
    assert (row["devices"], row["sharding"], row["batch_size"]) == (2, sharding, 16)


def test_parameters_go_to_the_rank_with_the_fewest_elements() -> None:
    sizes = [torch.empty(n) for n in (3, 10, 4, 4)]
    assert [owners([sizes], 2)[p] for p in sizes] == [1, 0, 1, 1]
    assert largest_share(sizes, 2, "zero1") == 11
    assert largest_share(sizes, 2, "full") == 2 + 5 + 2 + 2
    assert largest_share(sizes, 2, "none") == 21


def test_blocks_of_a_model_are_gathered_one_at_a_time() -> None:
    block = lambda: nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})  # noqa: E731
    model = nn.Sequential(nn.Linear(2, 2), nn.ModuleList([block(), block()]), block())
    assert blocks(model) == [model[1][0], model[1][1], model[2]]  # type: ignore[index]
    model[2]["a"].weight = model[0].weight  # type: ignore[index]
    assert blocks(model) == [model[1][0], model[1][1]]  # type: ignore[index]


@pytest.mark.parametrize(
    ("workload", "suite", "entry", "message"),
    [
        ("  sharding: full\n", "", "torch.optim.SGD", "requires several devices"),
        (
            "  sharding: full\n  devices: 2\n",
            "",
            "torch.optim.Muon",
            "'torch.optim.Muon' may need whole matrices",
        ),
        ("  sharding: zero1\n  devices: 2\n", "", "adafactor", "expected `sharding: none`"),
        (
            "  sharding: full\n  devices: 2\n",
            "precision: fp16\n",
            "torch.optim.SGD",
            "fp16 scales whole gradients",
        ),
        (
            "  sharding: full\n  devices: 2\n",
            "implementation: compiled\n",
            "adamw",
            "expected one of default, forloop, foreach",
        ),
        (
            "  sharding: full\n  devices: 2\n",
            "",
            "torch.optim.SGD, fused: true",
            "does not run on a part of the parameters",
        ),
        (
            "  sharding: full\n  devices: 2\n  compile: true\n",
            "",
            "torch.optim.SGD",
            "expected `compile: false`",
        ),
        (
            "  sharding: zero1\n  devices: 2\n",
            "",
            "torch.optim.SGD, closure: true",
            "a closure needs whole parameters",
        ),
    ],
)
def test_check_refuses_what_cannot_be_sharded(
    workload: str, suite: str, entry: str, message: str, tmp_path: Path
) -> None:
    text = SUITE.replace("BUDGET", "1").replace("seeds: 1\n", f"{workload}seeds: 1\n{suite}")
    (tmp_path / "tiny.yaml").write_text(f"{text}  A: {{use: {entry}, lr: 0.1}}\n")
    done = optbench("check", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_classes_update_each_element_by_itself(name: str) -> None:
    """Two halves that step separately compute the bits of the whole."""
    torch.manual_seed(0)
    start, gradients = torch.randn(4, 6), [torch.randn(4, 6) for _ in range(5)]

    def trained(rows: slice) -> torch.Tensor:
        parameter = nn.Parameter(start[rows].clone())
        optimizer = getattr(torch.optim, name)([parameter], lr=0.01, weight_decay=0.1)
        for gradient in gradients:
            parameter.grad = gradient[rows].clone()
            optimizer.step()
        return parameter.detach()

    assert torch.equal(torch.cat([trained(slice(0, 2)), trained(slice(2, 4))]), trained(slice(0, 4)))
