"""Memory of one rank of a trial on several devices, from the memory of training on one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from optbench.catalog.sharding import why_not_sharded
from optbench.engine.sharding import largest_share
from optbench.forecasts import Forecast, OptimizerMemory
from optbench.suite.types import Trial


def on_one_rank(forecast: Forecast, trial: Trial, parameters: Sequence[Tensor]) -> Forecast:
    """Return the forecast for the rank with the most, given one for its share of the batch on a single device.

    `parameters` are the trainable ones. The state of an optimizer that may be sharded has the same number of bytes per element.
    """
    devices, sharding = trial.workload.world_size, trial.workload.sharding
    if devices == 1:
        return forecast
    reasons = [why_not_sharded(rule.use, trial.folder) for rule in trial.entry.rules]
    if sharding != "none" and any(reasons):
        optimizer = OptimizerMemory(None, None, problem=next(filter(None, reasons)))
    else:
        optimizer = _divided(forecast.optimizer, parameters, devices, sharding)
    model, average = forecast.model, forecast.average_bytes
    whole = model.parameter_bytes
    buckets = whole  # DistributedDataParallel copies gradients into buckets of the same size
    if sharding == "full":
        share, all_elements = (
            largest_share(parameters, devices, sharding),
            sum(p.numel() for p in parameters),
        )
        gradients = model.gradient_bytes
        model = replace(
            model,
            parameter_bytes=whole * share // all_elements,
            gradient_bytes=None if gradients is None else gradients * share // all_elements,
            backward_peak_bytes=None,  # depends on the blocks that are gathered at a time
        )
        buckets, average = 0, average * share // all_elements
    return replace(
        forecast,
        model=model,
        optimizer=optimizer,
        average_bytes=average,
        bucket_bytes=buckets,
        devices=devices,
        sharding=sharding,
        whole_parameter_bytes=whole,
    )


def _divided(
    memory: OptimizerMemory, parameters: Sequence[Tensor], devices: int, sharding: str
) -> OptimizerMemory:
    share, whole = largest_share(parameters, devices, sharding), sum(p.numel() for p in parameters)

    def part(size: int | None) -> int | None:
        return None if size is None else size * share // whole

    return replace(memory, state_bytes=part(memory.state_bytes), step_peak_bytes=part(memory.step_peak_bytes))
