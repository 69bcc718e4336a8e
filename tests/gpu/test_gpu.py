"""Checks that need an NVIDIA GPU: `make gpu`. Without one they are skipped.

With OPTBENCH_GPU_CHECKS=dry they run on a CPU, smaller, all but those of CUDA alone: an ordinary test does that, so that no check is
run for the first time where a GPU is at hand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from optbench.catalog.types import DataInfo
from optbench.engine.loop import train
from optbench.engine.memory_forecast import forecast
from optbench.engine.memory_forecast_check import with_measured
from optbench.engine.session import Session, prepare
from optbench.engine.stacked.loop import train_stack
from optbench.engine.step import training_step
from optbench.engine.stepper import MEASURED_STEPS, WARM_STEPS, Stepper
from optbench.events import Evaluated, Finished, Started
from optbench.forecasts import BAND
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Trial

HERE = torch.cuda.is_available()
DRY = not HERE and os.environ.get("OPTBENCH_GPU_CHECKS") == "dry"
DEVICE = torch.device("cuda:0" if HERE else "cpu")
pytestmark = pytest.mark.skipif(not (HERE or DRY), reason="needs an NVIDIA GPU")
cuda_only = pytest.mark.skipif(not HERE, reason="needs an NVIDIA GPU")

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"use": "torch.optim.SGD", "lr": 0.05},
    "SGD + Momentum": {"use": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9},
    "Adam": {"use": "torch.optim.Adam", "lr": 1e-3},
    "AdamW": {"use": "torch.optim.AdamW", "lr": 1e-3},
    "RMSprop": {"use": "torch.optim.RMSprop", "lr": 1e-4},
    "NAdam": {"use": "torch.optim.NAdam", "lr": 1e-3},
    "RAdam": {"use": "torch.optim.RAdam", "lr": 1e-3},
    "Adagrad": {"use": "torch.optim.Adagrad", "lr": 1e-2},
    "Adamax": {"use": "torch.optim.Adamax", "lr": 1e-3},
    "Adadelta": {"use": "torch.optim.Adadelta", "lr": 0.5},
}
MLP = {"name": "mlp", "hidden": [64]}
DROPOUT = """
from torch import nn

def Net(classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, classes))
"""


def trial_of(folder: Path, label: str = "AdamW", steps: int = 48, **more: Any) -> Trial:
    """`more` are keys of the suite; those of a workload go there."""
    (folder / "net.py").write_text(DROPOUT)
    workload = {
        "model": {"name": "small_cnn", "width": 32 if HERE else 4},
        "data": {
            "name": "synthetic",
            "shape": [3, 32, 32] if HERE else [3, 8, 8],
            "classes": 10,
            "train": 4096 if HERE else 256,
            "validation": 512 if HERE else 64,
            "test": 512 if HERE else 64,
        },
        "batch_size": 256 if HERE else 16,
        "budget": f"{steps} steps",
        "evaluate": {"every": "12 steps"},
        "augment": {"flip": True, "crop": 2},
    }
    keys = ("model", "data", "batch_size", "evaluate", "augment", "accumulate", "activation_checkpointing")
    workload |= {key: more.pop(key) for key in keys if key in more}
    suite = {
        "workload": workload,
        "seeds": 1,
        "schedule": {"name": "cosine", "warmup": "10%"},
        "optimizers": {label: OPTIMIZERS[label]},
    } | more
    path = folder / "gpu.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return plan(load(path))[0]


def events(trial: Trial, folder: Path, **options: Any) -> list[Any]:
    told = list(train(trial, DEVICE, data_root=folder, **options))
    return [event for event in told if event.kind != "progressed"]


def completed(trial: Trial, folder: Path) -> tuple[list[Evaluated], Finished]:
    told = events(trial, folder)
    end = told[-1]
    assert end.status == "completed", end.detail
    return [event for event in told if isinstance(event, Evaluated)], end


def assert_agree(one: list[Evaluated], other: list[Evaluated], rel: float) -> None:
    assert [e.step for e in one] == [e.step for e in other]
    for mine, theirs in zip(one, other, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=rel)
        assert mine.gradient_norm == pytest.approx(theirs.gradient_norm, rel=20 * rel)
        assert mine.learning_rate == theirs.learning_rate


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever waits for the device raises."""
    if not HERE:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def warm(session: Session, steps: int = 3) -> None:
    session.model.train()
    for step in range(steps):
        training_step(session, step, step, want_norm=True)


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
def test_every_precision_trains(precision: str, tmp_path: Path) -> None:
    started, *records, end = events(trial_of(tmp_path, precision=precision, seeds=1), tmp_path)
    assert isinstance(started, Started)
    assert started.precision == (("bf16" if HERE else "fp32") if precision == "auto" else precision)
    assert end.status == "completed", end.detail
    assert records[-1].train_loss < records[0].train_loss


