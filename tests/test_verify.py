"""`optbench verify`: references against independent values, the installed optimizers, plug-ins with deliberate faults."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from optbench.errors import OptbenchError
from optbench.verify import equations, toy_problem, two_layer
from optbench.verify.conformance import CHECKS, Verdict, bytes_per_parameter, conformance
from optbench.verify.plugin import load_plugin
from optbench.verify.references import REFERENCES, adam, rmsprop, sgd
from optbench.verify.toy_problem import Plugin
from program import optbench

CPU = torch.device("cpu")

GOOD = '''
import os
import torch


class Opt(torch.optim.Optimizer):
    """SGD with momentum and decoupled weight decay."""

    def __init__(self, params, lr=0.05, momentum=0.9, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.count = 0
        self.kept = {}

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.count += 1
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "buffer" not in state:
                    state["buffer"] = torch.zeros_like(p)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                state["buffer"].mul_(group["momentum"]).add_(p.grad)
                p.add_(state["buffer"], alpha=-group["lr"])
        return loss
'''

UPDATE = 'p.add_(state["buffer"], alpha=-group["lr"])'
DECAY = 'p.mul_(1 - group["lr"] * group["weight_decay"])'
SKIP = "if p.grad is None:\n                    continue"
BUFFER = 'state["buffer"].mul_(group["momentum"]).add_(p.grad)'

#: name -> (line of the good one, what is there instead, the check that must catch it)
FAULTS = {
    "trains a copy": (
        "super().__init__(params,",
        "super().__init__([p.detach().clone().requires_grad_() for p in params],",
        "trains",
    ),
    "ascends": (UPDATE, UPDATE.replace("-group", "group"), "trains"),
    "updates a clone": (UPDATE, "p.clone().add_(state['buffer'], alpha=-group['lr'])", "trains"),
    "first group's rate for all": (UPDATE, UPDATE.replace("-group", "-self.param_groups[0]"), "groups"),
    "constructor's decay for all": (
        DECAY,
        'p.mul_(1 - group["lr"] * self.defaults["weight_decay"])',
        "groups",
    ),
    "decays without gradient": (SKIP, f"{DECAY}\n                {SKIP}", "missing-gradients"),
    "fails without gradient": (SKIP, "pass", "missing-gradients"),
    "counts steps beside its state": (
        UPDATE,
        UPDATE.replace('group["lr"]', 'group["lr"] / self.count'),
        "state-dict",
    ),
    "keeps its momentum beside its state": (
        BUFFER,
        'b = self.kept.setdefault(id(p), torch.zeros_like(p)).mul_(0.9).add_(p.grad); state["buffer"] = b.clone()',
        "state-dict",
    ),
    "draws from the operating system": (
        UPDATE,
        UPDATE.replace("group", "(1 + os.urandom(1)[0] / 1e4) * group"),
        "deterministic",
    ),
    "decays at rate 0": (DECAY, 'p.mul_(1 - 0.01 * group["weight_decay"])', "lr-0"),
    "moves at rate 0": (UPDATE, UPDATE.replace('-group["lr"]', '-max(group["lr"], 1e-3)'), "lr-0"),
    "reads its rate once": (
        UPDATE,
        'p.add_(state["buffer"], alpha=-self.kept.setdefault(id(group), group["lr"]))',
        "schedule",
    ),
    "turns weights to float64": (
        UPDATE,
        f"{UPDATE}\n                p.data = p.data.double()",
        "dtype",
    ),
    "turns weights to float32": (UPDATE, f"{UPDATE}\n                p.data = p.data.float()", "bf16"),
    "divides by the norm": (BUFFER, f"{BUFFER}; state['buffer'] /= p.grad.norm()", "zero-gradients"),
    "divides by the variance": (BUFFER, f"{BUFFER}; state['buffer'] /= 1 + p.grad.std()", "one-element"),
    "indexes rows": (BUFFER, f"{BUFFER}; p[0]", "scalar"),
    "lacks a closure": (
        "def step(self, closure=None):",
        "def step(self):\n        closure = None",
        "closure",
    ),
    "evaluates the closure without gradients": (
        "with torch.enable_grad():",
        "with torch.no_grad():",
        "closure",
    ),
    "forgets the loss": ("return loss", "return None", "closure"),
    "flattens by storage": (
        UPDATE,
        "p.as_strided((p.numel(),), (1,)).add_(state['buffer'].reshape(-1), alpha=-group['lr'])",
        "channels-last",
    ),
    "takes no generator": ("super().__init__(params,", "len(params); super().__init__(params,", "trains"),
    "goes the other way for large tensors": (
        UPDATE,
        UPDATE.replace("-group", "(1 if p.numel() > 4096 else -1) * group"),
        "trains",
    ),
    "ascends in its second group": (
        UPDATE,
        UPDATE.replace("-group", "(-1 if group is self.param_groups[0] else 1) * group"),
        "groups",
    ),
    "decays its first group only": (
        DECAY,
        DECAY.replace('group["weight_decay"]', '(group is self.param_groups[0]) * group["weight_decay"]'),
        "groups",
    ),
    "trains the groups that it began with": (
        "for group in self.param_groups:",
        'for group in self.kept.setdefault("groups", list(self.param_groups)):',
        "groups",
    ),
    "stops at a missing gradient": (SKIP, SKIP.replace("continue", "break"), "missing-gradients"),
    "coasts on its momentum": (
        SKIP,
        'if p.grad is None:\n                    p.add_(self.state[p].get("buffer", torch.zeros(())), alpha=-group["lr"])\n'
        "                    continue",
        "missing-gradients",
    ),
    "decays what is frozen": (
        SKIP,
        f"if not p.requires_grad: p.mul_(0.9)\n                {SKIP}",
        "missing-gradients",
    ),
    "needs a gradient somewhere": (
        "self.count += 1",
        'torch.stack([p.grad.norm() for g in self.param_groups for p in g["params"] if p.grad is not None])',
        "missing-gradients",
    ),
    "loads its state without its rate": (
        "        return loss\n",
        "        return loss\n\n    def load_state_dict(self, given):\n        super().load_state_dict(given)\n"
        '        self.param_groups[0]["lr"] = self.defaults["lr"]\n',
        "state-dict",
    ),
    "saves what can't be read back": (BUFFER, f'{BUFFER}; state["object"] = object()', "state-dict"),
    "has no state before its first step": (
        "        return loss\n",
        "        return loss\n\n    def state_dict(self):\n        list(self.state.values())[0]\n        return super().state_dict()\n",
        "state-dict",
    ),
    "rounds a float32 state when loaded": (
        'state["buffer"] = torch.zeros_like(p)',
        'state["buffer"] = torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32))',
        "state-dict-bf16",
    ),
    "lowers its own rate": (UPDATE, f'{UPDATE}; group["lr"] *= 0.9', "schedule"),
    "ignores weight decay": (DECAY, "pass", "weight-decay"),
    "decays away from 0": (DECAY, DECAY.replace("1 -", "1 +"), "weight-decay"),
    "skips float64": (SKIP, SKIP.replace("is None", "is None or p.dtype == torch.float64"), "dtype"),
    "skips one element": (SKIP, SKIP.replace("is None", "is None or p.numel() == 1"), "one-element"),
    "skips scalars": (SKIP, SKIP.replace("is None", "is None or p.ndim == 0"), "scalar"),
    "clears no gradient": (
        "        return loss\n",
        "        return loss\n\n    def zero_grad(self, set_to_none=True):\n        pass\n",
        "zero-grad",
    ),
    "can't be told how to clear gradients": (
        "        return loss\n",
        "        return loss\n\n    def zero_grad(self):\n        super().zero_grad()\n",
        "zero-grad",
    ),
    "keeps the gradient itself as its momentum": (
        BUFFER,
        'state["buffer"] = p.grad if not state["buffer"].any() else state["buffer"].mul(0.9).add_(p.grad)',
        "zero-grad",
    ),
    "shares momentum between equal shapes": (
        BUFFER,
        f'state["buffer"] = self.kept.setdefault(p.shape, state["buffer"]); {BUFFER}',
        "alike",
    ),
    "keeps every gradient": (
        BUFFER,
        f'{BUFFER}; self.kept.setdefault("all", []).append(p.grad.clone())',
        "memory",
    ),
    "keeps the graph": (
        BUFFER,
        'with torch.enable_grad(): state["buffer"] = state["buffer"] * group["momentum"] + p.grad + 0 * p',
        "memory",
    ),
    "sets the default type": ("self.count = 0", "torch.set_default_dtype(torch.float64)", "side-effects"),
    "switches gradients off": ("self.count = 0", "torch.set_grad_enabled(False)", "side-effects"),
    "seeds torch": ("self.count += 1", "torch.manual_seed(0)", "side-effects"),
}


def plugin(folder: Path, source: str) -> Plugin:
    (folder / "my_opt.py").write_text(source)
    return load_plugin("my_opt.py:Opt", {}, CPU, folder)


def verdict_of(check: str, plugin: Plugin) -> Verdict:
    """Return the verdict of one check. The others are not run."""
    with mock.patch.dict(CHECKS, {check: CHECKS[check]}, clear=True):
        [verdict] = conformance(plugin)
    return verdict


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_by_the_check_of_its_name(fault: str, tmp_path: Path) -> None:
    line, instead, check = FAULTS[fault]
    assert line in GOOD
    verdict = verdict_of(check, plugin(tmp_path, GOOD.replace(line, instead)))
    assert verdict.outcome == "fail", verdict


@pytest.mark.parametrize(
    ("line", "instead", "check", "message"),
    [
        (UPDATE, 'p.data = p.data - group["lr"] * state["buffer"]', "dtype", "to new memory"),
        (
            'state["buffer"] = torch.zeros_like(p)',
            'state["buffer"] = torch.zeros_like(p, dtype=torch.float32)',
            "dtype",
            "parameters in float64 is in float32",
        ),
        (
            UPDATE,
            f'{UPDATE}; group["weight_decay"] *= 0.5',
            "schedule",
            "the optimizer itself changes weight_decay",
        ),
        (
            UPDATE,
            UPDATE.replace('group["lr"]', "0.01 * (group['lr'] > 0 or self.count > 3)"),
            "lr-0",
            "becomes 0 during",
        ),
    ],
)
def test_remarks_are_reported_as_notes(
    line: str, instead: str, check: str, message: str, tmp_path: Path
) -> None:
    assert line in GOOD
    verdict = verdict_of(check, plugin(tmp_path, GOOD.replace(line, instead)))
    assert (verdict.outcome, message in verdict.detail) == ("note", True), verdict


def test_a_check_leaves_the_settings_of_the_process_alone(tmp_path: Path) -> None:
    faulty = GOOD.replace("self.count = 0", "torch.set_default_dtype(torch.float64)")
    verdict_of("side-effects", plugin(tmp_path, faulty))
    assert torch.get_default_dtype() == torch.float32


def test_a_step_that_never_ends_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optbench.verify.conformance.SECONDS", 1)
    endless = GOOD.replace("self.count += 1", "self.count += 1\n        while self.count > 30: pass")
    verdict = verdict_of("trains", plugin(tmp_path, endless))
    assert verdict.outcome == "fail"
    assert "not finished after 1 s" in verdict.detail
    assert "my_opt.py, line 21" in verdict.detail


def test_waiting_for_a_processor_does_not_count_as_time_of_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    main = str(os.getpid())
    monkeypatch.setattr(toy_problem, "queued_nanoseconds", lambda process: {main: time.monotonic_ns()})
    with toy_problem.time_limit(1):
        time.sleep(1.2)
    monkeypatch.setattr(toy_problem, "queued_nanoseconds", lambda process: None)
    with pytest.raises(TimeoutError, match="not finished after 1 s"), toy_problem.time_limit(1):
        time.sleep(1.2)


TWO_PASSES = """
import torch


