"""Events of a trial: the interface between engine, executor and store.

The engine yields events, the executor sends them between processes, the store writes each as one JSON line
(`Progressed` is never stored). Times are in seconds, sizes in bytes, metrics are fractions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Any, ClassVar, Literal

Status = Literal["completed", "stopped", "diverged", "out_of_memory", "failed", "interrupted"]
STATUSES: tuple[Status, ...] = ("completed", "stopped", "diverged", "out_of_memory", "failed", "interrupted")

#: cause of a failure, "" if it is not known (decision 9)
Fault = Literal["optimizer", "infrastructure", ""]

#: metrics by split, as in {"validation": {"accuracy": 0.97, "loss": 0.1}}
Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Started:
    """Start of a trial; written once, before the first step."""

    kind: ClassVar[str] = "started"
    environment: dict[str, Any]  # versions, device, threads, precision as run: what must agree within a table
    parameters: int  # trainable scalars
    parameter_bytes: int
    initial_weights: str  # hash of the initial weights: equal for all optimizers of one seed
    hyperparameters: list[dict[str, Any]]  # resolved, one dict a parameter group (class defaults included)
    splits: dict[str, int]  # samples in train, validation, test
    steps: int | None  # the budget in optimizer steps; None when the budget is in seconds
    steps_per_epoch: int
    precision: str  # as run: fp32, bf16 or fp16
    activation_bytes: int | None = None  # kept for the backward pass of one batch; with `study: costs`
    step_flops: int | None = None  # of both passes over one batch; with `study: costs`
    memory_format: str = ""  # as run: contiguous or channels_last
    gradient_noise: float | None = None  # noise scale in samples at the initial weights; with `study: noise`
    data_checksum: str = ""  # over all samples of the data set: equal for all trials of a workload
    data_notes: str = ""  # of the data set: duplicates across splits, for example; one sentence per line


@dataclass(frozen=True)
class Progressed:
    """Progress between evaluations, at most a few per second; never stored."""

    kind: ClassVar[str] = "progressed"
    step: int
    train_seconds: float
    note: str = ""  # what a user must know now, such as that the trial cannot be checkpointed


@dataclass(frozen=True)
class Evaluated:
    """One evaluation. Counts and times are cumulative since step 0. Values missing from an imported log are NaN."""

    kind: ClassVar[str] = "evaluated"
    step: int
    epoch: float
    samples: float  # a whole number, or NaN
    train_seconds: float  # the clock of rule 1: data, forward, backward, step
    cpu_seconds: float  # process CPU time spent inside that clock
    evaluation_seconds: float
    train_loss: float  # mean over the steps since the last evaluation
    learning_rate: float  # of the first parameter group, at the last step
    metrics: Metrics
    gradient_norm: float | None = None  # at the last step, before clipping
    clipped_steps: int = 0
    skipped_steps: int = 0  # steps the gradient scaler skipped
    loss_rises: int | None = None  # steps so far whose batch had a greater loss than the step before's
    gradient_norm_median: float | None = (
        None  # of the steps since the last evaluation; with `study: gradients`
    )
    gradient_norm_max: float | None = None
    exploded_steps: int | None = None  # so far, of steps whose gradient was far above the running median
    vanished_steps: int | None = None  # so far, of steps whose gradient was gone before anything was learned
    gradient_evaluations: int | None = None  # so far: forward and backward passes over the batch of a step


@dataclass(frozen=True)
class Resumed:
    """Training resumes from a checkpoint at `step` (0: from the start)."""

    kind: ClassVar[str] = "resumed"
    step: int
    environment: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """End of a trial: its status, and the values that are read once at the end."""

    kind: ClassVar[str] = "finished"
    status: Status
    detail: str = ""  # one sentence; for `failed` the traceback
    step: int = 0
    final: dict[str, dict[str, float]] = field(default_factory=dict)
    """estimand -> metrics on the test split: {"last": {...}, "best_validation": {...}}; empty unless completed."""
    best_step: int | None = None  # the evaluation whose weights `best_validation` used
    train_seconds: float = 0.0
    cpu_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    setup_seconds: float = 0.0  # model, data, compilation: everything before the first step
    compile_seconds: float | None = None  # the part of that in which a model or steps were compiled
    state_bytes: int | None = None  # the most optimizer state that the run had, rule 7
    state_note: str = ""  # what of the state could not be counted: `state_bytes` is then a lower limit
    resume_note: str = (
        ""  # why the trial was not checkpointed: after an interruption it starts again from step 0
    )
    step_peak_bytes: int | None = None  # transient allocation inside step() beyond that
    peak_memory_bytes: int | None = None  # allocator's peak over the whole training (CUDA), else None
    at_fault: Fault = ""
    gradient_evaluations: int | None = (
        None  # forward and backward passes: more than steps where steps call a closure
    )
    gradient_noise: float | None = None  # noise scale in samples at the last weights; with `study: noise`
    data_wait_seconds: float | None = (
        None  # part of the training clock in which steps waited for data from the host
    )
    queued_seconds: float | None = (
        None  # of training, summed over its threads: ready to run, without a processor
    )
    captured: str = (
        ""  # of each step as a CUDA graph: step, gradients (all but the update), none; "" where nobody asked
    )
    capture_note: str = ""  # why no more was captured
    resources: dict[str, dict[str, float]] = field(default_factory=dict)
    """Machine utilisation during training, by quantity: {"mean", "least", "most"}. From the last process that trained it."""

    @property
    def reason(self) -> str:
        """Return `detail` in one line."""
        return reason_of(self.detail)


Event = Started | Progressed | Evaluated | Resumed | Finished
EVENT_TYPES: dict[str, type[Started | Progressed | Evaluated | Resumed | Finished]] = {
    cls.kind: cls for cls in (Started, Progressed, Evaluated, Resumed, Finished)
}

_TRACEBACK = re.compile(r"\s*(\+ Exception Group )?Traceback \(most recent call last\):")
_CHAINED = re.compile(
    r"^\n(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\n\n",
    re.MULTILINE,
)
_MAX_REASON = 300


def reason_of(detail: str) -> str:
    """Return the line of a `Finished.detail` that says what happened.

    Of a traceback this is the type of the last exception and the first line of its message, of anything else the first
    line: what follows it is output of the process.
    """
    if _TRACEBACK.match(detail):
        last = _CHAINED.split(detail)[-1]
        unindented = (line.removeprefix("  | ") for line in last.lstrip().splitlines()[1:])
        detail = "\n".join(dropwhile(lambda line: line.startswith(" ") or not line, unindented)) or last
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    reason = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return reason if len(reason) <= _MAX_REASON else f"{reason[: _MAX_REASON - 3]}..."


#: keys of `Started.environment` that must agree within one table
FINGERPRINT = ("optbench", "torch", "device", "device_name", "threads", "cuda", "float32_matmul_precision")
