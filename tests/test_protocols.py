"""How the engine calls optimizers that need more than gradients: closures, two passes, second-order methods, line searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optbench.catalog.types import DataInfo
from optbench.engine.models import build_model
from optbench.engine.optimizer_memory import optimizer_memory
from optbench.engine.protocol import Protocol
from optbench.engine.session import Session, prepare
from optbench.events import Event
from optbench.verify.conformance import conformance
from optbench.verify.plugin import load_plugin
from trials import CPU, evaluations, finished, run, trials

#: computes a perturbation from the gradients that exist before `step`, as SAM does, and records how it was called
TWO_PASS = """
import torch


class TwoPass(torch.optim.SGD):
    def __init__(self, params, lr=0.05, rho=0.05):
        super().__init__(params, lr=lr)
        self.rho = rho

    @torch.no_grad()
    def step(self, closure=None):
        {check}
        ps = [p for g in self.param_groups for p in g["params"]]
        grads = [p.grad for p in ps]
        start = [p.clone() for p in ps]
        if all(g is not None for g in grads):
            norm = torch.stack([g.norm() for g in grads]).norm()
            for p, g in zip(ps, grads):
                p.add_(g, alpha=float(self.rho / (norm + 1e-12)))
        with torch.enable_grad():
            loss = closure()
        for p, s in zip(ps, start):
            p.copy_(s)
        super().step()
        return loss
"""
SAM = """
import torch


class Base(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)


class SAM(Base):
    {step}

    def __init__(self, params, lr=0.05, rho=0.05):
        super().__init__(params, lr=lr)
        self.rho = rho

    @torch.no_grad()
    def first_step(self, zero_grad=False):
        self.away = []
        ps = [p for g in self.param_groups for p in g["params"]]
        norm = torch.stack([p.grad.norm() for p in ps]).norm()
        for p in ps:
            e = p.grad * (self.rho / (norm + 1e-12))
            p.add_(e)
            self.away.append((p, e))
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad=False):
        for p, e in self.away:
            p.sub_(e)
        torch.optim.SGD.step(self)
        if zero_grad:
            self.zero_grad()
"""
STEP_WITH_CLOSURE = """@torch.no_grad()
    def step(self, closure=None):
        assert closure is not None, "requires closure"
        closure = torch.enable_grad()(closure)
        self.first_step(zero_grad=True)
        closure()
        self.second_step()"""
STEP_REFUSED = """def step(self, closure=None):
        raise NotImplementedError("call first_step and second_step")"""
CURVATURE = """
import torch


class Curvature(torch.optim.Optimizer):
    {attribute}

    def __init__(self, params, lr=0.05):
        super().__init__(params, dict(lr=lr))

    def step(self, closure=None):
        ps = [p for g in self.param_groups for p in g["params"]]
        products = torch.autograd.grad([p.grad for p in ps], ps, grad_outputs=[torch.ones_like(p) for p in ps])
        with torch.no_grad():
            for p, h in zip(ps, products):
                p.addcdiv_(p.grad, h.abs() + 1, value=-self.param_groups[0]["lr"])
"""
SEARCH = """
import torch


class Search(torch.optim.SGD):
    def step(self, closure):
        self.zero_grad()
        with torch.enable_grad():
            loss = closure()
        loss.backward()
        super().step()
        return loss
"""


def events_of(folder: Path, source: str, entry: dict[str, Any], **changes: Any) -> list[Event]:
    (folder / "mine.py").write_text(source)
    (trial,) = trials(folder, optimizers={"Mine": entry}, **changes)
    return run(trial, folder)


def session_of(folder: Path, entry: dict[str, Any]) -> Session:
    return prepare(trials(folder, optimizers={"Mine": entry})[0], CPU, folder)


def sam_losses(folder: Path, entry: dict[str, Any], rho: float) -> tuple[list[Tensor], int]:
    """The weights after a loop written by hand, on the engine's own batches; and its gradient evaluations."""
    session = session_of(folder, entry)
    model, evaluated = session.model, 0
    parameters = list(model.parameters())
    sgd = torch.optim.SGD(parameters, lr=0.05)

    def backward(step: int) -> None:
        nonlocal evaluated
        evaluated += 1
        model.zero_grad()
        inputs, labels = session.training_batches.batch(step)
        nn.functional.cross_entropy(model(inputs), labels).backward()

    for step in range(18):
        backward(step)
        norm = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
        away = [p.grad * (rho / (norm + 1e-12)) for p in parameters if p.grad is not None]
        with torch.no_grad():
            torch._foreach_add_(parameters, away)
        backward(step)
        with torch.no_grad():
            torch._foreach_sub_(parameters, away)
        sgd.step()
    return parameters, evaluated


