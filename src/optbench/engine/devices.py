"""Which device is meant by `auto`, `cpu`, `cuda`, `cuda:N` or `mps`."""

from __future__ import annotations

import torch

from optbench.errors import OptbenchError, Problem


def pick(wanted: str) -> torch.device:
    """Raises `OptbenchError` for a device that is not there. `auto` takes a GPU where there is one."""
    there = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        there.append("mps")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else there[-1]
    if wanted == "cuda" and len(there) > 1 and torch.cuda.is_available():
        wanted = "cuda:0"
    if wanted not in there:
        raise OptbenchError(
            Problem(f"no such device here: '{wanted}'; there is {', '.join(there)}", where="--device")
        )
    return torch.device(wanted)
