"""Settings of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEFAULT_RERUNS = 2
"""Maximum number of reruns of a disturbed trial."""
DEFAULT_WORKERS = "1"


@dataclass(frozen=True)
class RunOptions:
    """How to run suites. Fields have the meaning of the options of `optbench run`."""

    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    seeds: int | None = None
    results: Path = Path("results")
    device: str = "auto"
    threads: int | None = None
    data: str | None = None
    fresh: bool = False
    allow_mixed: bool = False
    stall_seconds: float = 1800.0
    jobs: int | None = None  # sweep trials in parallel, per device
    slots: int | None = None  # parts of the CPU for sweep trials, instead of `jobs`
    allocator: str = "tuned"
    checkpoint_seconds: float | None = None  # between checkpoints; None: the engine's default
    reruns: int = DEFAULT_RERUNS
    executor: Literal["local", "shared", "slurm", "ray"] = "local"
    address: str | None = None  # of the head node of a Ray cluster; None: Ray on this machine
    workers: str = DEFAULT_WORKERS  # of SLURM: their number, or number%limit
    sbatch: tuple[str, ...] = ()  # options of sbatch
    command: str = ""  # recorded with each trial, and shown where a run can be resumed
