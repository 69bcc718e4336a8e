"""What each schedule does to the rates that steps really use."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from optbench.analysis.warnings import warnings_frame
from optbench.catalog.check import problems
from optbench.catalog.schedules import step as step_schedule
from optbench.engine import session as sessions
from optbench.engine.optimizers import Optimizers
from optbench.engine.schedule import rates
from optbench.errors import OptbenchError
from optbench.store import read
from optbench.suite.load import load
from optbench.suite.types import Schedule
from results_builder import write_trials
from trials import CPU, TINY, evaluations, finished, run, trials, untimed


def optimizer(*own: float, momentum: float = 0.0) -> torch.optim.SGD:
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in own]
    return torch.optim.SGD(groups, lr=1.0, momentum=momentum)


def used(
    schedule: Any, horizon: int | None, *own: float, epoch: int = 10, observed: tuple[float, ...] = ()
) -> list[list[float]]:
    """The rates of each group at every step of the horizon (30 steps without one)."""
    sgd = optimizer(*(own or (1.0,)))
    made = rates(Schedule.model_validate(schedule), horizon, epoch, ".", Optimizers([sgd]))
    found = []
    for step in range(horizon or 30):
        made.apply(step)
        found.append([group["lr"] for group in sgd.param_groups])
        if step < len(observed):
            made.observe(observed[step])
    return found


NAMES = ["constant", "cosine", "exponential", "linear", "one_cycle", "step", "warmup_stable_decay"]


@pytest.mark.parametrize("name", NAMES)
def test_warmup_moves_at_once_and_never_passes_the_peak_and_each_group_keeps_its_own_rate(name: str) -> None:
    found = used({"name": name, "warmup": "5 steps"}, 40, 0.1, 0.02)
    first = [rates[0] for rates in found]
    assert first[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert max(first) <= 0.1
    assert [rates[1] for rates in found] == pytest.approx([0.2 * rate for rate in first])
    assert all(rate > 0 for rate in first)


TORCH = {
    "StepLR": {"step_size": 7},
    "MultiStepLR": {"milestones": [5, 20], "gamma": 0.3},
    "ExponentialLR": {"gamma": 0.9},
    "CosineAnnealingLR": {},
    "CosineAnnealingWarmRestarts": {"T_0": 6, "T_mult": 2},
    "LinearLR": {"total_iters": 12},
    "PolynomialLR": {"total_iters": 25, "power": 2.0},
    "CyclicLR": {"base_lr": 0.001, "step_size_up": 5, "cycle_momentum": False},
    "OneCycleLR": {},
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_schedulers_give_the_rates_that_they_give_in_torch(name: str) -> None:
    found = used({"name": f"torch.optim.lr_scheduler.{name}", **TORCH[name]}, 30, 0.1, 0.02)
    plain = optimizer(0.1, 0.02, momentum=0.9)
    more = {"CosineAnnealingLR": {"T_max": 30}, "OneCycleLR": {"max_lr": [0.1, 0.02], "total_steps": 30}}
    more["CyclicLR"] = {"max_lr": [0.1, 0.02]}
    made = getattr(torch.optim.lr_scheduler, name)(plain, **{**TORCH[name], **more.get(name, {})})
    for rates_used in found:
        assert rates_used == pytest.approx([group["lr"] for group in plain.param_groups], rel=1e-12)
        plain.step()
        if made.last_epoch < 29:
            made.step()


def test_a_scheduler_defined_by_epoch_steps_once_an_epoch() -> None:
    name = "torch.optim.lr_scheduler.MultiStepLR"
    found = used({"name": name, "milestones": [1, 3], "per": "epoch"}, 40)
    assert [rate for (rate,) in found] == pytest.approx([1.0] * 10 + [0.1] * 20 + [0.01] * 10)


def test_warmup_goes_before_a_torch_scheduler() -> None:
    found = used({"name": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.5, "warmup": "4 steps"}, 8)
    assert [rate for (rate,) in found] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.5, 0.25, 0.125])


def test_a_scheduler_that_cycles_momentum_does_so() -> None:
    sgd = optimizer(0.1, momentum=0.9)
    schedule = Schedule(name="torch.optim.lr_scheduler.OneCycleLR")
    made = rates(schedule, 20, 10, ".", Optimizers([sgd]))
    made.apply(0)
    assert sgd.param_groups[0]["momentum"] == pytest.approx(0.95)
    made.apply(6)
    assert sgd.param_groups[0]["momentum"] < 0.87
    assert "initial_lr" not in sgd.param_groups[0]


def test_a_torch_scheduler_goes_back_when_the_scaler_has_skipped_steps() -> None:
    sgd = optimizer(1.0)
    schedule = Schedule(name="torch.optim.lr_scheduler.ExponentialLR", arguments={"gamma": 0.5})
    made = rates(schedule, None, 10, ".", Optimizers([sgd]))
    seen = []
    for step in (0, 1, 2, 3, 2, 3):
        made.apply(step)
        seen.append(sgd.param_groups[0]["lr"])
    assert seen == [1, 0.5, 0.25, 0.125, 0.25, 0.125]


LOSSES = (1.0, 0.9, 0.95, 0.91, 0.92, 0.899, 0.95, 0.96, 0.97, float("nan"), 0.5, 0.6, 0.6, 0.6, 0.6, 0.6)


@pytest.mark.parametrize("cooldown", [0, 2])
@pytest.mark.parametrize("patience", [0, 1, 2])
def test_reduce_on_plateau_is_torchs(patience: int, cooldown: int) -> None:
    mine = {
        "name": "reduce_on_plateau",
        "factor": 0.5,
        "patience": patience,
        "cooldown": cooldown,
        "final": 0.1,
    }
    found = used(mine, 17, observed=LOSSES)
    plain = optimizer(1.0)
    made = torch.optim.lr_scheduler.ReduceLROnPlateau(
        plain, factor=0.5, patience=patience, cooldown=cooldown, min_lr=0.1, eps=0
    )
    for (rate,), loss in zip(found, (*LOSSES, 0.0), strict=True):
        assert rate == plain.param_groups[0]["lr"]
        made.step(loss)
    named = {"name": "torch.optim.lr_scheduler.ReduceLROnPlateau", "factor": 0.5, "eps": 0, "min_lr": 0.1}
    named |= {"patience": patience, "cooldown": cooldown}
    assert used(named, 17, observed=LOSSES) == found


def test_refused_arguments_are_a_users_mistake() -> None:
    with pytest.raises(OptbenchError, match=r"OneCycleLR: .*pct_start"):
        used({"name": "torch.optim.lr_scheduler.OneCycleLR", "pct_start": 3.0, "cycle_momentum": False}, 10)


def test_a_plateau_in_a_trial_halves_the_rate_and_is_in_the_records(tmp_path: Path) -> None:
    """A threshold of a half: few evaluations are so much better that they count as progress."""
    schedule = {"name": "reduce_on_plateau", "patience": 1, "threshold": 0.5}
    (trial,) = trials(tmp_path, schedule=schedule, workload={"budget": {"epochs": 8}})
    found = [event.learning_rate for event in evaluations(run(trial, tmp_path))]
    assert found[0] == 0.1
    assert found[-1] < 0.05
    assert all(later in (before, before / 2) for before, later in pairwise(found))


@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "reduce_on_plateau", "patience": 0, "threshold": 0.3},
        {"name": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "threshold": 0.3},
        {"name": "torch.optim.lr_scheduler.CosineAnnealingWarmRestarts", "T_0": 4, "warmup": "2 steps"},
    ],
    ids=lambda schedule: schedule["name"].rpartition(".")[2],
)
def test_a_resumed_trial_continues_at_the_same_rates(schedule: dict[str, Any], tmp_path: Path) -> None:
    (trial,) = trials(tmp_path, schedule=schedule, workload={"budget": {"epochs": 6}})
    whole = run(trial, tmp_path)
    stopped = iter([False] * 20 + [True] * 10)
    path = tmp_path / "x.pt"
    first = run(trial, tmp_path, checkpoint=path, should_stop=lambda: next(stopped))
    assert finished(first).status == "interrupted"
    second = run(trial, tmp_path, checkpoint=path)
    seen = {event.step: untimed(event) for event in (*evaluations(first), *evaluations(second))}
    assert seen == {event.step: untimed(event) for event in evaluations(whole)}
    assert len({event.learning_rate for event in evaluations(whole)}) > 1


def test_a_session_keeps_a_tensor_rate_a_tensor(tmp_path: Path) -> None:
    (trial,) = trials(tmp_path, schedule="torch.optim.lr_scheduler.ConstantLR")
    session = sessions.prepare(trial, CPU, tmp_path)
    group = session.optimizers.members[0].param_groups[0]
    group["lr"] = torch.tensor(0.1)
    session.rates.apply(0)
    assert isinstance(group["lr"], torch.Tensor)
    assert float(group["lr"]) == pytest.approx(0.1 / 3)


def test_check_knows_the_arguments_of_schedulers(tmp_path: Path) -> None:
    good = {"name": "torch.optim.lr_scheduler.CosineAnnealingLR", "eta_min": 0.001}
    path = tmp_path / "suite.yaml"
    for schedule, wrong in (
        (good, []),
        (good | {"eta_mni": 1}, ["'torch.optim.lr_scheduler.CosineAnnealingLR' has no argument 'eta_mni'"]),
        ({"name": "torch.optim.lr_scheduler.MultiStepLR"}, ["requires the argument 'milestones'"]),
        ({"name": "reduce_on_plateau", "patience": 2, "factor": 0.5}, []),
        ({"name": "reduce_on_plateau", "observed": 2}, ["'observed' is passed by optbench: remove it"]),
    ):
        path.write_text(yaml.safe_dump({**TINY, "schedule": schedule}))
        found = problems(load(path), tmp_path)
        assert len(found) == len(wrong)
        assert all(words in str(problem) for words, problem in zip(wrong, found, strict=True))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("{name: warmup_stable_decay, decay: 0}", "from 1e-06 to 1; found 0"),
        ("{name: exponential, final: -1}", "from 1e-12 to 1; found -1"),
        ("{name: step, at: [0.5, 60]}", "expected numbers from 0 to 1; found 60"),
        ("{name: reduce_on_plateau, patience: -1}", "of at least 0; found -1"),
        ("{name: one_cycle, rise: 1.5}", "from 0 to 1; found 1.5"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_runs(
    schedule: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(TINY))
    loaded = load(tmp_path / "suite.yaml", [f"schedule={schedule}"])
    assert expected in str([problem.message for problem in problems(loaded, tmp_path)])


@pytest.mark.parametrize(("fraction", "steps", "first"), [(0.07, 100, 7), (0.14, 50, 7), (0.29, 100, 29)])
def test_a_step_falls_at_the_step_that_its_fraction_means(fraction: float, steps: int, first: int) -> None:
    values = [step_schedule.multiplier(step, steps, at=[fraction]) for step in range(steps)]
    assert values.index(0.1) == first


# what a schedule may be

OWN = """
import math
from torch.optim.lr_scheduler import LambdaLR, LinearLR, SequentialLR, StepLR


