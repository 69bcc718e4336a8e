"""Implementations of optimizer steps: same results, same state, and a record of which ran and why."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from optbench.analysis.implementations import implementation_warnings, steps_ran
from optbench.engine import compile_warmup
from optbench.engine.compiled_step import CompiledStep, NotCompilable, scratch_copy
from optbench.engine.session import prepare
from optbench.engine.state_memory import state_memory
from trials import CPU, evaluations, finished, run, started, trials, untimed

#: every class of torch.optim that compiles, in its variants
COMPILED: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.01}),
    ("AdamW", {"lr": 0.01}),
    ("Adagrad", {"lr": 0.01, "initial_accumulator_value": 0.1}),
    ("RMSprop", {"lr": 0.001}),
    ("RMSprop", {"lr": 0.001, "centered": True, "momentum": 0.9}),
    ("Adadelta", {"lr": 1.0}),
    ("Adamax", {"lr": 0.01}),
    ("NAdam", {"lr": 0.01}),
    ("RAdam", {"lr": 0.01, "decoupled_weight_decay": True, "weight_decay": 0.01}),
    ("ASGD", {"lr": 0.01}),
    ("Rprop", {"lr": 0.001}),
]
QUICK = [COMPILED[2], COMPILED[3], COMPILED[7]]
STEPS = 50


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 4, 3, 3), (8,), (16, 8), (16,)]
    return [nn.Parameter(torch.randn(shape, generator=generator) * 0.1) for shape in shapes]


def pair(name: str, options: dict[str, Any]) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    factory = getattr(torch.optim, name)
    return factory(parameters(), **options), factory(parameters(), **options)


def compile_one(member: torch.optim.Optimizer, backend: str) -> None:
    torch._dynamo.reset()
    counters.clear()
    compiled = CompiledStep(member, backend)
    compiled.warm_up(member)
    compiled.install(member)


def worst_deviation(plain: torch.optim.Optimizer, other: torch.optim.Optimizer, rate: float) -> float:
    """Over 50 steps under a cosine schedule, relative to each tensor's norm."""
    generator = torch.Generator().manual_seed(1)
    worst = 0.0
    for step in range(STEPS):
        for mine, theirs in zip(_tensors(plain), _tensors(other), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            theirs.grad = mine.grad.clone()
        for optimizer in (plain, other):
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / STEPS))
            optimizer.step()
        for mine, theirs in zip(_tensors(plain), _tensors(other), strict=True):
            worst = max(worst, float((mine - theirs).detach().norm() / mine.detach().norm()))
    return worst


def _tensors(optimizer: torch.optim.Optimizer) -> list[Any]:
    return list(optimizer.param_groups[0]["params"])


@pytest.mark.parametrize(("name", "options"), QUICK)
def test_a_traced_step_agrees_and_is_traced_once_whatever_the_schedule(
    name: str, options: dict[str, Any]
) -> None:
    plain, other = pair(name, options)
    compile_one(other, "eager")
    assert worst_deviation(plain, other, options["lr"]) < 1e-6
    assert counters["stats"]["unique_graphs"] == 1
    assert state_memory([other], _tensors(other)) == state_memory([plain], _tensors(plain))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), COMPILED)
def test_a_compiled_step_agrees_and_is_compiled_once_whatever_the_schedule(
    name: str, options: dict[str, Any]
) -> None:
    plain, other = pair(name, options)
    compile_one(other, "inductor")
    assert worst_deviation(plain, other, options["lr"]) < 1e-6
    assert counters["stats"]["unique_graphs"] == 1
    for mine, theirs in zip(plain.state.values(), other.state.values(), strict=True):
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            assert value.dtype == theirs[key].dtype
            torch.testing.assert_close(theirs[key], value, rtol=1e-5, atol=1e-7)


def test_warming_up_touches_neither_weights_nor_state() -> None:
    adagrad = torch.optim.Adagrad(parameters(), initial_accumulator_value=0.5)
    before = [p.detach().clone() for p in _tensors(adagrad)]
    CompiledStep(adagrad, "eager").warm_up(adagrad)
    assert all(torch.equal(old, new) for old, new in zip(before, _tensors(adagrad), strict=True))
    assert all(p.grad is None for p in _tensors(adagrad))
    assert all(
        float(state["step"]) == 0 and bool((state["sum"] == 0.5).all()) for state in adagrad.state.values()
    )
    assert scratch_copy(adagrad).state_dict()["param_groups"] == adagrad.state_dict()["param_groups"]


def test_every_group_is_compiled_for_itself_and_a_missing_gradient_is_no_error() -> None:
    def grouped() -> torch.optim.Optimizer:
        first, *rest = parameters()
        return torch.optim.RMSprop([{"params": [first]}, {"params": rest, "weight_decay": 0.1}], lr=1e-3)

    plain, other = grouped(), grouped()
    compile_one(other, "eager")
    for step in range(4):
        for optimizer in (plain, other):
            for number, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
                p.grad = None if step == 2 and number == 1 else torch.full_like(p, 0.1 * (number + 1))
            optimizer.step()
    for mine, theirs in zip(plain.param_groups, other.param_groups, strict=True):
        for p, q in zip(mine["params"], theirs["params"], strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-8)
    assert counters["stats"]["unique_graphs"] == 2


def test_a_hyperparameter_that_changes_on_the_way_takes_the_plain_step_and_effect() -> None:
    plain, other = pair("SGD", {"lr": 0.1, "momentum": 0.9})
    compile_one(other, "eager")
    for step in range(5):
        for optimizer in (plain, other):
            optimizer.param_groups[0]["momentum"] = 0.9 - 0.1 * step
            for p in _tensors(optimizer):
                p.grad = torch.ones_like(p)
            optimizer.step()
    assert all(torch.allclose(p, q, rtol=1e-6) for p, q in zip(_tensors(plain), _tensors(other), strict=True))
    assert counters["stats"]["unique_graphs"] == 1


