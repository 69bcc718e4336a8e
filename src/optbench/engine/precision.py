"""Automatic mixed precision: the autocast type, and whether gradients are scaled."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from optbench.errors import OptbenchError


@dataclass(frozen=True)
class Precision:
    """The precision in use: `fp32` without autocast, `bf16` with autocast, `fp16` with autocast and gradient scaling."""

    name: str
    dtype: torch.dtype | None = None

    @property
    def scaled(self) -> bool:
        """Whether gradients are scaled, so that small ones are not rounded to 0 in float16."""
        return self.dtype == torch.float16

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context of forward passes."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.dtype)


def resolve(requested: str, device: torch.device, unscalable: bool = False) -> Precision:
    """Return the precision to use; the record states it. `auto` is bf16 on a GPU that has it, else fp16; on a CPU it is fp32.

    `unscalable`: the optimizer calls a closure or uses the graph of the gradients, which a gradient scaler does not support. `auto`
    is then fp32 instead of fp16, and requesting fp16 raises `OptbenchError`.
    """
    if requested == "auto":
        requested = _automatic(device, unscalable)
    if requested == "fp16" and unscalable:
        raise OptbenchError(
            "precision fp16 needs a gradient scaler, which can't be used with a closure or create_graph; use bf16 or fp32"
        )
    return Precision(requested, {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[requested])


def _automatic(device: torch.device, unscalable: bool) -> str:
    if device.type != "cuda":
        return "fp32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp32" if unscalable else "fp16"


def gradient_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler | None:
    """Return torch's gradient scaler if the precision requires one, else None."""
    return torch.amp.GradScaler(device.type) if precision.scaled else None
