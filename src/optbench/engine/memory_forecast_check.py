"""Check a memory forecast: measure the allocator's peak over a few real training steps."""

from __future__ import annotations

import copy
import gc
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from optbench.catalog.types import DataInfo
from optbench.engine import optimizers
from optbench.engine import precision as precisions
from optbench.engine.activations import checkpoint_activations
from optbench.engine.averaging import MovingAverage
from optbench.engine.batch import Random
from optbench.engine.layout import memory_format, to_layout
from optbench.engine.memory import is_out_of_memory, peak_of
from optbench.engine.model_memory import backward
from optbench.engine.models import build_model
from optbench.engine.tasks import build_task
from optbench.forecasts import Forecast
from optbench.suite.types import Trial

STEPS = 4  # lazy state exists from the second step; by the fourth, all allocations have occurred


def with_measured(
    forecasts: Sequence[Forecast], trials: Sequence[Trial], info: DataInfo, device: torch.device
) -> list[Forecast]:
    """Return the forecasts of these trials with `measured_bytes`; None for a trial that fails or runs out of memory.

    Memory that libraries keep after one trial (the workspace of cuBLAS) is added to the later trials too, as each would allocate it in
    its own process.
    """
    allocated_at_start = _allocated(device)
    measured = []
    for forecast, trial in zip(forecasts, trials, strict=True):
        gc.collect()
        kept_by_libraries = _allocated(device) - allocated_at_start
        peak = training_peak(trial, info, device) if forecast.optimizer.state_bytes is not None else None
        measured.append(replace(forecast, measured_bytes=None if peak is None else kept_by_libraries + peak))
    return measured


def training_peak(trial: Trial, info: DataInfo, device: torch.device) -> int | None:
    """Return the peak in bytes of the first training steps on random inputs, including all set-up.

    None where the peak can't be measured, and where the device has too little memory.
    """
    model = build_model(trial.workload.model, info, trial.folder)
    try:
        return peak_of(lambda: _train(trial, model, info, device), device)
    except optimizers.OptimizerFault:
        return None
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def _train(trial: Trial, source: torch.nn.Module, info: DataInfo, device: torch.device) -> None:
    workload = trial.workload
    layout = memory_format(workload, source, device)
    model = to_layout(copy.deepcopy(source).to(device), layout)
    if workload.activation_checkpointing:
        checkpoint_activations(model)
    trained = optimizers.build(trial, model, STEPS)
    average = MovingAverage(model, trial.entry.ema.decay) if trial.entry.ema else None
    precision = precisions.resolve(trial.precision, device, trained.protocol.is_unscalable)
    task = build_task(workload, info, trial.folder)
    batch = task.example(trial.samples_per_step(0), Random(device), channels_last=layout == "channels_last")

    @torch.enable_grad()
    def closure() -> Tensor:
        trained.zero_grad()
        return backward(model, task, batch, workload.accumulate, precision)

    model.train()
    trained.train()
    for _ in range(STEPS):
        if trained.needs_closure:
            trained.step(closure)
        else:
            closure()
            trained.step()
        if average is not None:
            average.update()


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
