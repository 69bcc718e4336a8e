"""Measure the memory of optimizer state without training: each optimizer takes real steps on the model's parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optbench.catalog.types import DataInfo
from optbench.engine.models import build_model
from optbench.engine.optimizer_memory import optimizer_memory
from optbench.suite.types import Trial


def state_multiples(trials: Sequence[Trial], info: DataInfo) -> list[float]:
    """Return bytes of optimizer state divided by bytes of trainable parameters, per trial.

    NaN for an optimizer that cannot step or whose state cannot be counted completely.

    The trials share one workload, whose data `info` describes. Raises `OptbenchError` if the model can't be built.
    """
    workload, folder = trials[0].workload, trials[0].folder
    model = build_model(workload.model, info, folder)
    size = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    measured = [optimizer_memory(trial, model) for trial in trials]
    return [
        math.nan if state.state_bytes is None or state.at_least else state.state_bytes / size
        for state in measured
    ]
