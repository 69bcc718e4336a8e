"""Stacked updates against torch's own optimizers, and which sweeps are stacked at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from optbench.catalog.stackable import why_plain
from optbench.cli.live.plan import show_plan
from optbench.engine.stacked.hyperparameter_columns import Uploads
from optbench.engine.stacked.updates import StackedUpdate
from optbench.store import StoredSuite
from optbench.suite.load import load
from optbench.suite.plan import plan
from trials import TINY

STEPS = 200
CASES: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.SGD, {"weight_decay": 1e-2}),
    (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.1, "weight_decay": 1e-2}),
    (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    (torch.optim.Adam, {"weight_decay": 1e-2}),
    (torch.optim.Adam, {"amsgrad": True}),
    (torch.optim.AdamW, {"weight_decay": 0.1}),
    (torch.optim.AdamW, {"amsgrad": True, "betas": (0.8, 0.95)}),
    (torch.optim.RMSprop, {"weight_decay": 1e-2, "momentum": 0.5}),
    (torch.optim.RMSprop, {"centered": True, "alpha": 0.9}),
    (torch.optim.Adagrad, {"weight_decay": 1e-2, "lr_decay": 1e-3, "initial_accumulator_value": 0.1}),
]


@pytest.mark.parametrize(
    ("kind", "options"), CASES, ids=[f"{kind.__name__} {' '.join(options)}" for kind, options in CASES]
)
def test_a_stacked_update_is_that_of_torch(
    kind: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    generator = torch.Generator().manual_seed(1)
    rates = (1e-3, 3e-3, 1e-2)
    begin = {
        "weight": torch.randn(3, 4, 5, generator=generator),
        "bias": torch.randn(3, 4, generator=generator),
    }

    def optimizers() -> tuple[list[dict[str, torch.Tensor]], list[torch.optim.Optimizer]]:
        own = [{name: tensor[row].clone() for name, tensor in begin.items()} for row in range(3)]
        return own, [kind(list(p.values()), lr=rate, **options) for p, rate in zip(own, rates, strict=True)]

    alone, theirs = optimizers()
    owned, held = optimizers()
    names = {id(tensor): name for parameters in owned for name, tensor in parameters.items()}
    rows = {name: tensor.clone() for name, tensor in begin.items()}
    update = StackedUpdate(held, rows, names)
    for _ in range(STEPS):
        gradients = {name: torch.randn(t.shape, generator=generator) for name, t in begin.items()}
        update.step(gradients)
        for row, (parameters, optimizer) in enumerate(zip(alone, theirs, strict=True)):
            for name, parameter in parameters.items():
                parameter.grad = gradients[name][row]
            optimizer.step()
    for row, parameters in enumerate(alone):
        for name, parameter in parameters.items():
            apart = torch.linalg.vector_norm(rows[name][row] - parameter) / torch.linalg.vector_norm(
                parameter
            )
            assert apart < 1e-5
            assert not torch.equal(parameter, begin[name][row])


def test_numbers_that_stay_go_to_the_device_once_and_those_not_used_are_forgotten() -> None:
    uploads, like = Uploads(), torch.zeros(2, 3, dtype=torch.float64)
    first = uploads.get([0.1, 0.2], like)
    assert first.tolist() == [0.1, 0.2]
    assert first.dtype == torch.float64
    uploads.next_step()
    assert uploads.get([0.1, 0.2], like) is first
    assert uploads.get([0.1, 0.3], like).tolist() == [0.1, 0.3]
    assert uploads.get([0.1, 0.2], like.float()).dtype == torch.float32
    uploads.next_step()
    uploads.next_step()
    assert uploads.get([0.1, 0.2], like) is not first


SGD: dict[str, Any] = {"use": "torch.optim.SGD", "lr": 0.1}
PLAIN: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("engine", {"engine": "plain"}, {}, "engine: plain"),
    ("fp16", {"precision": "fp16"}, {}, "fp16"),
    ("compiled", {"implementation": "compiled"}, {}, "implementation: compiled"),
    ("auto", {"implementation": "auto"}, {}, "implementation: auto"),
    ("graph", {"cuda_graph": "on"}, {}, "cuda_graph: on"),
    ("model", {}, {"model": {"name": "resnet18_cifar"}}, "not marked STACKABLE"),
    ("seconds", {}, {"budget": "5 seconds"}, "in seconds"),
    ("accumulate", {}, {"accumulate": 2}, "`accumulate`"),
    ("clip", {"clip": {"norm": 1.0}}, {}, "has `clip`"),
    ("ema", {"ema": {"decay": 0.9}}, {}, "has `ema`"),
    ("closure", {"optimizers": {"SGD": {**SGD, "closure": True}}}, {}, "needs a closure"),
    ("LBFGS", {"optimizers": {"L": {"use": "torch.optim.LBFGS", "lr": 0.1}}}, {}, "more than gradients"),
    ("centre", {"optimizers": {"SGD": {"use": "torch.optim.SGD"}}}, {}, "does not write 'lr'"),
]


def reason(folder: Path, changes: dict[str, Any], workload: dict[str, Any], *overrides: str) -> str:
    suite = {**TINY, "sensitivity": {"lr": [0.05, 0.1]}, **changes, "workload": TINY["workload"] | workload}
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    loaded = load(path, overrides)
    [name] = loaded.suite.workloads
    return "".join(set(why_plain(loaded, name).values()))


@pytest.mark.parametrize(("changes", "workload", "told"), [c[1:] for c in PLAIN], ids=[c[0] for c in PLAIN])
def test_what_a_stack_has_not_is_trained_plain_and_states_the_reason(
    tmp_path: Path, changes: dict[str, Any], workload: dict[str, Any], told: str
) -> None:
    assert told in reason(tmp_path, changes, workload)


def test_a_small_sweep_is_stacked_unless_the_command_line_sets_plain(tmp_path: Path) -> None:
    assert reason(tmp_path, {}, {}) == ""
    assert "engine: plain" in reason(tmp_path, {}, {}, "engine=plain")


def test_tuning_trials_are_stacked_by_entry_and_a_sweep_if_all_entries_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "suite.yaml"

    def planned(rate: Any, more: dict[str, Any]) -> tuple[set[tuple[str, str]], str]:
        entries = {name: {"use": f"torch.optim.{name}", "lr": rate} for name in ("LBFGS", "SGD", "Adam")}
        path.write_text(yaml.safe_dump({**TINY, **more, "optimizers": entries}, sort_keys=False))
        loaded = load(path)
        trials = plan(loaded, None, why_plain)
        show_plan(loaded, trials, StoredSuite(tmp_path / "none"))
        lines = " ".join(capsys.readouterr().out.split())
        return {(trial.label, trial.engine) for trial in trials if trial.point}, lines

    engines, lines = planned({"log": [0.01, 0.1]}, {"tuning": {"trials": 2}})
    assert engines == {("LBFGS", "plain"), ("SGD", "stacked"), ("Adam", "stacked")}
    reason = "1 of 3 entries, such as 'LBFGS', which uses torch.optim.LBFGS, whose step may need more"
    assert f"tuning on synthetic: not stacked: {reason}" in lines
    engines, lines = planned(0.1, {"sensitivity": {"lr": [0.5, 1]}})
    assert {engine for _, engine in engines} == {"plain"}
    assert f"sweep on synthetic: not stacked: all entries, because of {reason}" in lines