def test_start_and_order_are_those_of_the_cpu(tmp_path: Path) -> None:
    trial = trial_of(tmp_path)
    here, on_cpu = prepare(trial, DEVICE, tmp_path), prepare(trial, torch.device("cpu"), tmp_path)
    assert here.initial_weights == on_cpu.initial_weights
    assert here.memory_format == ("channels_last" if HERE else "contiguous")
    for step in (0, 3, 17):
        (inputs, labels), (host_inputs, host_labels) = (
            here.training_batches.batch(step),
            on_cpu.training_batches.batch(step),
        )
        assert torch.equal(labels.cpu(), host_labels)
        torch.testing.assert_close(inputs.cpu(), host_inputs)


@pytest.mark.parametrize("implementation", ["default", "fused", "compiled"])
@pytest.mark.parametrize("label", ["SGD + Momentum", "AdamW", "RMSprop", "NAdam", "Adagrad"])
def test_no_step_waits_for_the_device(label: str, implementation: str, tmp_path: Path) -> None:
    """Over the end of an epoch, with clipping, the norm and a moving average."""
    from optbench.engine.compile_warmup import compile_outside_the_clock

    trial = trial_of(
        tmp_path,
        label,
        implementation=implementation,
        clip={"norm": 1.0},
        ema={"decay": 0.9},
        precision="bf16",
    )
    if DRY and implementation == "compiled":
        pytest.skip("compiles for minutes on a CPU")
    session = prepare(trial, DEVICE, tmp_path)
    compile_outside_the_clock(session, tmp_path)
    warm(session)
    with no_waiting():
        for step in range(3, 20):
            training_step(session, step, step, want_norm=step % 5 == 0)


def test_no_fused_step_in_fp16_waits_for_the_device(tmp_path: Path) -> None:
    session = prepare(trial_of(tmp_path, precision="fp16", implementation="fused"), DEVICE, tmp_path)
    warm(session)
    with no_waiting():
        for step in range(3, 10):
            training_step(session, step, step, want_norm=False)


def test_no_step_waits_where_the_data_are_on_the_host(tmp_path: Path) -> None:
    session = prepare(trial_of(tmp_path, precision="bf16"), DEVICE, tmp_path)
    session.training_batches.residency = "host"
    session.training_batches._inputs = torch.from_numpy(session.splits.train.inputs)
    warm(session)
    with no_waiting():
        for step in range(3, 20):
            training_step(session, step, step, want_norm=False)
    session.training_batches.close()