def factory(optimizer, num_warmup_steps, num_training_steps, last_epoch=-1):
    def factor(step):
        if step < num_warmup_steps:
            return step / num_warmup_steps
        return 1 - (step - num_warmup_steps) / (num_training_steps - num_warmup_steps)
    return LambdaLR(optimizer, factor, last_epoch)


def sequence(opt: "torch.optim.Optimizer", total_steps: int):
    first = LinearLR(opt, 0.5, 1.0, total_steps // 2)
    return SequentialLR(opt, [first, StepLR(opt, 3)], [total_steps // 2])


def by_name(kind, optimizer, num_training_steps=100):
    return factory(optimizer, 0, num_training_steps) if kind == "linear" else None


def halves(t, T, *, base=2):
    return base ** (-t / T)


class Foreign:
    def __init__(self, optimizer, length=10): ...
    def step(self, epoch): ...


def returns_nothing(optimizer): ...
def negative(step, steps): return -1.0
def nothing(step, steps): ...
def fails_late(step, steps): return 1.0 if step < steps - 1 else 1 / 0
NUMBER = 3
"""
LR = "torch.optim.lr_scheduler."


def own_used(tmp_path: Path, schedule: dict[str, Any], horizon: int) -> list[float]:
    (tmp_path / "own.py").write_text(OWN)
    sgd = optimizer(1.0)
    parsed = Schedule.model_validate(schedule)
    made = rates(parsed, horizon, 10, str(tmp_path), Optimizers([sgd]))
    found = []
    for step in range(horizon):
        made.apply(step)
        found.append(sgd.param_groups[0]["lr"])
    return found


def test_a_function_that_returns_a_scheduler_follows_the_horizon(tmp_path: Path) -> None:
    assert own_used(tmp_path, {"name": "own.py:factory"}, 4) == [1.0, 0.75, 0.5, 0.25]
    given = {"name": "own.py:factory", "num_warmup_steps": 2, "num_training_steps": 6}
    assert own_used(tmp_path, given, 4) == [0.0, 0.5, 1.0, 0.75]
    assert own_used(tmp_path, {"name": "own.py:sequence"}, 4) == [0.5, 0.75, 1.0, 1.0]
    assert own_used(tmp_path, {"name": "own.py:by_name", "kind": "linear"}, 4) == [1.0, 0.75, 0.5, 0.25]


def test_an_own_function_of_step_and_steps_may_call_them_anything(tmp_path: Path) -> None:
    assert own_used(tmp_path, {"name": "own.py:halves", "base": 4}, 4) == pytest.approx(
        [1, 4**-0.25, 0.5, 4**-0.75]
    )


@pytest.mark.parametrize(
    ("name", "arguments"), [("LinearLR", {"end_factor": 0.5}), ("PolynomialLR", {}), ("ConstantLR", {})]
)
def test_total_iters_follows_the_horizon(name: str, arguments: dict[str, Any]) -> None:
    followed = used({"name": LR + name, **arguments}, 40)
    assert followed == used({"name": LR + name, **arguments, "total_iters": 40}, 40)
    assert followed != used({"name": LR + name, **arguments, "total_iters": 5}, 40)


def test_epochs_of_one_cycle_are_not_overridden_by_the_horizon() -> None:
    name = LR + "OneCycleLR"
    given = used({"name": name, "epochs": 5, "steps_per_epoch": 10, "cycle_momentum": False}, 40)
    assert given == used({"name": name, "total_steps": 50, "cycle_momentum": False}, 40)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"name": "own.py:factory"}, ""),
        ({"name": "own.py:factory", "num_warmup_steps": 3, "num_training_steps": 18}, ""),
        ({"name": "own.py:sequence"}, ""),
        ({"name": "own.py:by_name", "kind": "linear"}, ""),
        ({"name": "own.py:by_name"}, "requires the argument 'kind'"),
        ({"name": "own.py:halves", "base": 3}, ""),
        ({"name": "own.py:halves", "bse": 3}, "no argument 'bse'"),
        ({"name": "own.py:factory", "optimizer": 3}, "is passed by optbench: remove it"),
        ({"name": "own.py:Foreign"}, "no subclass of torch's LRScheduler"),
        ({"name": "own.py:NUMBER"}, "is of type int"),
        ({"name": "own.py:returns_nothing"}, "returned NoneType"),
        ({"name": "own.py:negative"}, "at least 0; found -1.0"),
        ({"name": "own.py:nothing"}, "at least 0; found None"),
        ({"name": "own.py:fails_late"}, "step 17 of 18: ZeroDivisionError"),
        ({"name": LR + "LambdaLR", "lr_lambda": "lambda e: 0.9**e"}, "takes a function"),
        ({"name": LR + "LambdaLR"}, "takes a function"),
        ({"name": LR + "SequentialLR", "schedulers": ["a"], "milestones": [5]}, "takes other schedulers"),
        ({"name": LR + "ChainedScheduler", "schedulers": ["a", "b"]}, "takes other schedulers"),
        ({"name": LR + "LRScheduler"}, "base class"),
        ({"name": LR + "OneCycleLR", "pct_start": 3.0}, "pct_start"),
        ({"name": LR + "OneCycleLR", "total_steps": 10}, "Tried to step 1"),
        ({"name": LR + "CyclicLR", "base_lr": 0.1, "scale_fn": "x"}, "not callable"),
        ({"name": LR + "ExponentialLR", "gamma": -0.5}, "at least 0; found -0.5"),
    ],
)
def test_check_states_what_is_wrong_with_a_schedule_before_anything_runs(
    tmp_path: Path, schedule: dict[str, Any], words: str
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    entry = {"use": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9, "schedule": schedule}
    path = tmp_path / "suite.yaml"
    for suite in ({**TINY, "optimizers": {"SGD": entry}}, {**TINY, "schedule": schedule}):
        path.write_text(yaml.safe_dump(suite))
        found = [problem.message for problem in problems(load(path), tmp_path)]
        assert len(found) == bool(words), found
        assert words in str(found)


def test_check_knows_that_an_optimizer_has_no_momentum_to_cycle(tmp_path: Path) -> None:
    entry = {"use": "torch.optim.Adagrad", "lr": 0.1, "schedule": LR + "OneCycleLR"}
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({**TINY, "optimizers": {"Adagrad": entry}}))
    assert "momentum" in str(problems(load(path), tmp_path))


@pytest.mark.parametrize(("total", "is_reported"), [(5, True), (48, False)])
def test_a_rate_of_0_for_a_large_part_of_the_training_is_a_warning(
    tmp_path: Path, total: int, is_reported: bool
) -> None:
    schedule = {"name": LR + "PolynomialLR", "total_iters": total}
    (trial,) = trials(tmp_path, schedule=schedule, workload={"budget": {"epochs": 8}})
    suite = load(tmp_path / "suite.yaml").suite
    folder = write_trials(tmp_path / "results", suite, (trial,), {trial.id: run(trial, tmp_path)})
    messages = warnings_frame(read([folder.path]))["message"].tolist()
    expected = "the learning rate was 0 for a large part of the training: SGD (at least 88 % of the steps)"
    assert (expected in messages) is is_reported


@pytest.mark.parametrize(
    ("schedule", "changes"),
    [
        ({"name": LR + "OneCycleLR"}, True),
        ({"name": LR + "OneCycleLR", "cycle_momentum": False}, False),
        ({"name": LR + "CyclicLR", "base_lr": 0.1}, True),
        ({"name": LR + "StepLR", "step_size": 3}, False),
        ({"name": "cosine"}, False),
        ({"name": "own.py:factory"}, False),
        ({"name": "own.py:cycle"}, True),
    ],
)
def test_schedules_that_change_momentum_are_known_as_such(
    tmp_path: Path, schedule: dict[str, Any], changes: bool
) -> None:
    cycle = "\n\ndef cycle(optimizer, total_steps):\n    return OneCycleLR(optimizer, 0.1, total_steps)\n"
    (tmp_path / "own.py").write_text("from torch.optim.lr_scheduler import OneCycleLR\n" + OWN + cycle)
    held = Optimizers([optimizer(0.1, momentum=0.9)])
    made = rates(Schedule.model_validate(schedule), 20, 10, str(tmp_path), held)
    assert made.may_change_momentum is changes