class Own(torch.optim.SGD):
    """A step of its own."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step(closure)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: Own(p, lr=0.1), "only steps of torch's own classes"),
        (lambda p: torch.optim.LBFGS(p), "no separate function for its arithmetic"),
        (lambda p: torch.optim.Adafactor(p), "reads tensor values"),
        (lambda p: torch.optim.Muon(p[2:3], lr=0.1), "bfloat16"),
        (lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1)), "is already a tensor"),
    ],
)
def test_what_cannot_be_compiled_states_the_reason(make: Any, reason: str) -> None:
    with pytest.raises(NotCompilable, match=reason):
        CompiledStep(make(parameters()))


def test_auto_is_fused_where_torch_has_it_and_else_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_warmup, "CompiledStep", lambda member, backend: CompiledStep(member, "eager"))
    entries = {
        name: {"use": f"torch.optim.{name}"} for name in ("SGD", "Adam", "Adagrad", "RMSprop", "Adafactor")
    }
    ran = {
        trial.label: started(run(trial, tmp_path)).hyperparameters[0]
        for trial in trials(
            tmp_path, optimizers=entries, implementation="auto", workload={"budget": {"steps": 2}}
        )
    }
    assert {label: facts["implementation"] for label, facts in ran.items()} == {
        "SGD": "fused",
        "Adam": "fused",
        "Adagrad": "fused",
        "RMSprop": "compiled",
        "Adafactor": "forloop",
    }
    assert ran["RMSprop"].get("implementation_note") is None
    assert ran["Adafactor"]["implementation_note"] == "not compiled: its step reads tensor values on the host"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"use": "torch.optim.LBFGS"}, "its step calls a closure"),
        (
            {
                "use": "torch.optim.RMSprop",
                "schedule": {"name": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1},
            },
            "the schedule also changes its momentum",
        ),
    ],
)
def test_a_trial_that_cannot_be_compiled_trains_plainly_and_tells(
    entry: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    (trial,) = trials(tmp_path, optimizers={"One": entry}, implementation="compiled")
    events = run(trial, tmp_path)
    assert finished(events).status == "completed"
    facts = started(events).hyperparameters[0]
    assert facts["implementation"] in ("own", "forloop")
    assert facts["implementation_note"] == f"not compiled: {reason}"


def test_a_compiler_that_fails_leaves_the_plain_step(tmp_path: Path) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise OSError("no compiler here")

    (trial,) = trials(tmp_path, optimizers={"One": {"use": "torch.optim.RMSprop"}}, implementation="compiled")
    session = prepare(trial, CPU, tmp_path)
    torch._dynamo.reset()
    compile_warmup.compile_steps(session, broken)
    ((runs,),) = session.optimizers.implementations()
    assert runs.name == "forloop"
    assert "no compiler here" in runs.note


def test_default_is_recorded_as_what_torch_takes_here(tmp_path: Path) -> None:
    (trial,) = trials(tmp_path, workload={"budget": {"steps": 1}})
    assert started(run(trial, tmp_path)).hyperparameters[0]["implementation"] == "forloop"


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_trial_is_the_plain_one_and_resumes_exactly(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What compiling takes is told apart, outside the training clock."""
    monkeypatch.setattr(compile_warmup, "CompiledStep", lambda member, _: CompiledStep(member, backend))
    entry = {"One": {"use": "torch.optim.RMSprop", "lr": 1e-3, "schedule": "cosine"}}
    (plain,) = trials(tmp_path, optimizers=entry)
    (trial,) = trials(tmp_path, optimizers=entry, implementation="compiled")
    torch._dynamo.reset()
    whole = run(trial, tmp_path)
    assert started(whole).hyperparameters[0]["implementation"] == "compiled"
    losses = [record.train_loss for record in evaluations(whole)]
    assert losses == pytest.approx([r.train_loss for r in evaluations(run(plain, tmp_path))], rel=1e-5)
    end = finished(whole)
    assert end.compile_seconds is not None
    assert end.train_seconds < end.compile_seconds < end.setup_seconds

    checkpoint, polls = tmp_path / "trial.pt", iter(range(1000))
    first = run(trial, tmp_path, checkpoint=checkpoint, should_stop=lambda: next(polls) >= 7)
    second = run(trial, tmp_path, checkpoint=checkpoint)
    assert finished(first).status == "interrupted"
    last = {key: value for key, value in untimed(second[-1]).items() if key != "compile_seconds"}
    assert last == {key: value for key, value in untimed(whole[-1]).items() if key != "compile_seconds"}


def test_a_table_of_one_class_of_implementation_is_quiet_and_a_mixed_one_warns(tmp_path: Path) -> None:
    fused, compiled, plain = (
        ran("A", "fused"),
        ran("B", "compiled"),
        ran("C", "forloop", "it has no fused step"),
    )
    assert [message for _, message in implementation_warnings([fused, compiled])] == []
    assert steps_ran([fused, compiled]) == "steps: fused (A), compiled (B)"
    assert steps_ran([plain]) == "for-loop steps"
    assert [message for _, message in implementation_warnings([fused, plain])] == [
        "training times reflect implementations as well as optimizers: fused (A) vs for-loop (C)",
        "C runs for-loop steps: it has no fused step",
    ]


def ran(label: str, name: str, note: str = "") -> Any:
    group = {"implementation": name} | ({"implementation_note": note} if note else {})
    log = SimpleNamespace(started=SimpleNamespace(hyperparameters=[group, group]))
    return SimpleNamespace(trial=SimpleNamespace(label=label), logs=[log])