@pytest.mark.parametrize(
    "step", [STEP_WITH_CLOSURE, STEP_REFUSED, ""], ids=["closure", "passes only", "step of its base"]
)
def test_sam_trains_as_in_a_loop_written_by_hand(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"use": "mine.py:SAM", "lr": 0.05, "rho": 0.5}
    last: list[Tensor] = []

    def memory(
        running: Any,
    ) -> tuple[None, None]:  # measured by one more step, after the last use of the weights
        last.extend(p.detach().clone() for p in running.session.parameters)
        return None, None

    monkeypatch.setattr("optbench.engine.loop._Run._memory", memory)
    end = finished(events_of(tmp_path, SAM.format(step=step), entry))
    expected, evaluated = sam_losses(tmp_path, entry, rho=0.5)
    assert end.status == "completed"
    assert all(torch.equal(a, b) for a, b in zip(last, expected, strict=True))
    assert end.gradient_evaluations == evaluated == 2 * end.step


CHECKS = {
    "assert": "assert closure is not None",
    "raise": "if closure is None:\n            raise RuntimeError('needs a closure')",
    "call": "pass",
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
@pytest.mark.parametrize("closure", [None, True, "gradients_first"])
def test_a_class_that_reads_gradients_before_its_closure_gets_those_of_the_batch(
    check: str, closure: Any, tmp_path: Path
) -> None:
    entry = {"use": "mine.py:TwoPass"} | ({"closure": closure} if closure is not None else {})
    end = finished(events_of(tmp_path, TWO_PASS.format(check=check), entry))
    assert end.status == "completed"
    assert end.gradient_evaluations == 2 * end.step


def test_a_closure_is_enough_for_a_class_that_reads_no_gradients_before_it(tmp_path: Path) -> None:
    source = "import torch\nclass Plain(torch.optim.SGD):\n    def step(self, closure):\n        return super().step(closure)\n"
    end = finished(events_of(tmp_path, source, {"use": "mine.py:Plain", "lr": 0.05}))
    assert end.gradient_evaluations == end.step


def test_finding_the_protocol_leaves_the_random_numbers_of_training_alone(tmp_path: Path) -> None:
    ends = []
    for closure in (None, "gradients_first"):
        entry = {"use": "mine.py:TwoPass"} | ({"closure": closure} if closure else {})
        model = {"name": "mlp", "hidden": [16], "dropout": 0.3}
        events = events_of(tmp_path, TWO_PASS.format(check=CHECKS["raise"]), entry, workload={"model": model})
        ends.append([record.train_loss for record in evaluations(events)])
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("attribute", "setting"), [("is_second_order = True", {}), ("", {"create_graph": True})]
)
def test_a_second_order_method_gets_gradients_with_their_graph(
    attribute: str, setting: dict[str, Any], tmp_path: Path
) -> None:
    entry = {"use": "mine.py:Curvature", **setting}
    end = finished(events_of(tmp_path, CURVATURE.format(attribute=attribute), entry))
    assert (end.status, end.gradient_evaluations) == ("completed", end.step)


def test_the_graph_is_freed_after_every_step(tmp_path: Path) -> None:
    from optbench.engine.step import training_step

    (tmp_path / "mine.py").write_text(CURVATURE.format(attribute=""))
    session = session_of(tmp_path, {"use": "mine.py:Curvature", "create_graph": True})
    training_step(session, 0, 0, want_norm=True)
    assert all(p.grad is not None and p.grad.grad_fn is None for p in session.parameters)


