"""Optimizers that are built from another class or around another optimizer, or that take the model instead of its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optbench.catalog.check import problems
from optbench.engine.session import prepare
from optbench.errors import OptbenchError
from optbench.events import Event
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Trial
from trials import CPU, finished, run, started, trials

#: https://github.com/davda54/sam, as most people copy it
SAM = """
import torch


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, adaptive=False, **kwargs):
        assert rho >= 0.0, f"Invalid rho, should be non-negative: {rho}"
        defaults = dict(rho=rho, adaptive=adaptive, **kwargs)
        super(SAM, self).__init__(params, defaults)
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups
        self.defaults.update(self.base_optimizer.defaults)

    @torch.no_grad()
    def first_step(self, zero_grad=False):
        grad_norm = self._grad_norm()
        for group in self.param_groups:
            scale = group["rho"] / (grad_norm + 1e-12)
            for p in group["params"]:
                if p.grad is None:
                    continue
                self.state[p]["old_p"] = p.data.clone()
                e_w = (torch.pow(p, 2) if group["adaptive"] else 1.0) * p.grad * scale.to(p)
                p.add_(e_w)
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad=False):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.data = self.state[p]["old_p"]
        self.base_optimizer.step()
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def step(self, closure=None):
        assert closure is not None, "Sharpness Aware Minimization requires closure, but it was not provided"
        closure = torch.enable_grad()(closure)
        self.first_step(zero_grad=True)
        closure()
        self.second_step()

    def _grad_norm(self):
        norms = [
            ((torch.abs(p) if group["adaptive"] else 1.0) * p.grad).norm(p=2)
            for group in self.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        return torch.norm(torch.stack(norms), p=2)
"""
OTHERS = """
import torch


class Lookahead(torch.optim.Optimizer):
    def __init__(self, optimizer, k=5, alpha=0.5):
        self.optimizer, self.k, self.alpha, self.calls = optimizer, k, alpha, 0
        self.param_groups = optimizer.param_groups
        self.defaults, self.state = optimizer.defaults, optimizer.state
        self.slow = [[p.detach().clone() for p in group["params"]] for group in self.param_groups]

    def step(self, closure=None):
        loss = self.optimizer.step(closure)
        self.calls += 1
        if self.calls % self.k == 0:
            with torch.no_grad():
                for group, slow in zip(self.param_groups, self.slow):
                    for p, s in zip(group["params"], slow):
                        s.lerp_(p, self.alpha)
                        p.copy_(s)
        return loss

    def state_dict(self):
        return {"inner": self.optimizer.state_dict(), "slow": self.slow, "calls": self.calls}


class ByModel(torch.optim.SGD):
    def __init__(self, model, lr=0.05):
        super().__init__([{"params": [p]} for p in model.parameters()], lr=lr)


class ByName(torch.optim.SGD):
    def __init__(self, named_parameters, lr=0.05):
        super().__init__([{"params": [p], "name": name} for name, p in named_parameters], lr=lr)


class ModelAndParams(torch.optim.SGD):
    def __init__(self, model, params, base_optimizer, lr=0.05):
        assert isinstance(model, torch.nn.Module)
        assert issubclass(base_optimizer, torch.optim.Optimizer)
        super().__init__(params, lr=lr)


class Proxy:
    def __init__(self, params, lr=0.05):
        self.inner = torch.optim.SGD(params, lr=lr, momentum=0.9)

    def __getattr__(self, name):
        return getattr(self.__dict__["inner"], name)


class NoOptimizer:
    def __init__(self, params, lr=0.05):
        self.param_groups = [{"params": list(params), "lr": lr}]


class Base(torch.optim.SGD):
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sam.py").write_text(SAM)
    (tmp_path / "mine.py").write_text(OTHERS)
    return tmp_path


def only(folder: Path, entry: dict[str, Any], **changes: Any) -> Trial:
    (trial,) = trials(folder, optimizers={"Mine": entry}, **changes)
    return trial


def trained(
    folder: Path, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[nn.Parameter], list[Event]]:
    """The parameters after the last training step, and the events."""
    last: list[nn.Parameter] = []

    def memory(
        running: Any,
    ) -> tuple[None, None]:  # measured by one more step, after the last use of the weights
        last.extend(nn.Parameter(p.detach().clone()) for p in running.session.parameters)
        return None, None

    monkeypatch.setattr("optbench.engine.loop._Run._memory", memory)
    events = run(only(folder, entry), folder)
    return last, events


def by_hand(folder: Path, entry: dict[str, Any], step: Any) -> list[nn.Parameter]:
    """Parameters after `step(parameters, backward)` on each of the engine's batches."""
    session = prepare(only(folder, entry), CPU, folder)
    model = session.model
    parameters = session.parameters
    for number in range(18):
        inputs, labels = session.training_batches.batch(number)

        def backward(inputs: Any = inputs, labels: Any = labels) -> None:
            model.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()

        step(parameters, backward)
    return parameters


def same(ones: list[nn.Parameter], others: list[nn.Parameter]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


BASES: dict[str, Any] = {
    "mapping": {"use": "torch.optim.SGD"},
    "mapping with an argument": {"use": "torch.optim.SGD", "nesterov": False},
    "import path": "torch.optim.SGD",
    "catalog name": "sgd",
}


@pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())
def test_sam_around_a_class_trains_as_the_loop_of_its_readme(
    base: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"use": "sam.py:SAM", "base_optimizer": base, "rho": 0.5, "lr": 0.1, "momentum": 0.9}
    parameters, events = trained(folder, entry, monkeypatch)
    namespace: dict[str, Any] = {}
    exec(SAM, namespace)
    made: list[Any] = []

    def step(parameters: list[nn.Parameter], backward: Any) -> None:
        if not made:
            made.append(namespace["SAM"](parameters, torch.optim.SGD, rho=0.5, lr=0.1, momentum=0.9))
        backward()
        made[0].first_step(zero_grad=True)
        backward()
        made[0].second_step(zero_grad=True)

    assert same(parameters, by_hand(folder, entry, step))
    end = finished(events)
    assert (end.status, end.gradient_evaluations) == ("completed", 2 * end.step)


def test_a_wrapper_gets_the_optimizer_that_the_entry_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"use": "mine.py:Lookahead", "optimizer": {"use": "torch.optim.AdamW", "lr": 0.01}, "k": 3}
    parameters, events = trained(folder, entry, monkeypatch)
    namespace: dict[str, Any] = {}
    exec(OTHERS, namespace)
    made: list[Any] = []

    def step(parameters: list[nn.Parameter], backward: Any) -> None:
        if not made:
            made.append(namespace["Lookahead"](torch.optim.AdamW(parameters, lr=0.01), k=3))
        backward()
        made[0].step()

    assert same(parameters, by_hand(folder, entry, step))
    assert finished(events).status == "completed"
    assert started(events).hyperparameters[0]["lr"] == 0.01


