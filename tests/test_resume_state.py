"""Resume with optimizers that keep any kind of state: exactly, or from step 0 with a note."""

from __future__ import annotations

import pickle
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from optbench.engine import safe_pickle
from optbench.engine.loop import train
from optbench.engine.stacked.loop import train_stack
from optbench.events import Evaluated, Event, Finished, Progressed, Resumed
from optbench.suite.types import Trial
from trials import CPU, finished, run, trials, untimed

#: each class is SGD with momentum whose velocity, or a count that changes the step, is kept somewhere else
PLUGINS = '''
import collections, copy, dataclasses, enum, functools, pathlib, random
import numpy as np
import torch
from torch.optim import SGD, Adam, Optimizer
from neighbour import Imported
from torch.utils._python_dispatch import return_and_correct_aliasing

Pair = collections.namedtuple("Pair", "velocity count")
Kind = enum.Enum("Kind", "ODD EVEN")

@dataclasses.dataclass
class Moments:
    velocity: torch.Tensor
    count: int = 0

class Slotted:
    __slots__ = ("velocity",)

class Base(Optimizer):
    """Adds `self.velocity(p, state)` to the weights."""
    def __init__(self, params, lr=0.02):
        super().__init__(params, dict(lr=lr))
        self.kept, self.count = {}, 0
        self.prepare()
    def prepare(self): pass
    @torch.no_grad()
    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(self.direction(p, self.state[p]), alpha=group["lr"])

class Attribute(Base):
    def direction(self, p, state):
        return self.kept.setdefault(p, torch.zeros_like(p)).mul_(0.9).add_(p.grad)

class ById(Base):
    def direction(self, p, state):
        return self.kept.setdefault(id(p), torch.zeros_like(p)).mul_(0.9).add_(p.grad)

class Count(Base):
    def direction(self, p, state):
        return p.grad / self.count

class Dataclass(Base):
    def direction(self, p, state):
        moments = state.setdefault("moments", Moments(torch.zeros_like(p)))
        moments.count += 1
        return moments.velocity.mul_(0.9).add_(p.grad) / moments.count

class NeighbourClass(Base):
    def direction(self, p, state):
        moments = state.setdefault("moments", Imported(torch.zeros_like(p)))
        return moments.velocity.mul_(0.9).add_(p.grad)

class Slots(Base):
    def direction(self, p, state):
        if "slots" not in state:
            state["slots"] = Slotted()
            state["slots"].velocity = torch.zeros_like(p)
        return state["slots"].velocity.mul_(0.9).add_(p.grad)

class Array(Base):
    def direction(self, p, state):
        velocity = 0.9 * state.get("velocity", np.zeros(p.shape, np.float32)) + p.grad.numpy()
        state["velocity"] = velocity
        return torch.from_numpy(velocity)

class NumPyScalars(Base):
    def direction(self, p, state):
        state["scale"] = np.float64(state.get("scale", np.float64(1))) * np.float64(0.9)
        state["n"], state["flag"], state["kind"] = np.int64(3), np.bool_(True), np.dtype("float32")
        return p.grad * float(state["scale"])

class Values(Base):
    def direction(self, p, state):
        state["count"] = state.get("count", 0) + 1
        state.update(pair=Pair(p.grad.clone(), 2), kind=Kind.ODD, path=pathlib.Path("x"), range=range(3), slice=slice(1),
            set={1, 2}, counter=collections.Counter("aa"), complex=1j, bytes=b"x", cls=SGD, dtype=torch.float32)
        return p.grad / state["count"]

class Deque(Base):
    def direction(self, p, state):
        last = state.setdefault("last", collections.deque(maxlen=3))
        last.append(p.grad.clone())
        table = state.setdefault("table", collections.defaultdict(list))
        table["norms"].append(float(p.grad.norm()))
        return sum(last) / len(table["norms"])

class Generators(Base):
    def prepare(self):
        self.draws, self.numpy, self.legacy = torch.Generator().manual_seed(3), np.random.default_rng(4), np.random.RandomState(5)
        self.python = random.Random(6)
    def direction(self, p, state):
        noise = torch.rand((), generator=self.draws) + self.numpy.random() + self.legacy.rand() + self.python.random()
        return p.grad * noise

class Closure(Base):
    def direction(self, p, state):
        if "update" not in state:
            velocity = torch.zeros_like(p)
            state["update"] = lambda gradient: velocity.mul_(0.9).add_(gradient)
        return state["update"](p.grad)

class Hook(Base):
    def prepare(self):
        for group in self.param_groups:
            for p in group["params"]:
                self.attach(p)
    def attach(self, p):
        velocity = torch.zeros_like(p)
        p.register_hook(lambda gradient: velocity.mul_(0.9).add_(gradient).clone())
    def direction(self, p, state):
        return p.grad

class OnParameter(Base):
    def direction(self, p, state):
        if not hasattr(p, "velocity"):
            p.velocity = torch.zeros_like(p)
        return p.velocity.mul_(0.9).add_(p.grad)

class ClassLevel(Base):
    velocities = {}
    def direction(self, p, state):
        return self.velocities.setdefault(id(p), torch.zeros_like(p)).mul_(0.9).add_(p.grad)

class Iterating(Base):
    def direction(self, p, state):
        if "numbers" not in state:
            state["numbers"] = (1 / n for n in range(1, 1000))
        return p.grad * next(state["numbers"])

class Dropped(Base):
    """Saves what it does not load."""
    def direction(self, p, state):
        return self.kept.setdefault(p, torch.zeros_like(p)).mul_(0.9).add_(p.grad)
    def state_dict(self):
        return {**super().state_dict(), "kept": [t for t in self.kept.values()]}

class OwnShape(Base):
    def direction(self, p, state):
        return self.kept.setdefault(p, torch.zeros_like(p)).mul_(0.9).add_(p.grad)
    def state_dict(self):
        return {"velocities": [self.kept[p] for g in self.param_groups for p in g["params"] if p in self.kept]}
    def load_state_dict(self, state):
        order = [p for g in self.param_groups for p in g["params"]]
        self.kept = dict(zip(order, state["velocities"]))
        self.count = -1

class Circular(Attribute):
    def state_dict(self):
        state = super().state_dict()
        state["state"]["self"] = state
        return state

class Raising(Attribute):
    def state_dict(self):
        raise AttributeError("no such hook")

class Sparse(Base):
    def direction(self, p, state):
        state["velocity"] = (0.9 * state["velocity"].to_dense() + p.grad if "velocity" in state else p.grad).to_sparse()
        return state["velocity"].to_dense()

class LowPrecision(Base):
    def direction(self, p, state):
        history = state.setdefault("history", [torch.zeros_like(p, dtype=torch.bfloat16)])
        history[0] = (0.9 * history[0] + p.grad).bfloat16()
        return history[0].float()

class Packed(torch.Tensor):
    """Eight bits per number, in a tensor subclass."""
    @staticmethod
    def __new__(cls, codes, scale):
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32, device=codes.device)
    def __init__(self, codes, scale):
        self.codes, self.scale = codes, scale
    def __tensor_flatten__(self):
        return ["codes", "scale"], None
    @classmethod
    def __tensor_unflatten__(cls, inner, meta, size, stride):
        return cls(inner["codes"], inner["scale"])
    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.detach.default, torch.ops.aten.clone.default):
            return return_and_correct_aliasing(func, args, kwargs or {}, cls(func(args[0].codes), func(args[0].scale)))
        return func(*(a.full() if isinstance(a, Packed) else a for a in args), **(kwargs or {}))
    def full(self):
        return self.codes.float() * self.scale
    def update(self, gradient):
        values = self.full() * 0.9 + gradient
        self.scale.copy_(values.abs().max() / 127 + 1e-12)
        self.codes.copy_((values / self.scale).round().clamp(-127, 127))
        return values

def packed(p):
    return Packed(torch.zeros_like(p, dtype=torch.int8), torch.ones(1))

class Subclass(Base):
    def direction(self, p, state):
        return state.setdefault("velocity", packed(p)).update(p.grad)

class SubclassInAttribute(Base):
    def direction(self, p, state):
        return (self.kept[p] if p in self.kept else self.kept.setdefault(p, packed(p))).update(p.grad)

class Views(Base):
    """Slices of one buffer."""
    def direction(self, p, state):
        if "velocity" not in state:
            if not self.kept:
                self.kept["all"] = torch.zeros(sum(q.numel() for g in self.param_groups for q in g["params"]))
                self.kept["used"] = 0
            start = self.kept["used"]
            self.kept["used"] += p.numel()
            state["velocity"] = self.kept["all"][start : start + p.numel()].view_as(p)
        self.kept["all"].mul_(0.99)
        return state["velocity"].add_(p.grad)

class Late(Base):
    """Keeps nothing before its sixth step."""
    def direction(self, p, state):
        if self.count < 6:
            return p.grad
        return Attribute.direction(self, p, state)

class LateClosure(Base):
    def direction(self, p, state):
        return p.grad if self.count < 6 else Closure.direction(self, p, state)

def smoothed(average, gradient, betas):
    return average.mul_(betas[0]).add_(gradient)

class FunctionAttribute(Optimizer):
    """A function of the file as attribute, which is never saved, and a tuple that defaults and groups share."""
    def __init__(self, params, lr=0.02, betas=(0.9, 0.99)):
        super().__init__(params, dict(lr=lr, betas=betas))
        self.update = smoothed
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                p.sub_(self.update(average, p.grad, group["betas"]), alpha=group["lr"])

class Sam(Optimizer):
    def __init__(self, params, lr=0.02):
        super().__init__(params, dict(lr=lr, momentum=0.9))
        self.base_optimizer = SGD(self.param_groups, lr=lr, momentum=0.9)
        self.param_groups = self.base_optimizer.param_groups
    def step(self, closure=None):
        self.base_optimizer.step()

class Lookahead:
    """No torch.optim.Optimizer, and without state_dict()."""
    def __init__(self, params, lr=0.02):
        self.fast, self.steps = Adam(params, lr=lr), 0
        self.param_groups = self.fast.param_groups
        self.slow = [[p.detach().clone() for p in g["params"]] for g in self.param_groups]
    def zero_grad(self, set_to_none=True):
        self.fast.zero_grad(set_to_none)
    @torch.no_grad()
    def step(self, closure=None):
        self.fast.step()
        self.steps += 1
        if self.steps % 5 == 0:
            for group, slow in zip(self.param_groups, self.slow):
                for p, s in zip(group["params"], slow):
                    s.lerp_(p, 0.5)
                    p.copy_(s)

class Averaging(Base):
    """Trains towards the average of a second model."""
    def __init__(self, params, model, lr=0.02):
        self.model, self.average = model, copy.deepcopy(model)
        super().__init__(params, lr)
    def direction(self, p, state):
        mine = dict(zip(self.model.parameters(), self.average.parameters()))[p]
        mine.lerp_(p, 0.1)
        return p.grad + 0.01 * (p - mine)
'''
RESUMABLE = (
    *(
        "Attribute",
        "Count",
        "Dataclass",
        "NeighbourClass",
        "Slots",
        "Array",
        "NumPyScalars",
        "Values",
        "Deque",
    ),
    *("Generators", "Dropped", "OwnShape", "Circular", "Raising", "Sparse", "LowPrecision", "Late", "Sam"),
    *("Lookahead", "Averaging", "Subclass", "SubclassInAttribute", "Views", "FunctionAttribute"),
)
RESTARTED = ("ById", "Closure", "Hook", "OnParameter", "Iterating", "LateClosure")


