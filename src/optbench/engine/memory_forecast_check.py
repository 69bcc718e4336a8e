"""The forecast's check: the real allocator's peak over a few real training steps."""

from __future__ import annotations

import copy
import gc
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from optbench.engine import optimizers
from optbench.engine import precision as precisions
from optbench.engine.activations import checkpoint_activations
from optbench.engine.averaging import MovingAverage
from optbench.engine.layout import laid_out, memory_format
from optbench.engine.memory import is_out_of_memory, peak_of
from optbench.engine.model_memory import backward
from optbench.engine.models import build_model
from optbench.engine.session import build_loss
from optbench.forecasts import Forecast
from optbench.suite.types import Trial

STEPS = 4  # lazy state exists from the second, and the allocator has seen everything by the fourth


def with_measured(
    forecasts: Sequence[Forecast],
    trials: Sequence[Trial],
    shape: tuple[int, ...],
    classes: int,
    device: torch.device,
) -> list[Forecast]:
    """The forecasts of these trials with `measured_bytes`; None where a trial fails or runs out of memory.

    What libraries hold on to after one trial (the workspace of cuBLAS) counts in the later ones too, as it does in a process
    of their own.
    """
    at_first = _allocated(device)
    measured = []
    for forecast, trial in zip(forecasts, trials, strict=True):
        gc.collect()
        held = _allocated(device) - at_first
        peak = (
            training_peak(trial, shape, classes, device)
            if forecast.optimizer.state_bytes is not None
            else None
        )
        measured.append(replace(forecast, measured_bytes=None if peak is None else held + peak))
    return measured


def training_peak(trial: Trial, shape: tuple[int, ...], classes: int, device: torch.device) -> int | None:
    """Bytes at the worst moment of the first steps of training on random inputs, everything made on the way included.

    None where nothing tells, or where the device has too little memory.
    """
    model = build_model(trial.workload.model, shape, classes, trial.folder)
    try:
        return peak_of(lambda: _train(trial, model, shape, classes, device), device)
    except optimizers.OptimizerFault:
        return None
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def _train(
    trial: Trial, source: torch.nn.Module, shape: tuple[int, ...], classes: int, device: torch.device
) -> None:
    workload = trial.workload
    layout = memory_format(workload, source, device)
    model = laid_out(copy.deepcopy(source).to(device), layout)
    if workload.activation_checkpointing:
        checkpoint_activations(model)
    held = optimizers.build(trial, model, STEPS)
    average = MovingAverage(model, trial.entry.ema.decay) if trial.entry.ema else None
    precision = precisions.resolve(trial.precision, device, held.protocol.is_unscalable)
    loss = build_loss(workload.loss, trial.folder)
    size = trial.samples_a_step(0)
    inputs = torch.empty(size, *shape, device=device).normal_()
    if layout == "channels_last":
        inputs = inputs.to(memory_format=torch.channels_last)
    labels = torch.randint(classes, (size,), device=device)

    @torch.enable_grad()
    def closure() -> Tensor:
        held.zero_grad()
        return backward(model, loss, inputs, labels, workload.accumulate, precision)

    model.train()
    held.train()
    for _ in range(STEPS):
        if held.needs_closure:
            held.step(closure)
        else:
            closure()
            held.step()
        if average is not None:
            average.update()


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
