"""Measured times of optimizer steps. Imports no other module of optbench; every package may use it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class StepTime:
    """One optimizer in one implementation. `problem` is the reason if nothing was measured; sizes are then None, times empty."""

    label: str
    implementation: str  # in use: forloop, foreach, fused, compiled, own
    milliseconds: tuple[float, ...] = ()  # per step, one value per round
    pass_milliseconds: tuple[float, ...] = ()  # a pass over as many bytes, in the same rounds
    #: read and written by an update: gradients once, parameters and state twice
    moved_bytes: int | None = None
    state_bytes: int | None = None
    step_peak_bytes: int | None = None  # transient allocation of a step
    compile_seconds: float | None = None
    problem: str = ""

    @property
    def median(self) -> float:
        """Median time of a step in milliseconds; NaN if nothing was measured."""
        return median(self.milliseconds) if self.milliseconds else float("nan")

    @property
    def floor(self) -> float:
        """Lower bound by memory traffic, in milliseconds: median of the passes; NaN if nothing was measured."""
        return median(self.pass_milliseconds) if self.pass_milliseconds else float("nan")


@dataclass(frozen=True)
class StepTimes:
    """All measurements of one command, interleaved, on the parameters of one model."""

    model: str
    parameters: int
    tensors: int
    parameter_bytes: int
    device: str
    threads: int | None  # of a CPU
    rounds: int
    rows: tuple[StepTime, ...]
