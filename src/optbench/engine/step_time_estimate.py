"""Estimate the duration of a training step on this machine, for plans; results never use it."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from optbench.engine.devices import pick
from optbench.engine.models import build_model
from optbench.suite.types import Component

_MEASURED_SECONDS = 1.0
_MAX_STEPS = 20


def step_seconds(
    model: Component, shape: tuple[int, ...], classes: int, batch: int, folder: str | Path = "."
) -> float:
    """Return the seconds of the fastest of up to 20 training steps (about one second in total, after one warm-up step).

    Inputs are random, the optimizer is plain SGD in fp32, and the device is the one that `auto` selects. Raises `OptbenchError` if
    the model doesn't fit the data.
    """
    device = pick("auto")
    network = build_model(model, shape, classes, folder).to(device)
    inputs = torch.randn(batch, *shape, device=device)
    labels = torch.randint(classes, (batch,), device=device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    durations: list[float] = []
    while len(durations) < 2 or (len(durations) <= _MAX_STEPS and sum(durations[1:]) < _MEASURED_SECONDS):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        durations.append(time.perf_counter() - start)
    return min(durations[1:])
