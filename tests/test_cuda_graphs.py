"""Steps as CUDA graphs: which parts are captured, the reasons for the others, and identical results.

No GPU here: a graph is a function that is called again. What only a GPU can tell is in tests/gpu.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch
from torch import nn

from optbench.analysis.implementations import capture_note, capture_warnings
from optbench.engine import capturable as rules
from optbench.engine import cuda_graphs as graphs_module
from optbench.engine import stepper
from optbench.engine.capturable import capturable, is_launch_bound
from optbench.engine.compiled_step import counts_beside_parameters
from optbench.engine.layout import memory_format
from optbench.engine.optimizers import Optimizers
from optbench.engine.session import prepare
from optbench.engine.stepper import MEASURED_STEPS, WARM_STEPS, Stepper
from trials import CPU, evaluations, finished, run, trials, untimed

T = TypeVar("T")
IMAGES: dict[str, Any] = {
    "model": {"name": "small_cnn", "width": 4},
    "data": {
        "name": "synthetic",
        "shape": [3, 8, 8],
        "classes": 3,
        "train": 96,
        "validation": 32,
        "test": 32,
    },
    "augment": {"flip": True, "crop": 1},
    "evaluate": {"every": "7 steps"},
    "budget": {"steps": 40},
}


class Calls:
    """Replays by calling; a capture leaves no trace."""

    def __init__(self, device: torch.device = CPU) -> None:
        self.captures = self.replays = 0

    def run_on_capture_stream(self, action: Callable[[], T]) -> T:
        return action()

    def capture(self, action: Callable[[], T]) -> Callable[[], T]:
        self.captures += 1

        def replay() -> T:
            self.replays += 1
            return action()

        return replay

    def release(self) -> None:
        pass


class Refuses(Calls):
    """As CUDA does where something waits for the device: the first `times` captures."""

    times = 1

    def capture(self, action: Callable[[], T]) -> Callable[[], T]:
        if self.captures < self.times:
            self.captures += 1
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        return super().capture(action)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Calls]:
    """Those that trials made, in their order."""
    return use(monkeypatch, Calls)


def use(monkeypatch: pytest.MonkeyPatch, kind: type[Calls]) -> list[Calls]:
    made: list[Calls] = []

    def on(device: torch.device) -> Calls:
        made.append(kind(device))
        return made[-1]

    monkeypatch.setattr(stepper, "graphs_on", on)
    return made


def told(events: list[Any]) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in untimed(e).items() if k not in ("captured", "capture_note")}
        for e in events
        if e.kind != "progressed"
    ]


OWN = """
import torch

class Sign(torch.optim.Optimizer):
    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(p.grad.sign(), alpha=-group["lr"])

