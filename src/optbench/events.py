"""Events of a trial: the interface between engine, executor and store.

The engine yields events, the executor sends them between processes, the store writes each as one JSON line
(`Progressed` is never stored): a record, checked against these types when it is read. A field that older records lack
has a default. Times are in seconds, sizes in bytes, metrics are fractions.
"""

from __future__ import annotations

import re
from itertools import dropwhile
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

Status = Literal["completed", "stopped", "diverged", "out_of_memory", "failed", "interrupted", "paused"]
#: those of imported trials
STATUSES: tuple[Status, ...] = ("completed", "stopped", "diverged", "out_of_memory", "failed", "interrupted")

#: cause of a failure, "" if it is not known (decision 9)
Fault = Literal["optimizer", "infrastructure", ""]

if TYPE_CHECKING:
    Count: TypeAlias = int
    Integer: TypeAlias = int
    Number: TypeAlias = float
else:
    Count = Annotated[int, Meta(ge=1, le=2**63 - 1)]
    Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    Number = Integer | float | Literal["nan", "inf", "-inf"]  # as in a file; `records` converts the names

#: where metrics have the norms per kind of parameter, beside the splits; with `study: parameters`
PARAMETERS = "parameters"
#: where metrics have the variables of a test function of two variables, beside the splits
POSITION = "position"
#: metrics by split, as in {"validation": {"accuracy": 0.97, "loss": 0.1}}
Metrics = dict[str, dict[str, Number]]


class _Event(Struct, frozen=True, tag_field="record", tag=str.lower):
    @property
    def kind(self) -> str:
        """Return the name of the record, as in a file."""
        return str(self.__struct_config__.tag)


class Started(_Event, frozen=True):
    """Start of a trial; written once, before the first step."""

    environment: dict[str, Any]  # versions, device, threads, precision as run: what must agree within a table
    parameters: Integer  # trainable scalars
    parameter_bytes: Integer
    initial_weights: str  # hash of the initial weights: equal for all optimizers of one seed
    hyperparameters: list[dict[str, Any]]  # resolved, one dict a parameter group (class defaults included)
    splits: dict[str, Integer]  # samples in train, validation, test
    steps: Integer | None  # the budget in optimizer steps; None when the budget is in seconds
    steps_per_epoch: Count
    precision: str  # as run: fp32, bf16 or fp16
    activation_bytes: Integer | None = None  # kept for the backward pass of one batch; with `study: costs`
    step_flops: Integer | None = None  # of both passes over one batch; with `study: costs`
    memory_format: str = ""  # as run: contiguous or channels_last
    gradient_noise: Number | None = None  # noise scale in samples at the initial weights; with `study: noise`
    gradient_variance: Number | None = (
        None  # of a batch at the initial weights, over components; with `study: noise`
    )
    data_checksum: str = ""  # over all samples of the data set: equal for all trials of a workload
    rate_note: str = ""  # that the schedule has no effect on the optimizer
    data_notes: str = ""  # of the data set: duplicates across splits, for example; one sentence per line


class Progressed(_Event, frozen=True):
    """Progress between evaluations, at most a few per second; never stored."""

    step: Integer
    train_seconds: Number
    note: str = ""  # what a user must know now, such as that the trial cannot be checkpointed


class Evaluated(_Event, frozen=True):
    """One evaluation. Counts and times are cumulative since step 0. Values missing from an imported log are NaN."""

    step: Integer
    epoch: Number
    samples: Number  # a whole number, or NaN
    train_seconds: Number  # the clock of rule 1: data, forward, backward, step
    cpu_seconds: Number  # process CPU time spent inside that clock
    evaluation_seconds: Number
    train_loss: Number  # mean over the steps since the last evaluation
    learning_rate: Number  # of the first parameter group, at the last step
    metrics: Metrics
    gradient_norm: Number | None = None  # at the last step, before clipping
    clipped_steps: Integer = 0
    skipped_steps: Integer = 0  # steps the gradient scaler skipped
    loss_rises: Integer | None = None  # steps so far whose batch had a greater loss than the step before's
    gradient_norm_median: Number | None = (
        None  # of the steps since the last evaluation; with `study: gradients`
    )
    gradient_norm_max: Number | None = None
    exploded_steps: Integer | None = None  # so far, of steps whose gradient was far above the running median
    vanished_steps: Integer | None = (
        None  # so far, of steps whose gradient was gone before anything was learned
    )
    gradient_evaluations: Integer | None = (
        None  # so far: forward and backward passes over the batch of a step
    )


class Resumed(_Event, frozen=True):
    """Training resumes from a checkpoint at `step` (0: from the start)."""

    step: Integer
    environment: dict[str, Any] = {}


class Finished(_Event, frozen=True):
    """End of a trial: its status, and the values that are read once at the end."""

    status: Status
    detail: str = (
        ""  # one sentence; for `failed` the traceback, after a line with the place in a file of the suite
    )
    step: Integer = 0
    final: Metrics = {}
    """estimand -> metrics on the test split: {"last": {...}, "best_validation": {...}}; empty unless completed."""
    best_step: Integer | None = None  # the evaluation whose weights `best_validation` used
    train_seconds: Number = 0.0
    cpu_seconds: Number = 0.0
    evaluation_seconds: Number = 0.0
    setup_seconds: Number = 0.0  # model, data, compilation: everything before the first step
    compile_seconds: Number | None = None  # the part of that in which a model or steps were compiled
    state_bytes: Integer | None = None  # the most optimizer state that the run had, rule 7
    state_note: str = ""  # what of the state could not be counted: `state_bytes` is then a lower limit
    resume_note: str = (
        ""  # why the trial was not checkpointed: after an interruption it starts again from step 0
    )
    step_peak_bytes: Integer | None = None  # transient allocation inside step() beyond that
    peak_memory_bytes: Integer | None = None  # allocator's peak over the whole training (CUDA), else None
    at_fault: Fault = ""
    gradient_evaluations: Integer | None = (
        None  # forward and backward passes: more than steps where steps call a closure
    )
    gradient_noise: Number | None = None  # noise scale in samples at the last weights; with `study: noise`
    gradient_variance: Number | None = (
        None  # of a batch at the last weights, over components; with `study: noise`
    )
    embedding_norm_max: Number | None = None  # largest norm of a row of embedding tables at the last weights
    data_wait_seconds: Number | None = (
        None  # part of the training clock in which steps waited for data from the host
    )
    queued_seconds: Number | None = (
        None  # of training, summed over its threads: ready to run, without a processor
    )
    captured: str = (
        ""  # of each step as a CUDA graph: step, gradients (all but the update), none; "" where nobody asked
    )
    capture_note: str = ""  # why no more was captured
    resources: Metrics = {}
    """Machine utilisation during training, by quantity: {"mean", "least", "most"}. From the last process that trained it."""

    @property
    def reason(self) -> str:
        """Return `detail` in one line."""
        return reason_of(self.detail)


#: what a trial's file contains
Record = Started | Evaluated | Resumed | Finished
Event = Record | Progressed

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
