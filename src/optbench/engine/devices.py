"""Selection of devices from `auto`, `cpu`, `cuda`, `cuda:N` or `mps`."""

from __future__ import annotations

import torch

from optbench.errors import OptbenchError


def select_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is a GPU if there is one. Raises `OptbenchError` if the device is not available."""
    available = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else available[-1]
    if name == "cuda" and len(available) > 1 and torch.cuda.is_available():
        name = "cuda:0"
    if name not in available:
        raise OptbenchError(
            f"device '{name}' is not available; expected one of {', '.join(available)}", where="--device"
        )
    return torch.device(name)


def select_devices(names: str) -> list[torch.device]:
    """Return the devices of a comma-separated list, without repetition; `cuda` is every visible GPU. Raises as `select_device`."""
    picked: dict[torch.device, None] = {}
    for name in names.split(","):
        if name.strip() == "cuda" and torch.cuda.is_available():
            picked |= {torch.device("cuda", index): None for index in range(torch.cuda.device_count())}
        else:
            picked[select_device(name.strip())] = None
    return list(picked)