class Opt(torch.optim.Optimizer):
    def __init__(self, params, lr=0.05, rho=0.05, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "rho": rho, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        held = [(g, p) for g in self.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for _, p in held]).norm() + 1e-12
        away = [p.grad * (g["rho"] / norm) for g, p in held]
        for (_, p), shift in zip(held, away):
            p.add_(shift)
        with torch.enable_grad():
            closure()
        for (g, p), shift in zip(held, away):
            p.sub_(shift)
            p.add_(p.grad + g["weight_decay"] * p, alpha=-g["lr"])
        return loss
"""


def test_sharpness_aware_minimization_has_no_fault(tmp_path: Path) -> None:
    verdicts = {v.check: v for v in conformance(plugin(tmp_path, TWO_PASSES))}
    assert [v for v in verdicts.values() if v.outcome == "fail"] == []
    assert "up to 2 times per step" in verdicts["closure"].detail


def test_a_late_start_is_no_fault(tmp_path: Path) -> None:
    """A method that gathers statistics in its first ten steps, and then trains as the good one does."""
    source = GOOD.replace("p.mul_(1", LATE + "p.mul_(1")
    assert source != GOOD
    found = conformance(plugin(tmp_path, source))
    assert [v for v in found if v.outcome == "fail"] == []


LATE = """state["seen"] = state.get("seen", 0) + 1
                if state["seen"] <= 10:
                    continue
                """


def test_changed_gradients_are_a_note(tmp_path: Path) -> None:
    source = GOOD.replace(BUFFER, f"p.grad.mul_(0.5); {BUFFER}")
    verdict = verdict_of("gradients", plugin(tmp_path, source))
    assert verdict.outcome == "note"
    assert "in place" in verdict.detail


def test_a_good_plug_in_passes_every_check(tmp_path: Path) -> None:
    assert {v.outcome for v in conformance(plugin(tmp_path, GOOD))} == {"pass"}


OTHERS = ("sgd", "adam", "rmsprop", "adagrad", "adadelta", "nadam", "radam", "adamax", "asgd", "lbfgs")
OF_PACKAGES = ("schedulefree.SGDScheduleFree", "pytorch_optimizer.Lion")


@pytest.mark.parametrize(
    "name",
    [
        "adamw",
        "adafactor",
        "muon",
        "schedulefree.AdamWScheduleFree",
        *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS + OF_PACKAGES),
    ],
)
def test_known_good_optimizers_have_no_fault(name: str) -> None:
    if "." in name:
        pytest.importorskip(name.partition(".")[0])
    found = conformance(load_plugin(name, {}, CPU, Path()))
    assert [v for v in found if v.outcome == "fail"] == []
    assert len(found) == len(CHECKS)


def test_rprop_is_found_to_ignore_its_rate_after_the_first_step() -> None:
    found = conformance(load_plugin("rprop", {}, CPU, Path()), allow=["lr-0"])
    assert {v.check: v.outcome for v in found if v.outcome not in ("pass", "note")} == {
        "lr-0": "allowed",
        "schedule": "fail",
    }


@pytest.mark.parametrize(("name", "size"), [("sgd", 0), ("rmsprop", 4), ("adam", 8), ("adamw(amsgrad)", 12)])
def test_state_bytes_per_parameter_are_exact(name: str, size: int) -> None:
    name, _, flag = name.partition("(")
    arguments = {flag.rstrip(")"): True} if flag else {}
    assert bytes_per_parameter(load_plugin(name, arguments, CPU, Path())) == size


def test_installed_optimizers_agree_with_their_equations() -> None:
    found = list(equations.installed(CPU))
    assert all(d.passed for d in found)
    measured = {(d.label, d.implementation) for d in found if d.value is not None}
    assert {("Adam", "fused"), ("Nesterov", "foreach"), ("RMSprop centered", "for-loop")} <= measured
    assert all(d.value is None or d.value < 1e-12 for d in found if d.dtype == torch.float64)


WRONG = {
    "epsilon inside the root": ("adam", {"eps": 1e-3}, "(square.sqrt() + eps)", "(square + eps**2).sqrt()"),
    "no bias correction": ("adam", {}, "second / (1 - b2**t)", "second"),
    "decay in the gradient": ("adamw", {"weight_decay": 0.1}, "DECOUPLED = True", "DECOUPLED = False"),
}
ADAM = """
import torch