class Rebinds(Sign):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p.data - group["lr"] * p.grad
"""
SGD = {"use": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9, "schedule": {"name": "cosine", "warmup": "10%"}}


@pytest.mark.parametrize(
    ("entry", "more", "scope"),
    [
        (SGD, {}, "gradients"),
        ({**SGD, "clip": {"norm": 0.1}}, {}, "gradients"),
        ({**SGD, "clip": {"value": 0.01}}, {}, "gradients"),
        (SGD, {"implementation": "fused"}, "step"),
        (
            {"use": "torch.optim.AdamW", "lr": 0.01, "ema": {"decay": 0.9}, "schedule": "cosine"},
            {"implementation": "fused"},
            "step",
        ),
        ({"use": "torch.optim.AdamW", "lr": 0.01, "ema": {"decay": 0.9}}, {"seeds": [3]}, "step"),
        ({"use": "torch.optim.Muon", "parameters": "matrices", "lr": 0.01}, {}, "gradients"),
        ({"use": "own.py:Sign", "lr": 0.01}, {}, "gradients"),
    ],
)
def test_replays_give_the_records_of_steps_as_written(
    entry: dict[str, Any], more: dict[str, Any], scope: str, tmp_path: Path, graphs: list[Calls]
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    if entry["use"] == "torch.optim.Muon":
        entry = {"use": [entry, {"parameters": "rest", "use": "torch.optim.SGD", "lr": 0.1}]}
    (trial,) = trials(tmp_path, optimizers={"One": entry}, workload=IMAGES, **more)
    captured = run(trial, tmp_path)
    plain = run(trial.model_copy(update={"cuda_graph": "off"}), tmp_path)
    assert told(captured) == told(plain)
    assert finished(captured).captured == scope
    assert (finished(captured).capture_note == "") == (scope == "step")
    assert graphs[0].replays == 40 - WARM_STEPS - MEASURED_STEPS
    assert graphs[1].captures == 0
    assert finished(plain).captured == "none"


def test_the_norm_of_every_step_is_part_of_the_one_graph(tmp_path: Path, graphs: list[Calls]) -> None:
    (trial,) = trials(tmp_path, optimizers={"SGD": SGD}, workload={**IMAGES, "study": ["gradients"]})
    captured, plain = run(trial, tmp_path), run(trial.model_copy(update={"cuda_graph": "off"}), tmp_path)
    assert told(captured) == told(plain)
    assert graphs[0].captures == 1
    assert evaluations(captured)[-1].gradient_norm_median is not None


def test_on_captures_after_the_warm_up_without_measuring(tmp_path: Path, graphs: list[Calls]) -> None:
    (trial,) = trials(tmp_path, cuda_graph="on", workload={"budget": {"steps": 10}})
    assert finished(run(trial, tmp_path)).captured == "gradients"
    assert graphs[0].replays == 10 - WARM_STEPS


def test_a_trial_that_was_captured_continues_exactly_from_its_checkpoint(
    tmp_path: Path, graphs: list[Calls]
) -> None:
    (trial,) = trials(tmp_path, optimizers={"SGD": SGD}, workload=IMAGES)
    polls = iter(range(1000))
    checkpoint = tmp_path / "trial.pt"
    first = run(trial, tmp_path, checkpoint=checkpoint, should_stop=lambda: next(polls) >= 24)
    second = run(trial, tmp_path, checkpoint=checkpoint)
    whole = run(trial, tmp_path)
    assert finished(first).status == "interrupted"
    assert graphs[0].replays > 0
    assert graphs[1].replays > 0
    parts = [untimed(e) for e in evaluations(first) + evaluations(second)]
    assert parts == [untimed(e) for e in evaluations(whole)]


class Traces(Calls):
    """A capture that runs the code, as CUDA's does, and undoes what it did to tensors: here, to buffers."""

    session: Any = None

    def capture(self, action: Callable[[], T]) -> Callable[[], T]:
        buffers = [b.clone() for b in self.session.model.buffers()]
        action()
        for buffer, before in zip(self.session.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        return super().capture(action)


def warmed(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Stepper:
    """A trial's steps up to where it is captured."""
    use(monkeypatch, Traces)
    (trial,) = trials(folder, cuda_graph="on", **changes)
    session = prepare(trial, CPU, folder)
    monkeypatch.setattr(Traces, "session", session)
    steps = Stepper(session)
    session.model.train()
    for step in range(WARM_STEPS):
        assert not steps.ready
        steps.step(step, step, want_norm=False)
    assert steps.ready
    return steps


def test_capturing_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = warmed(tmp_path, monkeypatch, optimizers={"SGD": SGD}, workload=IMAGES)
    session = steps._session

    def everything() -> list[torch.Tensor]:
        state = session.optimizers.state()[0]
        assert state["param_groups"][0]["lr"] == session.optimizers.rate
        held = [v["momentum_buffer"] for v in state["state"].values()]
        return [t.clone() for t in (*session.model.state_dict().values(), *held, torch.get_rng_state())]

    before, evaluations_before = everything(), session.gradient_evaluations
    steps.capture()
    assert steps.scope == "gradients"
    assert all(torch.equal(old, new) for old, new in zip(before, everything(), strict=True))
    assert session.gradient_evaluations == evaluations_before
    steps.step(WARM_STEPS, WARM_STEPS, want_norm=True)
    assert session.gradient_evaluations == evaluations_before + 1


def test_a_step_that_draws_on_the_host_is_not_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.py").write_text(
        "import random\nfrom torch import nn\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(12, classes)\n\n"
        "    def forward(self, x):\n"
        "        return self.layer(x) * (2.0 if random.random() < 0.5 else 1.0)\n"
    )
    steps = warmed(tmp_path, monkeypatch, workload={"model": "net.py:Net"})
    state = stepper.random_state(CPU)
    steps.capture()
    assert (steps.scope, steps.note) == ("none", "it draws random numbers on the host at each step")
    assert stepper.random_state(CPU)["python"] == state["python"]
    assert not steps.ready
    steps.step(WARM_STEPS, WARM_STEPS, want_norm=False)


@pytest.mark.parametrize(("times", "scope"), [(1, "gradients"), (2, "none")])
def test_what_cannot_be_captured_is_run_as_written_and_states_the_reason(
    times: int, scope: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Refuses)
    monkeypatch.setattr(Refuses, "times", times)
    (trial,) = trials(tmp_path, implementation="fused", workload=IMAGES)
    captured, plain = run(trial, tmp_path), run(trial.model_copy(update={"cuda_graph": "off"}), tmp_path)
    assert told(captured) == told(plain)
    end = finished(captured)
    assert end.captured == scope
    assert end.capture_note == (
        "the capture failed (RuntimeError: operation not permitted when stream is capturing)"
    )


def test_an_optimizer_that_moves_the_parameters_ends_the_replays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    made = use(monkeypatch, Calls)
    (trial,) = trials(tmp_path, optimizers={"Mine": {"use": "own.py:Rebinds", "lr": 0.01}}, workload=IMAGES)
    captured, plain = run(trial, tmp_path), run(trial.model_copy(update={"cuda_graph": "off"}), tmp_path)
    assert told(captured) == told(plain)
    assert made[0].replays == 1
    assert finished(captured).capture_note == "its optimizer changes the memory addresses of parameters"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cuda_graph": "off"}, "the suite sets"),
        ({"workload": {"accumulate": 2}}, "micro-batches"),
        ({"workload": {"activation_checkpointing": True}}, "activation checkpointing"),
        ({"workload": {"relabel": {"every": "1 epochs"}}}, "its labels change"),
        ({"precision": "fp16"}, "gradient scaler"),
        ({"optimizers": {"L-BFGS": {"use": "torch.optim.LBFGS"}}}, "calls a closure"),
        ({"workload": {"model": {"name": "net.py:Net"}}}, "may differ from step to step"),
    ],
)
def test_what_is_never_captured_states_the_reason(
    changes: dict[str, Any], reason: str, tmp_path: Path, graphs: list[Calls]
) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef Net(classes):\n    return nn.Linear(12, classes)\n"
    )
    (trial,) = trials(tmp_path, **changes)
    end = finished(run(trial, tmp_path))
    assert end.status == "completed", end.detail
    assert end.captured == "none"
    assert reason in end.capture_note
    assert graphs[0].captures == 0


