"""One cycle: a cosine increase to the peak, then a cosine decrease far below the start (Smith and Topin 2018, https://arxiv.org/abs/1708.07120)."""

from __future__ import annotations

import math

RANGES = {"rise": (0, 1), "start": (0, 1), "final": (0, 1)}


def multiplier(
    step: int, steps: int, *, rise: float = 0.3, start: float = 0.04, final: float = 4e-6
) -> float:
    """Increase from `start` to 1 over the first `rise` of the horizon, then decrease to `final`; all are fractions.

    `final` is reached just after the last step; torch's class peaks and ends one step earlier. The defaults are those of
    `torch.optim.lr_scheduler.OneCycleLR` (div_factor 25, final_div_factor 1e4). Momentum is not changed.
    """
    peak = rise * steps
    if step < peak:
        return start + (1 - start) * 0.5 * (1 - math.cos(math.pi * step / peak))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - peak) / max(1.0, steps - peak)))