@pytest.mark.parametrize(
    "entry",
    [
        {"use": "mine.py:ByModel"},
        {"use": "mine.py:ByName"},
        {"use": "mine.py:ModelAndParams", "base_optimizer": "torch.optim.SGD"},
        {"use": "mine.py:Proxy"},
        {"use": "mine.py:Lookahead", "optimizer": "mine.py:ByModel"},
    ],
    ids=lambda entry: str(entry["use"]),
)
def test_constructors_get_what_their_first_parameter_names(entry: dict[str, Any], folder: Path) -> None:
    assert check(folder, entry) == []
    end = finished(run(only(folder, entry), folder))
    assert (end.status, end.detail) == ("completed", "")


def test_an_object_without_step_is_refused_with_what_an_optimizer_is(folder: Path) -> None:
    end = finished(run(only(folder, {"use": "mine.py:NoOptimizer"}), folder))
    assert "expected an optimizer: an object with param_groups and step()" in end.detail


def test_a_class_that_takes_the_model_is_no_rule_and_decays_by_itself(folder: Path) -> None:
    rules = [
        {"parameters": "matrices", "use": "mine.py:ByModel"},
        {"parameters": "rest", "use": "torch.optim.SGD"},
    ]
    with pytest.raises(OptbenchError, match="requires the whole model"):
        prepare(only(folder, {"use": rules}), CPU, folder)


