"""What measuring optimizers' steps tells. Imports nothing of ours; every room may use it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class StepTime:
    """One optimizer in one implementation. `problem` says why nothing was measured; sizes and times are then None or empty."""

    label: str
    implementation: str  # as run: forloop, foreach, fused, compiled, own
    milliseconds: tuple[float, ...] = ()  # a step, one number a round
    pass_milliseconds: tuple[float, ...] = ()  # a pass over as many bytes, in the same rounds
    moved_bytes: int | None = (
        None  # read and written by the update: gradients once, parameters and state twice
    )
    state_bytes: int | None = None
    step_peak_bytes: int | None = None  # allocated for a moment by a step
    compile_seconds: float | None = None
    problem: str = ""

    @property
    def median(self) -> float:
        """Milliseconds; NaN if nothing was measured."""
        return median(self.milliseconds) if self.milliseconds else float("nan")

    @property
    def floor(self) -> float:
        """Milliseconds that memory traffic alone takes: median of the passes; NaN if nothing was measured."""
        return median(self.pass_milliseconds) if self.pass_milliseconds else float("nan")


@dataclass(frozen=True)
class StepTimes:
    """All that one command measured, interleaved, on one model's parameters."""

    model: str
    parameters: int
    tensors: int
    parameter_bytes: int
    device: str
    threads: int | None  # of a CPU
    rounds: int
    rows: tuple[StepTime, ...]