def test_on_a_cpu_only_the_setting_on_captures(tmp_path: Path) -> None:
    (trial,) = trials(tmp_path)
    assert finished(run(trial, tmp_path)).captured == ""
    end = finished(run(trial.model_copy(update={"cuda_graph": "on"}), tmp_path))
    assert (end.captured, end.capture_note) == ("none", "CUDA graphs are not available on cpu")


def test_auto_captures_only_where_launching_sets_the_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graphs: list[Calls]
) -> None:
    monkeypatch.setattr(stepper, "synchronise", lambda device: time.sleep(0.03))
    (trial,) = trials(tmp_path)
    end = finished(run(trial, tmp_path))
    assert end.captured == "none"
    assert "kernel launches are not the bottleneck" in end.capture_note
    assert graphs[0].captures == 0


def test_a_short_trial_ends_before_anything_is_captured(tmp_path: Path, graphs: list[Calls]) -> None:
    (trial,) = trials(tmp_path, workload={"budget": {"steps": 4}})
    assert finished(run(trial, tmp_path)).capture_note == "the trial ended before a step was captured"


def test_a_step_is_launch_bound_if_the_host_hardly_waits() -> None:
    assert is_launch_bound([0.05, 0.1, 0.9, 0.1, 0.08])
    assert not is_launch_bound([0.5, 0.6, 0.1, 0.7, 0.55])


@pytest.mark.parametrize(
    ("name", "runs", "reason"),
    [
        ("Adam", "foreach", ""),
        ("Adam", "forloop", ""),
        ("AdamW", "fused", ""),
        ("SGD", "fused", ""),
        ("SGD", "compiled", ""),
        ("Adagrad", "compiled", ""),
        ("RMSprop", "foreach", ""),
        ("SGD", "foreach", "torch's foreach SGD reads its learning rate on the host"),
        ("SGD", "forloop", "torch's for-loop SGD reads its learning rate on the host"),
        ("RMSprop", "forloop", "torch's for-loop RMSprop reads its learning rate on the host"),
        ("Adadelta", "forloop", "torch's for-loop Adadelta reads its learning rate on the host"),
        ("Adagrad", "foreach", "torch has no capturable Adagrad"),
        ("Adafactor", "forloop", "torch has no capturable Adafactor"),
    ],
)
def test_which_updates_can_be_captured(name: str, runs: str, reason: str) -> None:
    member = getattr(torch.optim, name)([nn.Parameter(torch.zeros(2, 2))], lr=0.1)
    assert rules._group_obstacle(member, member.param_groups[0], runs) == reason


