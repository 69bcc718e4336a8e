"""Memory of training, forecast for several optimizers without training and without the GPU it is meant for (decision 11)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from optbench.engine import precision as precisions
from optbench.engine.model_memory import CPU, bytes_of, model_memory
from optbench.engine.models import build_model
from optbench.engine.optimizer_memory import optimizer_memory
from optbench.engine.session import build_loss
from optbench.forecasts import Forecast, ModelMemory
from optbench.suite.types import Trial


def forecast(
    trials: Sequence[Trial], shape: tuple[int, ...], classes: int, least_steps: int = 3
) -> list[Forecast]:
    """A row a trial, in their order. The trials share one workload; `shape` is that of one input.

    A full batch must have been counted.
    Precision `auto` means bf16, as on a GPU, and fp16 is followed as bf16, which takes the same room. Raises `OptbenchError`
    if the model can't be built; what goes wrong with one optimizer is told in its row.
    """
    first = trials[0]
    model = build_model(first.workload.model, shape, classes, first.folder)
    loss = build_loss(first.workload.loss, first.folder)
    name = "fp32" if first.precision == "fp32" else "bf16"
    of_batch: dict[int, ModelMemory] = {}
    sizes = {trial.id: trial.samples_a_step(0) for trial in trials}
    for size in dict.fromkeys(sizes.values()):
        of_batch[size] = model_memory(
            model, first.workload, shape, classes, size, loss=loss, precision=precisions.resolve(name, CPU)
        )
    averaged = bytes_of([t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()])
    return [
        Forecast(
            label=trial.label,
            batch_size=sizes[trial.id],
            precision="fp16" if first.precision == "fp16" else name,
            model=of_batch[sizes[trial.id]],
            optimizer=optimizer_memory(trial, model, least_steps),
            average_bytes=averaged if trial.entry.ema else 0,
        )
        for trial in trials
    ]


def gpu() -> torch.device | None:
    """Where a forecast can be checked; None if this machine has no NVIDIA GPU."""
    return torch.device("cuda") if torch.cuda.is_available() else None
