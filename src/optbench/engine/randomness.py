"""Independent random streams, each named by its purpose, from one seed."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A seed in 0..2^63-1 for one purpose: `derive(seed, "order", epoch)`. By SHA-256."""
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose; CPU, so that every device sees the same draws."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