def test_a_line_search_may_call_backward_itself(tmp_path: Path) -> None:
    end = finished(events_of(tmp_path, SEARCH, {"use": "mine.py:Search", "lr": 0.05}))
    assert (end.status, end.gradient_evaluations) == ("completed", end.step)


UNMET = {
    "a closure that is optional": (
        TWO_PASS.format(check="if closure is None and self.rho: raise RuntimeError('needs a closure')"),
        {"use": "mine.py:TwoPass"},
        "step() raised RuntimeError: needs a closure. It works on a toy problem with `closure: true`",
    ),
    "the graph": (
        CURVATURE.format(attribute="").replace("torch.autograd.grad(", "derivative(")
        + "\nderivative = torch.autograd.grad\n",
        {"use": "mine.py:Curvature"},
        "`create_graph: true`",
    ),
    "the loss only": (
        SEARCH,
        {"use": "mine.py:Search", "closure": "gradients_first"},
        "`closure: true`",
    ),
    "no GPU for Triton": (
        "import torch\nclass Kernels(torch.optim.SGD):\n    def step(self, closure=None):\n"
        "        raise RuntimeError('0 active drivers ([]). There should only be one.')\n",
        {"use": "mine.py:Kernels", "lr": 0.1},
        "Its Triton kernels require a GPU: set `triton: false`",
    ),
    "another closure": (
        SEARCH.replace("closure()", "closure(backward=False)"),
        {"use": "mine.py:Search"},
        "The closure of optbench takes no argument",
    ),
}


@pytest.mark.parametrize("case", UNMET)
def test_a_step_that_needs_another_protocol_names_the_setting(case: str, tmp_path: Path) -> None:
    source, entry, setting = UNMET[case]
    end = finished(events_of(tmp_path, source, entry))
    assert (end.status, end.at_fault) == ("failed", "")
    assert setting in end.detail


def test_gradients_that_a_class_computes_itself_cannot_be_clipped(tmp_path: Path) -> None:
    end = finished(events_of(tmp_path, SEARCH, {"use": "mine.py:Search", "clip": {"norm": 1}}))
    assert end.status == "failed"
    assert "cannot be clipped" in end.detail


def memory_of(folder: Path, source: str, entry: dict[str, Any]) -> Any:
    (folder / "mine.py").write_text(source)
    (trial,) = trials(folder, optimizers={"Mine": entry})
    return optimizer_memory(trial, build_model(trial.workload.model, DataInfo(0, 0, 0, (12,), 3), folder))


@pytest.mark.parametrize(
    ("source", "use"),
    [
        (SAM.format(step=STEP_WITH_CLOSURE), "SAM"),
        (SAM.format(step=STEP_REFUSED), "SAM"),
        (TWO_PASS.format(check=CHECKS["raise"]), "TwoPass"),
        (CURVATURE.format(attribute="is_second_order = True"), "Curvature"),
        (SEARCH, "Search"),
    ],
)
def test_memory_is_forecast_by_steps_of_the_protocol(source: str, use: str, tmp_path: Path) -> None:
    found = memory_of(tmp_path, source, {"use": f"mine.py:{use}"})
    assert found.problem == ""


#: estimates the slope along a random direction from two losses, as MeZO does
TWO_LOSSES = """
import torch


class TwoLosses(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, eps=1e-3):
        super().__init__(params, dict(lr=lr, eps=eps))

    @torch.no_grad()
    def step(self, closure):
        ps = [p for g in self.param_groups for p in g["params"]]
        rates = [g["lr"] for g in self.param_groups for _ in g["params"]]
        directions = [torch.randn(p.shape) for p in ps]
        losses = []
        for sign in (1, -2):
            for p, d in zip(ps, directions):
                p.add_(d, alpha=sign * 1e-3)
            losses.append(closure())
        slope = float(losses[0] - losses[1]) / 2e-3
        for p, d, lr in zip(ps, directions, rates):
            p.add_(d, alpha=1e-3 - lr * slope)
        return losses[0]
"""