DECOUPLED = True


class Opt(torch.optim.Optimizer):
    def __init__(self, params, lr=0.05, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            (b1, b2), eps, decay = group["betas"], group["eps"], group["weight_decay"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if not s:
                    s.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                s["t"] += 1
                g, t = p.grad, s["t"]
                if DECOUPLED:
                    p.mul_(1 - group["lr"] * decay)
                else:
                    g = g + decay * p
                s["m"].lerp_(g, 1 - b1)
                s["v"].lerp_(g * g, 1 - b2)
                second = s["v"]
                square = second / (1 - b2**t)
                p.sub_(group["lr"] * s["m"] / (1 - b1**t) / (square.sqrt() + eps))
"""


def test_a_plug_in_that_is_adamw_agrees_with_its_equation(tmp_path: Path) -> None:
    found = equations.deviations_of(plugin(tmp_path, ADAM), "adamw")
    assert [d.passed for d in found] == [True, True]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_equation_is_caught_in_both_precisions(wrong: str, tmp_path: Path) -> None:
    equation, arguments, line, instead = WRONG[wrong]
    assert line in ADAM
    (tmp_path / "my_opt.py").write_text(ADAM.replace(line, instead))
    found = equations.deviations_of(load_plugin("my_opt.py:Opt", arguments, CPU, tmp_path), equation)
    assert [d.passed for d in found] == [False, False]


def test_references_give_the_values_worked_out_by_hand() -> None:
    w, g = np.array([1.0]), np.array([0.5])
    memory: dict[str, np.ndarray] = {}
    first = sgd(w, g, 1, memory, lr=0.1, momentum=0.9, dampening=0.5)
    assert first == pytest.approx([0.95])  # the first velocity is undampened
    assert sgd(first, g, 2, memory, lr=0.1, momentum=0.9, dampening=0.5) == pytest.approx([0.88])
    assert sgd(w, g, 1, {}, lr=0.1, momentum=0.9, nesterov=True) == pytest.approx([0.905])
    assert adam(w, g, 1, {}, lr=0.1, eps=0.0) == pytest.approx(
        [0.9]
    )  # the first step is the rate, whatever g
    assert rmsprop(w, g, 1, {}, lr=0.1, alpha=0.99, eps=0.0) == pytest.approx([0.0])  # 0.1 / sqrt(0.01)
    assert set(REFERENCES) == {"sgd", "adagrad", "rmsprop", "adam", "adamw"}


def test_the_backward_pass_by_hand_is_autograds() -> None:
    assert equations.backward_deviation() < 1e-13


def test_gradients_by_hand_are_the_losss_finite_differences() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, 3)), (random.random((8, 1)) > 0.5).astype(float)
    network = two_layer.initial(3, 4, 0)
    by_hand = two_layer.gradients(network, x, y)
    for name in ("w1", "b1", "w2", "b2"):
        weights = getattr(network, name)
        for index in np.ndindex(weights.shape):
            kept = weights[index]
            ends = []
            for shift in (1e-5, -1e-5):
                weights[index] = kept + shift
                ends.append(two_layer.loss(network, x, y))
            weights[index] = kept
            assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(getattr(by_hand, name)[index], abs=1e-9)


def test_the_network_by_hand_learns_what_no_line_separates() -> None:
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = np.array([[0.0], [1.0], [1.0], [0.0]])
    network, losses = two_layer.descend(two_layer.initial(2, 8, 1), x, y, lr=1.0, steps=2000)
    assert losses[-1] < 0.05 < losses[0]
    assert ((two_layer.probabilities(network, x) > 0.5) == y).all()


def test_the_command_names_the_fault_and_ends_with_1(tmp_path: Path) -> None:
    line, instead, _ = FAULTS["decays at rate 0"]
    (tmp_path / "my_opt.py").write_text(GOOD.replace(line, instead))
    done = optbench("verify", "my_opt.py:Opt", "--set", "lr=0.1", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert re.search(r"lr-0 +fail", done.stdout)
    assert "State: 4 bytes per parameter" in done.stdout
    assert optbench("verify", "my_opt.py:Opt", "--allow", "lr-0", cwd=tmp_path).returncode == 0


def test_the_command_refuses_what_it_cannot_try(tmp_path: Path) -> None:
    done = optbench("verify", "adam", "--set", "momentun=0.9", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 2
    assert "momentun" in done.stderr
    done = optbench("verify", "adam", "--allow", "lr-zero", cwd=tmp_path)
    assert done.returncode == 2
    assert "lr-0" in done.stderr
    assert optbench("verify", "adam", "--set", "lr=-1", cwd=tmp_path).returncode == 2
    assert optbench("verify", "", cwd=tmp_path).returncode == 2


BAD = """
import torch


class Raises(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        raise KeyError("device")


class Exits(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        raise SystemExit(0)


class Lacks:
    def __init__(self, params, lr=0.1):
        self.param_groups = [{"params": list(params), "lr": lr}]


class Hangs(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        while True:
            pass
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Raises", r"KeyError: 'device' \(.*bad.py, line 7\)"),
        ("Exits", r"SystemExit: 0 \(.*bad.py, line 12\)"),
        ("Lacks", r"it returned Lacks; expected a torch.optim.Optimizer, with param_groups and step\(\)"),
        ("Hangs", r"not finished after 1 s \(.*bad.py, line 2[23]\)"),
    ],
)
def test_a_plug_in_that_cannot_be_built_is_rejected_with_file_and_line(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optbench.verify.plugin.SECONDS", 1)
    (tmp_path / "bad.py").write_text(BAD)
    with pytest.raises(OptbenchError, match=message):
        load_plugin(f"bad.py:{name}", {}, CPU, tmp_path)


def test_a_class_whose_groups_need_a_flag_is_checked_with_these_groups(tmp_path: Path) -> None:
    (tmp_path / "flagged.py").write_text(
        "import torch\nclass Flagged(torch.optim.SGD):\n    def __init__(self, groups):\n"
        "        assert all('use_sign' in group for group in groups)\n        super().__init__(groups, lr=0.05)\n"
    )
    done = optbench("verify", "flagged.py:Flagged", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    said = " ".join(done.stdout.split())
    assert (
        "Called as an entry with `groups: [{parameters: matrices, use_sign: true}, {parameters: rest," in said
    )


def test_output_of_a_plug_in_is_shown_below_the_table(tmp_path: Path) -> None:
    (tmp_path / "my_opt.py").write_text(GOOD.replace("self.count = 0", "self.count = print('welcome') or 0"))
    done = optbench("verify", "my_opt.py:Opt", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("welcome") == 1
    assert "lines, first: welcome" in done.stdout
