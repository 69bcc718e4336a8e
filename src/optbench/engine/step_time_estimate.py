"""Estimate the duration of a training step on this machine, for plans; results never use it."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from optbench.catalog.types import DataInfo
from optbench.engine.batch import Random
from optbench.engine.devices import select_device
from optbench.engine.models import build_model
from optbench.engine.tasks import build_task
from optbench.suite.types import Workload

_MEASURED_SECONDS = 1.0
_MAX_STEPS = 20


def step_seconds(workload: Workload, info: DataInfo, batch: int, folder: str | Path = ".") -> float:
    """Return the seconds of the fastest of up to 20 training steps (about one second in total, after one warm-up step).

    Inputs are random, the optimizer is plain SGD in fp32, and the device is the one that `auto` selects. Raises `OptbenchError` if
    the model doesn't fit the data.
    """
    device = select_device("auto")
    network = build_model(workload.model, info, folder).to(device)
    task = build_task(workload, info, str(folder))
    example = task.example(batch, Random(device))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    durations: list[float] = []
    while len(durations) < 2 or (len(durations) <= _MAX_STEPS and sum(durations[1:]) < _MEASURED_SECONDS):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = task.loss(network, example)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        durations.append(time.perf_counter() - start)
    return min(durations[1:])