def test_a_gradient_free_method_takes_no_gradients(tmp_path: Path) -> None:
    end = finished(events_of(tmp_path, TWO_LOSSES, {"use": "mine.py:TwoLosses"}))
    assert (end.status, end.gradient_evaluations) == ("completed", 0)


def test_verify_does_not_ask_a_gradient_free_method_for_gradients(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TWO_LOSSES)
    verdicts = {v.check: v for v in conformance(load_plugin("mine.py:TwoLosses", {}, CPU, tmp_path))}
    assert not [v for v in verdicts.values() if v.outcome == "fail"]
    for check in ("missing-gradients", "gradients"):
        assert verdicts[check].detail == "not applicable: it reads no gradients"


VERIFIED = {
    "two passes in step": (TWO_PASS.format(check=CHECKS["raise"]), "TwoPass", "gradients_first", False),
    "a closure that only trying shows": (
        TWO_PASS.format(check="if closure is None and self.rho: raise RuntimeError()"),
        "TwoPass",
        "gradients_first",
        False,
    ),
    "two passes without step": (SAM.format(step=STEP_REFUSED), "SAM", "two_passes", False),
    "a line search": (SEARCH, "Search", "loss_only", False),
    "a second-order method": (CURVATURE.format(attribute=""), "Curvature", "plain", True),
}


@pytest.mark.parametrize("case", VERIFIED)
def test_verify_finds_out_how_an_optimizer_is_called(case: str, tmp_path: Path) -> None:
    source, use, calls, create_graph = VERIFIED[case]
    (tmp_path / "mine.py").write_text(source)
    plugin = load_plugin(f"mine.py:{use}", {}, CPU, tmp_path)
    assert plugin.protocol == Protocol(calls, create_graph)  # type: ignore[arg-type]
    verdicts = {v.check: v.outcome for v in conformance(plugin)}
    assert verdicts["trains"] == verdicts["state-dict"] == "pass"


def test_a_class_that_waits_for_another_call_of_the_loop_is_refused(tmp_path: Path) -> None:
    """SophiaG without `update_hessian` is another method."""
    source = "import torch\nclass Sophia(torch.optim.SGD):\n    def update_hessian(self):\n        pass\n"
    end = finished(events_of(tmp_path, source, {"use": "mine.py:Sophia"}))
    assert end.status == "failed"
    assert "expects the training loop to call update_hessian()" in end.detail
    called = (
        source
        + "    def step(self, closure=None):\n        self.update_hessian()\n        return super().step(closure)\n"
    )
    (tmp_path / "other").mkdir()
    assert finished(events_of(tmp_path / "other", called, {"use": "mine.py:Sophia"})).status == "completed"


def test_a_line_search_sees_the_mean_loss_of_micro_batches(tmp_path: Path) -> None:
    entry = {"use": "mine.py:Search", "lr": 0.05}
    ends = [
        finished(events_of(tmp_path, SEARCH, entry, workload={"accumulate": parts})).final["last"]["loss"]
        for parts in (1, 4)
    ]
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)


def test_a_wrapper_whose_zero_grad_takes_no_argument_trains(tmp_path: Path) -> None:
    source = """
import torch


class Wrapper:
    def __init__(self, params, lr):
        self.inner = torch.optim.SGD(params, lr=lr)
        self.param_groups, self.state = self.inner.param_groups, self.inner.state
        self.state_dict, self.load_state_dict = self.inner.state_dict, self.inner.load_state_dict

    def zero_grad(self):
        self.inner.zero_grad(set_to_none=False)

    def step(self):
        self.inner.step()
"""
    plain = finished(events_of(tmp_path, source, {"use": "torch.optim.SGD", "lr": 0.1}))
    wrapped = finished(events_of(tmp_path, source, {"use": "mine.py:Wrapper", "lr": 0.1}))
    assert wrapped.final == plain.final
