"""Checks that need an NVIDIA GPU: `make gpu`. What they measure goes to results/bench/gpu.json."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from optbench.engine.forecast import forecast
from optbench.engine.forecast_check import with_measured
from optbench.engine.loop import train
from optbench.engine.session import Session, prepare
from optbench.engine.step import training_step
from optbench.events import Evaluated, Finished, Started
from optbench.forecasts import BAND
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Trial

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
GPU = torch.device("cuda")
MEASURED: dict[str, Any] = {}
SUITE = """
workload:
  model: {model}
  data: {{name: synthetic, shape: [3, {pixels}, {pixels}], classes: 10, train: {samples}, validation: 512, test: 512}}
  batch_size: {batch}
  budget: {steps} steps
  augment: {{flip: true, crop: {crop}}}
  memory_format: channels_last
precision: {precision}
implementation: {implementation}
seeds: 1
optimizers:
  SGD: {{use: torch.optim.SGD, lr: 0.05}}
  SGD + Momentum: {{use: torch.optim.SGD, lr: 0.05, momentum: 0.9}}
  Adam: {{use: torch.optim.Adam, lr: 1e-3}}
  AdamW: {{use: torch.optim.AdamW, lr: 1e-3}}
  RMSprop: {{use: torch.optim.RMSprop, lr: 1e-4}}
