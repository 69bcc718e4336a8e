"""Independent random streams derived from one seed, each for a named purpose."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """Return a seed in 0..2^63-1 for one purpose, such as `derive(seed, "order", epoch)`, by SHA-256."""
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a generator for one purpose, on the CPU so that draws are the same for every device."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