def test_no_step_of_a_trial_waits_between_its_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replays and what runs behind them, as the loop calls them."""
    real, done = Stepper.step, []

    def step(self: Stepper, number: int, *rest: Any) -> Any:
        done.append(number)
        if number <= WARM_STEPS + MEASURED_STEPS:
            return real(self, number, *rest)
        with no_waiting():
            return real(self, number, *rest)

    monkeypatch.setattr(Stepper, "step", step)
    for label, implementation in (("AdamW", "fused"), ("SGD + Momentum", "default"), ("Adam", "default")):
        completed(trial_of(tmp_path, label, implementation=implementation, cuda_graph="on"), tmp_path)
    assert len(done) == 3 * 48


#: what of a step is captured of each, where the suite asks for it
SCOPES = [
    ("SGD + Momentum", "default", "gradients"),
    ("SGD + Momentum", "fused", "step"),
    ("Adam", "default", "step"),
    ("AdamW", "fused", "step"),
    ("AdamW", "forloop", "step"),
    ("RMSprop", "default", "step"),
    ("NAdam", "default", "step"),
    ("RAdam", "default", "step"),
    ("Adamax", "default", "step"),
    ("Adadelta", "default", "step"),
    ("Adagrad", "default", "gradients"),
]


@pytest.mark.parametrize(("label", "implementation", "scope"), SCOPES)
def test_a_captured_trial_has_the_records_of_one_as_written(
    label: str, implementation: str, scope: str, tmp_path: Path
) -> None:
    trial = trial_of(
        tmp_path, label, implementation=implementation, cuda_graph="on", precision="fp32", model=MLP
    )
    captured, end = completed(trial, tmp_path)
    plain, _ = completed(trial.model_copy(update={"cuda_graph": "off"}), tmp_path)
    assert end.captured == (scope if HERE else "none"), end.capture_note
    assert_agree(captured, plain, 1e-4)


@pytest.mark.parametrize(
    "more", [{"clip": {"norm": 0.1}}, {"clip": {"value": 1e-3}}, {"ema": {"decay": 0.9}}]
)
def test_clipping_and_averages_are_part_of_the_graph(more: dict[str, Any], tmp_path: Path) -> None:
    trial = trial_of(tmp_path, implementation="fused", cuda_graph="on", precision="fp32", model=MLP, **more)
    captured, end = completed(trial, tmp_path)
    plain, _ = completed(trial.model_copy(update={"cuda_graph": "off"}), tmp_path)
    assert end.captured == ("step" if HERE else "none"), end.capture_note
    assert_agree(captured, plain, 1e-4)
    assert [e.clipped_steps for e in captured] == [e.clipped_steps for e in plain]


def test_dropout_draws_the_same_in_a_graph(tmp_path: Path) -> None:
    trial = trial_of(
        tmp_path, implementation="fused", cuda_graph="on", precision="fp32", model={"name": "net.py:Net"}
    )
    captured, end = completed(trial, tmp_path)
    plain, _ = completed(trial.model_copy(update={"cuda_graph": "off"}), tmp_path)
    assert end.captured == ("step" if HERE else "none"), end.capture_note
    assert_agree(captured, plain, 1e-4)


def test_a_convolutional_network_is_captured_in_bf16(tmp_path: Path) -> None:
    trial = trial_of(tmp_path, implementation="fused", cuda_graph="on", precision="bf16")
    captured, end = completed(trial, tmp_path)
    plain, _ = completed(trial.model_copy(update={"cuda_graph": "off"}), tmp_path)
    assert end.captured == ("step" if HERE else "none"), end.capture_note
    assert captured[0].train_loss == pytest.approx(plain[0].train_loss, rel=0.02)


def test_a_model_that_waits_for_the_device_is_not_captured_and_trains(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(
        "from torch import nn\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.layer = nn.LazyLinear(classes)\n\n"
        "    def forward(self, x):\n"
        "        out = self.layer(x.flatten(1))\n"
        "        return out if float(out.detach().sum()) > -1e30 else -out\n"
    )
    trial = trial_of(tmp_path, cuda_graph="on", precision="fp32", model={"name": "waits.py:Net"})
    captured, end = completed(trial, tmp_path)
    plain, _ = completed(trial.model_copy(update={"cuda_graph": "off"}), tmp_path)
    assert end.captured == "none"
    assert ("the capture failed" if HERE else "CUDA graphs are not available") in end.capture_note
    assert_agree(captured, plain, 1e-4)


@pytest.mark.parametrize("label", ["SGD + Momentum", "RMSprop", "Adagrad", "NAdam"])
def test_a_compiled_step_is_the_plain_one(label: str, tmp_path: Path) -> None:
    if DRY:
        pytest.skip("compiles for minutes on a CPU; tests/test_implementation.py")
    trial = trial_of(
        tmp_path, label, implementation="compiled", cuda_graph="off", precision="fp32", model=MLP
    )
    started, *_ = events(trial, tmp_path)
    assert started.hyperparameters[0]["implementation"] == "compiled", started.hyperparameters
    compiled, _ = completed(trial, tmp_path)
    plain, _ = completed(trial.model_copy(update={"implementation": "default"}), tmp_path)
    assert_agree(compiled, plain, 1e-4)
    captured, end = completed(trial.model_copy(update={"cuda_graph": "on"}), tmp_path)
    assert end.captured == "step", end.capture_note
    assert_agree(captured, plain, 1e-4)


@pytest.mark.parametrize("cuda_graph", ["on", "off"])
def test_resume_goes_on_from_the_checkpoint(cuda_graph: str, tmp_path: Path) -> None:
    trial = trial_of(tmp_path, cuda_graph=cuda_graph, precision="fp32", model=MLP)
    checkpoint, polls = tmp_path / "trial.pt", iter(range(1000))
    first = events(trial, tmp_path, checkpoint=checkpoint, should_stop=lambda: next(polls) >= 20)
    second = events(trial, tmp_path, checkpoint=checkpoint)
    assert first[-1].status == "interrupted"
    assert second[0].step == first[-1].step
    whole, _ = completed(trial, tmp_path)
    assert_agree([e for e in first + second if isinstance(e, Evaluated)], whole, 1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stack_has_the_records_of_single_trials(precision: str, tmp_path: Path) -> None:
    trial = trial_of(tmp_path, "Adam", steps=24, cuda_graph="off", precision=precision, model=MLP)
    rates = (5e-4, 1e-3, 2e-3)
    alone = [trial.model_copy(update={"point": {"lr": rate}}) for rate in rates]
    together = [one.model_copy(update={"engine": "stacked"}) for one in alone]
    told: dict[str, list[Any]] = {one.id: [] for one in together}
    for part in train_stack(together, DEVICE, data_root=tmp_path):
        for name, event in part:
            told[name].append(event)
    for single, stacked in zip(alone, together, strict=True):
        records, _ = completed(single, tmp_path)
        own = [e for e in told[stacked.id] if isinstance(e, Evaluated)]
        assert told[stacked.id][-1].status == "completed"
        assert_agree(own, records, 1e-4 if precision == "fp32" else 0.02)


@pytest.mark.parametrize("label", ["SGD + Momentum", "Adam", "RMSprop"])
def test_no_step_of_a_stack_waits_for_the_device(label: str, tmp_path: Path) -> None:
    from optbench.engine.stacked.loop import _Run

    trial = trial_of(tmp_path, label, precision="fp32", model=MLP)
    together = [
        trial.model_copy(update={"point": {"lr": 1e-3 * (1 + n)}, "engine": "stacked"}) for n in range(4)
    ]
    run = _Run(together, DEVICE, None, lambda: False, 1e9)
    told = run.events(tmp_path)
    while run.step < 12:  # to the first evaluation
        assert next(told)
    with no_waiting():
        for _ in range(8):
            run._step(want_norm=False)


@pytest.mark.parametrize(
    ("label", "times"), [("SGD", 0), ("SGD + Momentum", 1), ("Adam", 2), ("AdamW", 2), ("RMSprop", 1)]
)
def test_state_bytes_are_exact_and_peaks_are_told(label: str, times: int, tmp_path: Path) -> None:
    started, *_, end = events(trial_of(tmp_path, label, steps=6), tmp_path)
    assert end.state_bytes == times * started.parameter_bytes
    assert end.step_peak_bytes is not None
    if HERE:
        assert end.peak_memory_bytes > 2 * started.parameter_bytes


@cuda_only
def test_foreach_holds_more_inside_its_step_than_fused(tmp_path: Path) -> None:
    peaks = {}
    for name in ("foreach", "fused"):
        started, *_, end = events(trial_of(tmp_path, "Adam", steps=6, implementation=name), tmp_path)
        peaks[name] = end.step_peak_bytes / started.parameter_bytes
    assert peaks["foreach"] > 0.9
    assert peaks["fused"] < 0.2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_memory_forecast_against_the_allocator(precision: str, tmp_path: Path) -> None:
    model = "torchvision.models.resnet50" if HERE else "small_cnn"
    pixels, classes = (224, 1000) if HERE else (32, 10)
    data = {"name": "synthetic", "shape": [3, pixels, pixels], "classes": classes, "train": 64}
    rows = [
        trial_of(tmp_path, label, precision=precision, model=model, batch_size=64, data=data)
        for label in ("SGD", "AdamW", "RMSprop")
    ]
    checked = with_measured(
        forecast(rows, DataInfo(0, 0, 0, (3, pixels, pixels), classes)),
        rows,
        DataInfo(0, 0, 0, (3, pixels, pixels), classes),
        DEVICE,
    )
    for row in checked:
        assert row.measured_bytes
        if HERE:
            assert BAND[0] <= row.measured_bytes / row.total_bytes <= BAND[1], row.label


@cuda_only
def test_out_of_memory_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "huge.py").write_text(
        "import torch\n\n"
        "class Huge(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        self.hoard = torch.empty(2**42, dtype=torch.uint8, device='cuda')\n"
    )
    trial = trial_of(tmp_path, steps=2, optimizers={"Huge": {"use": "huge.py:Huge", "lr": 0.1}})
    *_, end = events(trial, tmp_path)
    assert isinstance(end, Finished)
    assert end.status == "out_of_memory"
    assert "4096.00 GiB" in end.detail
    assert end.peak_memory_bytes