def test_a_schedule_that_changes_momentum_leaves_the_update_outside(tmp_path: Path) -> None:
    one_cycle = {"name": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1}
    (trial,) = trials(
        tmp_path,
        implementation="fused",
        optimizers={"AdamW": {"use": "torch.optim.AdamW", "schedule": one_cycle}},
    )
    assert rules.update_obstacle(prepare(trial, CPU, tmp_path)) == "the schedule also changes its momentum"


def on_meta(name: str, **options: Any) -> tuple[Optimizers, torch.optim.Optimizer]:
    """Parameters on a device that is not the host, with state whose counts are on the host, as torch has it."""
    parameters = [nn.Parameter(torch.zeros(3, device="meta")) for _ in range(2)]
    member = getattr(torch.optim, name)(parameters, **options)
    for p in parameters:
        member.state[p] = {"step": torch.tensor(4.0), "exp_avg": torch.zeros(3, device="meta")}
    return Optimizers([member]), member


def test_while_a_step_is_captured_counts_and_rates_are_on_the_device() -> None:
    held, member = on_meta("Adam", lr=0.25)
    (group,) = member.param_groups
    with capturable(held) as rates:
        assert group["capturable"] is True
        assert group["lr"] is rates.rates[0][1]
        assert group["lr"].device.type == "meta"
        assert group["lr"].dtype == torch.float32
    assert (group["lr"], group["capturable"]) == (0.25, False)
    assert {state["step"].device.type for state in member.state.values()} == {"meta"}


def test_a_capture_that_fails_leaves_counts_where_they_were() -> None:
    held, member = on_meta("Adam", lr=0.25)
    counts = [state["step"] for state in member.state.values()]
    with pytest.raises(RuntimeError, match="no"), capturable(held):
        raise RuntimeError("no")
    assert [state["step"] for state in member.state.values()] == counts
    assert all(state["step"] is count for state, count in zip(member.state.values(), counts, strict=True))
    assert member.param_groups[0]["lr"] == 0.25


def test_a_rate_is_written_where_it_has_changed() -> None:
    member = torch.optim.Adam([nn.Parameter(torch.zeros(2))], lr=0.5)
    with capturable(Optimizers([member])) as rates:
        pass
    ((group, tensor),) = rates.rates
    tensor.fill_(-1)
    rates.write()
    assert float(tensor) == 0.5
    tensor.fill_(-1)  # as if the graph's
    rates.write()
    assert float(tensor) == -1
    group["lr"] = 0.25
    rates.write()
    assert float(tensor) == 0.25


def test_counts_of_a_compiled_step_go_to_the_parameters_device() -> None:
    _, member = on_meta("Adam", lr=0.1)
    counts_beside_parameters(member)
    assert {state["step"].device.type for state in member.state.values()} == {"meta"}
    on_host = torch.optim.Adam([nn.Parameter(torch.zeros(2))], lr=0.1)
    on_host.param_groups[0]["params"][0].grad = torch.ones(2)
    on_host.step()
    counts_beside_parameters(on_host)
    assert {state["step"].device.type for state in on_host.state.values()} == {"cpu"}


def test_the_setting_is_part_of_the_identity_only_where_it_is_written(tmp_path: Path) -> None:
    (trial,) = trials(tmp_path)
    (written,) = trials(tmp_path, cuda_graph="auto")
    (other,) = trials(tmp_path, cuda_graph="on")
    assert written.id == trial.id
    assert other.id != trial.id


@pytest.mark.parametrize(
    ("model", "device", "asked", "found"),
    [
        ("small_cnn", "cuda", "auto", "channels_last"),
        ("small_cnn", "cpu", "auto", "contiguous"),
        ("small_cnn", "cuda", "contiguous", "contiguous"),
        ("small_cnn", "cpu", "channels_last", "channels_last"),
        ("vit_tiny", "cuda", "auto", "contiguous"),
        ("mlp", "cuda", "auto", "contiguous"),
    ],
)
def test_memory_format_auto_is_channels_last_for_convolutional_networks_on_a_gpu(
    model: str, device: str, asked: str, found: str, tmp_path: Path
) -> None:
    (trial,) = trials(
        tmp_path,
        workload={
            "model": model,
            "memory_format": asked,
            "data": {**IMAGES["data"], "shape": [3, 32, 32]},
        },
    )
    session = prepare(trial, CPU, tmp_path)
    assert memory_format(trial.workload, session.model, torch.device(device)) == found