def the_trial(folder: Path, name: str) -> Trial:
    (folder / "neighbour.py").write_text(
        "import dataclasses, torch\n\n@dataclasses.dataclass\nclass Imported:\n    velocity: torch.Tensor\n"
    )
    (folder / "own.py").write_text(PLUGINS)
    (trial,) = trials(
        folder,
        workload={"evaluate": {"every": "2 steps"}, "budget": "24 steps"},
        optimizers={"Own": {"use": f"own.py:{name}"}},
        schedule={"name": "cosine"},
    )
    return trial


def records(events: list[Event]) -> list[dict[str, Any]]:
    """Evaluations by step, the last of a repeated one, then the end."""
    by_step = {event.step: untimed(event) for event in events if isinstance(event, Evaluated)}
    ends = [untimed(e) for e in events if isinstance(e, Finished) and e.status != "interrupted"]
    return [*by_step.values(), *ends]


def interrupted(trial: Trial, folder: Path, after: int, checkpoint: Path) -> list[Event]:
    asked = iter(range(1, 10_000))
    return list(
        train(
            trial,
            CPU,
            data_root=folder,
            checkpoint=checkpoint,
            should_stop=lambda: next(asked) >= after,
        )
    )


@pytest.mark.parametrize("name", RESUMABLE)
def test_state_of_every_kind_is_resumed_exactly(name: str, tmp_path: Path) -> None:
    trial, checkpoint = the_trial(tmp_path, name), tmp_path / "trial.pt"
    whole = run(trial, tmp_path)
    first = interrupted(trial, tmp_path, 11, checkpoint)
    rest = run(trial, tmp_path, checkpoint=checkpoint)
    assert isinstance(rest[0], Resumed)
    assert rest[0].step == first[-1].step == 8  # type: ignore[union-attr]
    assert repr(records([*first, *rest])) == repr(records(whole))
    assert finished(whole).status == "completed"
    assert finished(whole).resume_note == ""


