"""How long one step of a model takes here: a short measurement for plans, none for results."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from optbench.engine.devices import pick
from optbench.engine.models import build_model
from optbench.suite.types import Component

_ENOUGH_SECONDS = 1.0
_MOST_STEPS = 20


def step_seconds(
    model: Component, shape: tuple[int, ...], classes: int, batch: int, folder: str | Path = "."
) -> float:
    """The quickest of up to 20 training steps (at most about a second of them, after one to warm up), on random inputs with plain
    SGD in fp32, on the device that `auto` means. Raises `OptbenchError` if the model doesn't fit the data.
    """
    device = pick("auto")
    network = build_model(model, shape, classes, folder).to(device)
    inputs = torch.randn(batch, *shape, device=device)
    labels = torch.randint(classes, (batch,), device=device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) <= _MOST_STEPS and sum(taken[1:]) < _ENOUGH_SECONDS):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])
