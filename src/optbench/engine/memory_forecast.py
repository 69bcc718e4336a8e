"""Forecast the memory of training for several optimizers, without training and without the target GPU (decision 11)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from optbench.catalog.types import DataInfo
from optbench.engine import precision as precisions
from optbench.engine.memory_per_rank import on_one_rank
from optbench.engine.model_memory import CPU, bytes_of, model_memory
from optbench.engine.models import build_model
from optbench.engine.optimizer_memory import optimizer_memory
from optbench.engine.tasks import build_task
from optbench.forecasts import Forecast, ModelMemory
from optbench.suite.types import Trial


def forecast(trials: Sequence[Trial], info: DataInfo, least_steps: int = 3) -> list[Forecast]:
    """Return one forecast per trial, in their order. The trials share one workload, whose data `info` describes.

    The batch size `full` must have been replaced by a number. Precision `auto` means bf16, as on a GPU; fp16 is traced as bf16, which
    needs the same memory. With several devices, sizes are those of the device with the most, for its share of the batch.
    Raises `OptbenchError` if the model can't be built; the failure of one optimizer is reported in its row.
    """
    first = trials[0]
    model = build_model(first.workload.model, info, first.folder)
    task = build_task(first.workload, info, first.folder)
    name = "fp32" if first.precision == "fp32" else "bf16"
    by_batch_size: dict[int, ModelMemory] = {}
    sizes = {trial.id: -(-trial.samples_per_step(0) // first.workload.world_size) for trial in trials}
    for size in dict.fromkeys(sizes.values()):
        by_batch_size[size] = model_memory(
            model, first.workload, task, size, precision=precisions.resolve(name, CPU)
        )
    average_bytes = bytes_of([t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()])
    forecasts = (
        Forecast(
            label=trial.label,
            batch_size=sizes[trial.id],
            precision="fp16" if first.precision == "fp16" else name,
            model=by_batch_size[sizes[trial.id]],
            optimizer=optimizer_memory(trial, model, least_steps),
            average_bytes=average_bytes if trial.entry.ema else 0,
        )
        for trial in trials
    )
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [on_one_rank(of_one, trial, trainable) for of_one, trial in zip(forecasts, trials, strict=True)]


def gpu() -> torch.device | None:
    """Return the device on which a forecast can be checked; None if this machine has no NVIDIA GPU."""
    return torch.device("cuda") if torch.cuda.is_available() else None