@pytest.mark.parametrize("name", RESTARTED)
def test_state_that_cannot_be_saved_is_reported_and_the_trial_starts_again(name: str, tmp_path: Path) -> None:
    trial, checkpoint = the_trial(tmp_path, name), tmp_path / "trial.pt"
    whole = run(trial, tmp_path)
    first = interrupted(trial, tmp_path, 11, checkpoint)
    rest = run(trial, tmp_path, checkpoint=checkpoint)
    assert rest[0].kind == "started"
    assert repr(records([*first, *rest])) == repr(records(whole))
    note = finished(whole).resume_note
    assert note
    assert finished(first).status == "interrupted"
    assert f"not checkpointed ({note})" in finished(first).detail
    assert "starts again from step 0" in finished(first).detail
    notes = [event for event in first if isinstance(event, Progressed) and event.note]
    assert len(notes) == 1
    assert notes[0].step <= 8


def test_an_earlier_checkpoint_stays_usable_when_later_state_cannot_be_saved(tmp_path: Path) -> None:
    trial, checkpoint = the_trial(tmp_path, "LateClosure"), tmp_path / "trial.pt"
    whole = run(trial, tmp_path)
    first = interrupted(trial, tmp_path, 4, checkpoint)
    second = interrupted(trial, tmp_path, 6, checkpoint)
    assert "resumes from step 3" in finished(second).detail
    rest = run(trial, tmp_path, checkpoint=checkpoint)
    assert isinstance(rest[0], Resumed)
    assert rest[0].step == 3
    assert repr(records([*first, *second, *rest])) == repr(records(whole))