"""


@pytest.fixture(scope="module", autouse=True)
def _written() -> Iterator[None]:
    yield
    if MEASURED:
        folder = Path("results/bench")
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
        (folder / "gpu.json").write_text(json.dumps(facts | MEASURED, indent=2) + "\n")


def trials(folder: Path, **values: Any) -> dict[str, Trial]:
    defaults = {
        "model": "small_cnn", "pixels": 32, "samples": 4096, "batch": 256, "steps": 40, "crop": 4,
        "precision": "auto", "implementation": "default",
    }  # fmt: skip
    path = folder / "gpu.yaml"
    path.write_text(SUITE.format(**(defaults | values)))
    return {trial.label: trial for trial in plan(load(path))}


def events(trial: Trial, folder: Path, **options: Any) -> list[Any]:
    return list(train(trial, GPU, data_root=folder, **options))


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
def test_every_precision_trains(precision: str, tmp_path: Path) -> None:
    started, *records, end = events(trials(tmp_path, precision=precision)["AdamW"], tmp_path)
    assert isinstance(started, Started)
    assert started.precision == ("bf16" if precision == "auto" else precision)
    assert end.status == "completed"
    assert records[-1].train_loss < records[0].train_loss


def test_start_and_order_are_those_of_the_cpu(tmp_path: Path) -> None:
    trial = trials(tmp_path)["SGD"]
    on_gpu, on_cpu = prepare(trial, GPU, tmp_path), prepare(trial, torch.device("cpu"), tmp_path)
    assert on_gpu.initial_weights == on_cpu.initial_weights
    for step in (0, 3, 17):
        (inputs, labels), (host_inputs, host_labels) = on_gpu.feed.batch(step), on_cpu.feed.batch(step)
        assert torch.equal(labels.cpu(), host_labels)
        torch.testing.assert_close(inputs.cpu(), host_inputs)


@pytest.mark.parametrize(
    ("precision", "implementation"),
    [("bf16", "default"), ("fp32", "default"), ("bf16", "fused"), ("fp16", "fused")],
)
def test_no_step_waits_for_the_device(precision: str, implementation: str, tmp_path: Path) -> None:
    session = prepare(
        trials(tmp_path, precision=precision, implementation=implementation)["AdamW"], GPU, tmp_path
    )
    warm_up(session, 3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(3, 10):
            training_step(session, step, step, want_norm=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    ("label", "times"), [("SGD", 0), ("SGD + Momentum", 1), ("Adam", 2), ("AdamW", 2), ("RMSprop", 1)]
)
def test_state_bytes_are_exact_and_peaks_are_told(label: str, times: int, tmp_path: Path) -> None:
    started, *_, end = events(trials(tmp_path, model="resnet18_cifar", steps=6)[label], tmp_path)
    assert end.state_bytes == times * started.parameter_bytes
    assert end.peak_memory_bytes > 2 * started.parameter_bytes
    MEASURED.setdefault("resnet18_memory", {})[label] = {
        "state_over_parameters": end.state_bytes / started.parameter_bytes,
        "step_peak_over_parameters": end.step_peak_bytes / started.parameter_bytes,
        "training_peak_bytes": end.peak_memory_bytes,
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_memory_forecast_against_the_allocator(precision: str, tmp_path: Path) -> None:
    asked = trials(
        tmp_path, model="torchvision.models.resnet50", pixels=224, samples=64, batch=64, precision=precision
    )
    rows = [asked[label] for label in ("SGD", "AdamW", "RMSprop")]
    checked = with_measured(forecast(rows, (3, 224, 224), 1000), rows, (3, 224, 224), 1000, GPU)
    ratios = {row.label: row.measured_bytes / row.total_bytes for row in checked}
    MEASURED.setdefault("resnet50_peak_over_forecast", {})[precision] = ratios
    for ratio in ratios.values():
        assert BAND[0] <= ratio <= BAND[1]


def test_resume_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    trial, checkpoint = trials(tmp_path, steps=64)["AdamW"], tmp_path / "trial.pt"
    polls = iter(range(1000))
    first = events(trial, tmp_path, checkpoint=checkpoint, should_stop=lambda: next(polls) >= 20)
    second = events(trial, tmp_path, checkpoint=checkpoint)
    assert first[-1].status == "interrupted"
    assert second[0].step == first[-1].step
    whole = [e for e in events(trial, tmp_path) if isinstance(e, Evaluated)]
    parts = [e for e in first + second if isinstance(e, Evaluated)]
    assert [e.step for e in parts] == [e.step for e in whole]
    assert parts[-1].train_loss == pytest.approx(whole[-1].train_loss, rel=0.2)


def test_out_of_memory_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "huge.py").write_text(
        "import torch\n\n"
        "class Huge(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        self.hoard = torch.empty(2**42, dtype=torch.uint8, device='cuda')\n"
    )
    trial = trials(tmp_path, steps=2)["SGD"]
    rule = trial.entry.rules[0].model_copy(update={"use": "huge.py:Huge"})
    entry = trial.entry.model_copy(update={"rules": (rule,)})
    *_, end = events(trial.model_copy(update={"entry": entry}), tmp_path)
    assert isinstance(end, Finished)
    assert end.status == "out_of_memory"
    assert "4096.00 GiB" in end.detail


def test_resnet18_throughput_against_constant_input(tmp_path: Path) -> None:
    trial = trials(
        tmp_path, model="resnet18_cifar", samples=50_000, batch=512, precision="bf16", implementation="fused"
    )
    session = prepare(trial["SGD + Momentum"], GPU, tmp_path)
    warm_up(session, 10)
    rates = {"optbench": [], "constant input": []}  # type: dict[str, list[float]]
    constant = session.feed.batch(0)
    real = session.feed.batch
    for _ in range(3):
        for name in rates:
            session.feed.batch = real if name == "optbench" else lambda step: constant  # type: ignore[method-assign]
            rates[name].append(images_a_second(session, 60))
    medians = {name: sorted(values)[1] for name, values in rates.items()}
    MEASURED["resnet18_32px_bf16_images_per_second"] = medians
    assert medians["optbench"] > 0.9 * medians["constant input"]


def warm_up(session: Session, steps: int) -> None:
    session.model.train()
    for step in range(steps):
        training_step(session, step, step, want_norm=False)
    torch.cuda.synchronize()


def images_a_second(session: Session, steps: int) -> float:
    torch.cuda.synchronize()
    since = time.perf_counter()
    for step in range(steps):
        training_step(session, step, step, want_norm=False)
    torch.cuda.synchronize()
    return steps * session.trial.batch_size / (time.perf_counter() - since)
