"""Statistics of the training steps, kept on the device until an evaluation reads them: no step waits for the device."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from optbench.engine.passes import StepFacts
from optbench.engine.ranks import Ranks


@dataclass
class IntervalSummary:
    """Summary of the steps since the last evaluation."""

    mean_loss: float
    bad_step: int | None  # the first whose loss is not finite or above the bound
    gradient_norm: float | None  # of the last step
    clipped: int
    skipped: int
    rises: int  # steps whose loss was greater than that of the step before
    norms: list[float]  # of all steps that computed it


@dataclass
class StepStatistics:
    """Per-step scalars since the last evaluation, on the device."""

    loss_bound: float
    first_step: int = 0
    last_loss: float = math.nan  # of the step before the interval
    losses: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    skips: list[Tensor] = field(default_factory=list)
    clips: list[Tensor] = field(default_factory=list)
    _combined: int = 0  # losses that are those of whole batches

    def add(self, facts: StepFacts) -> None:
        """Add the results of one step; does not wait for the device."""
        self.losses.append(facts.loss)
        if facts.norm is not None:
            self.norms.append(facts.norm)
        if facts.skipped is not None:
            self.skips.append(facts.skipped)
        if facts.clipped is not None:
            self.clips.append(facts.clipped)

    def combine(self, ranks: Ranks) -> None:
        """Replace the losses, each the share of this rank, by those of the whole batches. Call it on all ranks."""
        if ranks.size > 1 and len(self.losses) > self._combined:
            shares = torch.stack([loss.double() for loss in self.losses[self._combined :]])
            self.losses[self._combined :] = ranks.sum(shares).unbind()
            self._combined = len(self.losses)

    def read(self) -> IntervalSummary:
        """Wait for the device and return the summary of the steps added since `restart`."""
        losses = _numbers(self.losses)
        norms = _numbers(self.norms)
        bad = (i for i, loss in enumerate(losses) if not math.isfinite(loss) or loss > self.loss_bound)
        first_bad = next(bad, None)
        return IntervalSummary(
            mean_loss=math.fsum(losses) / len(losses) if first_bad is None and losses else math.nan,
            bad_step=None if first_bad is None else self.first_step + first_bad,
            gradient_norm=norms[-1] if norms else None,
            clipped=sum(clip > 0 for clip in _numbers(self.clips)),
            skipped=sum(skip > 0 for skip in _numbers(self.skips)),
            rises=sum(later > before for before, later in pairwise([self.last_loss, *losses])),
            norms=norms,
        )

    def restart(self, next_step: int) -> None:
        """Start a new interval, which begins with step `next_step`."""
        self.first_step = next_step
        self.last_loss = float(self.losses[-1]) if self.losses else self.last_loss
        self.losses, self.norms, self.skips, self.clips = [], [], [], []
        self._combined = 0

    def state(self) -> dict[str, Any]:
        """Return the interval so far as plain numbers, for a checkpoint."""
        return {
            "first_step": self.first_step,
            "last_loss": self.last_loss,
            "losses": _numbers(self.losses),
            "norms": _numbers(self.norms),
            "skips": _numbers(self.skips),
            "clips": _numbers(self.clips),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Set what `state` returned; the scalars are then on the host."""
        self.first_step, self.last_loss = state["first_step"], state["last_loss"]
        for name in ("losses", "norms", "skips", "clips"):
            setattr(self, name, [torch.tensor(value, dtype=torch.float64) for value in state[name]])
        self._combined = len(self.losses)


def _numbers(scalars: list[Tensor]) -> list[float]:
    """Copy the scalars to the host in one transfer; those restored from a checkpoint are on the host already."""
    if not scalars:
        return []
    if len({scalar.device for scalar in scalars}) > 1:
        return [float(scalar) for scalar in scalars]
    return torch.stack(
        [scalar.double() if scalar.device.type != "mps" else scalar for scalar in scalars]
    ).tolist()