def row(label: str, captured: str, note: str = "") -> Any:
    log = SimpleNamespace(finished=SimpleNamespace(captured=captured, capture_note=note))
    return SimpleNamespace(trial=SimpleNamespace(label=label), logs=[log, SimpleNamespace(finished=None)])


def test_the_report_states_what_was_captured_and_warns_of_a_mix() -> None:
    rows = [
        row("SGD", "gradients", "its rate"),
        row("Adam", "step"),
        row("AdamW", "step"),
        row("Own", "none", "off"),
    ]
    assert list(capture_note(rows)) == [
        "Captured as CUDA graphs: forward and backward passes (not the update) of SGD (its rate); whole steps of Adam, AdamW; "
        "nothing of Own (off)."
    ]
    ((kind, warning),) = capture_warnings(rows)
    assert kind == "implementation"
    assert "CUDA graphs (SGD, Adam, AdamW) vs individual launches (Own)" in warning
    assert list(capture_warnings(rows[:3])) == []
    assert list(capture_note([row("On a CPU", "")])) == []


class Driver:
    """Stands in for `torch.cuda`, and notes in which order it is asked for what."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.pools = 0
        self.main = self._stream("main")

    def _stream(self, name: str) -> Any:
        return SimpleNamespace(
            name=name, wait_stream=lambda other: self.calls.append(f"{name} waits for {other.name}")
        )

    def Stream(self, device: torch.device) -> Any:
        self.note("new stream")
        return self._stream(f"side {self.calls.count('new stream')}")

    def note(self, call: str) -> bool:
        self.calls.append(call)
        return True

    def current_stream(self, device: torch.device) -> Any:
        return self.main

    def set_stream(self, stream: Any) -> None:
        self.note(f"on {stream.name} again")

    def graph_pool_handle(self) -> str:
        self.pools += 1
        return f"pool {self.pools}"

    def CUDAGraph(self) -> Any:
        return SimpleNamespace(replay=lambda: self.note("replay"))

    def empty_cache(self) -> None:
        self.note("cache emptied")

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.note(f"on {stream.name}")
        yield

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        yield

    @contextmanager
    def graph(self, graph: Any, *, pool: str, stream: Any, capture_error_mode: str) -> Iterator[None]:
        self.note(f"capture into {pool} on {stream.name}, {capture_error_mode}")
        yield
        self.note("captured")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    released = SimpleNamespace(
        _cuda_endAllocateToPool=lambda index, pool: made.note(f"end of {pool} on GPU {index}"),
        _cuda_releasePool=lambda index, pool: made.note(f"release of {pool}"),
    )
    monkeypatch.setattr(graphs_module, "torch", SimpleNamespace(cuda=made, _C=released))
    return made


def test_what_is_done_aside_waits_for_what_came_before_and_is_waited_for(driver: Driver) -> None:
    graphs = graphs_module.CudaGraphs(torch.device("cuda", 1))
    assert graphs.run_on_capture_stream(lambda: driver.note("action")) is True
    assert driver.calls[1:] == ["side 1 waits for main", "on side 1", "action", "main waits for side 1"]


def test_a_capture_runs_its_action_once_and_replays_give_the_same_tensors(driver: Driver) -> None:
    graphs = graphs_module.CudaGraphs(torch.device("cuda", 1))
    ran: list[object] = []

    def action() -> object:
        ran.append(object())
        return ran[-1]

    first, second = graphs.capture(action), graphs.capture(action)
    assert len(ran) == 2
    assert (first(), first(), second()) == (ran[0], ran[0], ran[1])
    assert len(ran) == 2
    assert driver.calls.count("replay") == 3
    assert driver.calls.count("capture into pool 1 on side 1, thread_local") == 2  # they share their memory


def test_a_failed_capture_gives_its_memory_back_and_the_next_begins_again(driver: Driver) -> None:
    graphs = graphs_module.CudaGraphs(torch.device("cuda", 1))

    def refused() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        graphs.capture(refused)
    after = driver.calls[driver.calls.index("capture into pool 1 on side 1, thread_local") + 1 :]
    assert after == ["on main again", "end of pool 1 on GPU 1", "release of pool 1", "new stream"]
    assert graphs.capture(lambda: 3)() == 3
    assert "capture into pool 2 on side 2, thread_local" in driver.calls
    graphs.release()
    assert driver.calls[-1] == "cache emptied"