def test_a_model_without_trainable_parameters_is_named(folder: Path) -> None:
    (folder / "net.py").write_text(
        "from torch import nn\nclass Frozen(nn.Linear):\n    def __init__(self, in_features, num_classes):\n"
        "        super().__init__(in_features, num_classes)\n        self.requires_grad_(False)\n"
    )
    trial = only(folder, {"use": "torch.optim.SGD"}, workload={"model": {"name": "net.py:Frozen"}})
    with pytest.raises(OptbenchError, match=r"net\.py:Frozen has no trainable parameters"):
        prepare(trial, CPU, folder)


def check(folder: Path, entry: dict[str, Any], **changes: Any) -> list[str]:
    only(folder, entry, **changes)
    return [str(problem) for problem in problems(load(folder / "suite.yaml"), folder)]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "argument of the inner class": (
        {"use": "sam.py:SAM", "base_optimizer": {"use": "torch.optim.SGD", "momentun": 0.9}},
        "did you mean 'momentum'",
    ),
    "argument that is passed on to the inner class": (
        {"use": "sam.py:SAM", "base_optimizer": "torch.optim.SGD", "momentun": 0.9},
        "did you mean 'momentum'",
    ),
    "inner class": (
        {"use": "sam.py:SAM", "base_optimizer": {"use": "torch.optim.SDG"}},
        "did you mean 'SGD'",
    ),
    "inner class by its name": (
        {"use": "sam.py:SAM", "base_optimizer": "torch.optim.SDG"},
        "did you mean 'SGD'",
    ),
    "no inner class": ({"use": "sam.py:SAM", "lr": 0.1}, "'base_optimizer: {use: torch.optim.AdamW}'"),
    "no wrapped optimizer": (
        {"use": "mine.py:Lookahead", "k": 3},
        "'optimizer: {use: torch.optim.AdamW}'",
    ),
    "range inside": (
        {"use": "mine.py:Lookahead", "optimizer": {"use": "torch.optim.AdamW", "lr": -1}},
        "expected at least 0",
    ),
    "the model, written": (
        {"use": "mine.py:ByModel", "model": 3},
        "'model' is passed by optbench: remove it",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_check_finds_what_is_wrong_with_an_inner_optimizer(case: str, folder: Path) -> None:
    entry, message = WRONG[case]
    (problem,) = check(folder, entry)
    assert message in problem
    assert "suite.yaml:" in problem


def test_the_trial_id_depends_on_the_inner_class_and_its_file(folder: Path) -> None:
    def identity(base: Any) -> str:
        return only(folder, {"use": "sam.py:SAM", "base_optimizer": base, "lr": 0.1}).id

    ids = [identity("torch.optim.SGD"), identity({"use": "mine.py:Base"}), identity("mine.py:Base")]
    (folder / "mine.py").write_text(OTHERS + "\n# changed\n")
    ids += [identity({"use": "mine.py:Base"}), identity("mine.py:Base")]
    assert len(set(ids)) == 5


def test_a_sweep_changes_the_rate_where_it_is_written(folder: Path) -> None:
    entry = {"use": "mine.py:Lookahead", "optimizer": {"use": "torch.optim.SGD", "lr": 0.1}}
    trials(folder, optimizers={"Mine": entry}, sensitivity={"lr": [0.5, 1, 2]})
    loaded = load(folder / "suite.yaml")
    assert problems(loaded, folder) == []
    swept = [trial for trial in plan(loaded) if trial.point]
    assert [trial.point for trial in swept] == [{"lr": 0.05}, {"lr": 0.2}]
    assert [started(run(trial, folder)).hyperparameters[0]["lr"] for trial in swept] == [0.05, 0.2]