def test_state_of_the_class_is_reported(tmp_path: Path) -> None:
    trial = the_trial(tmp_path, "ClassLevel")
    assert "an attribute of the class" in finished(run(trial, tmp_path)).resume_note


def test_a_checkpoint_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    trial, checkpoint = the_trial(tmp_path, "Attribute"), tmp_path / "trial.pt"
    interrupted(trial, tmp_path, 11, checkpoint)
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    events = run(trial, tmp_path, checkpoint=checkpoint)
    assert events[0].kind == "started"
    assert isinstance(events[1], Progressed)
    assert events[1].note == "its checkpoint cannot be used: it is damaged. It starts again from step 0"


class Call:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def test_reading_a_checkpoint_calls_no_function_of_strangers(tmp_path: Path) -> None:
    import os

    import numpy as np

    victim = tmp_path / "victim"
    for call in (Call(os.mkdir, str(victim)), Call(np.memmap, str(victim), "uint8", "w+", 0, (10,))):
        file = BytesIO()
        safe_pickle.write({"state": call}, file)
        with pytest.raises(pickle.UnpicklingError):
            safe_pickle.read(file)
    assert not victim.exists()


def test_a_stack_resumes_such_state_exactly_or_states_that_it_does_not(tmp_path: Path) -> None:
    for name in ("Attribute", "Closure"):
        folder = tmp_path / name
        folder.mkdir()
        trial = the_trial(folder, name)
        checkpoint = folder / "stack-1.pt"
        stops = [False] * 9 + [True]
        whole = list(train_stack([trial], CPU, data_root=folder))
        stopped = list(
            train_stack(
                [trial], CPU, data_root=folder, checkpoint=checkpoint, should_stop=partial(stops.pop, 0)
            )
        )
        rest = list(train_stack([trial], CPU, data_root=folder, checkpoint=checkpoint))
        events, parts = ([event for told in run for _, event in told] for run in (whole, [*stopped, *rest]))
        assert repr(records(parts)) == repr(records(events))
        assert (rest[0][0][1].kind == "resumed") == (name == "Attribute")
        assert bool(finished(events).resume_note) == (name == "Closure")
