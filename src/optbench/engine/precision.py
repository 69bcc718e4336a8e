"""Automatic mixed precision: which autocast type, and whether gradients are scaled."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from optbench.errors import OptbenchError


@dataclass(frozen=True)
class Precision:
    """As run. `fp32` leaves the model alone; `bf16` autocasts; `fp16` autocasts and scales gradients."""

    name: str
    dtype: torch.dtype | None = None

    @property
    def scaled(self) -> bool:
        return self.dtype == torch.float16

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.dtype)


def resolve(asked: str, device: torch.device, unscalable: bool = False) -> Precision:
    """`auto` is bf16 where a GPU has it, else fp16; on a CPU it is fp32. What was resolved goes into the record.

    `unscalable`: the optimizer evaluates a closure or differentiates the gradients, which a gradient scaler cannot work with. `auto`
    is then fp32 rather than fp16, and fp16 asked for by name is an error.
    """
    if asked == "auto":
        asked = _automatic(device, unscalable)
    if asked == "fp16" and unscalable:
        raise OptbenchError(
            "precision fp16 needs a gradient scaler, which can't be used with a closure or create_graph; use bf16 or fp32"
        )
    return Precision(asked, {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[asked])


def _automatic(device: torch.device, unscalable: bool) -> str:
    if device.type != "cuda":
        return "fp32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp32" if unscalable else "fp16"


def gradient_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler | None:
    return torch.amp.GradScaler(device.type) if precision.scaled else None
