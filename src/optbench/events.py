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
#: statuses of imported trials
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

#: key of `Metrics`, beside the splits, of the norms per kind of parameter; with `study: parameters`
PARAMETERS = "parameters"
#: key of `Metrics`, beside the splits, of the variables of a test function of two variables
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

    #: versions, device, threads, settings, command; those of `FINGERPRINT` must agree within a table
    environment: dict[str, Any]
    parameters: Integer  # number of trainable scalars
    parameter_bytes: Integer  # of the trainable parameters
    initial_weights: str  # hash of the initial weights: equal for all optimizers of one seed
    hyperparameters: list[dict[str, Any]]  # as resolved by the classes, one dict per parameter group
    splits: dict[str, Integer]  # number of samples: train, validation, test
    steps: Integer | None  # budget in optimizer steps; None for a budget in seconds
    steps_per_epoch: Count
    precision: str  # in use: fp32, bf16 or fp16
    activation_bytes: Integer | None = None  # of one batch, kept for the backward pass; with `study: costs`
    step_flops: Integer | None = None  # of the forward and backward pass of one batch; with `study: costs`
    memory_format: str = ""  # in use: contiguous or channels_last
    gradient_noise: Number | None = None  # noise scale in samples at the initial weights; with `study: noise`
    #: variance of a batch's gradient at the initial weights, summed over components; with `study: noise`
    gradient_variance: Number | None = None
    data_checksum: str = ""  # of all samples of the data set: equal for all trials of a workload
    rate_note: str = ""  # states that the schedule has no effect; empty if it has
    data_notes: str = ""  # remarks on the data set, such as duplicates across splits; one sentence per line


class Progressed(_Event, frozen=True):
    """Progress between evaluations, at most a few per second; never stored."""

    step: Integer
    train_seconds: Number
    note: str = ""  # message to display, such as that the trial cannot be checkpointed


class Evaluated(_Event, frozen=True):
    """One evaluation. Counts and times are cumulative since step 0. Values missing from an imported log are NaN."""

    step: Integer
    epoch: Number
    samples: Number  # a whole number, or NaN
    train_seconds: Number  # rule 1: data, forward and backward pass, step
    cpu_seconds: Number  # CPU time of the process in `train_seconds`
    evaluation_seconds: Number
    train_loss: Number  # mean over the steps since the last evaluation
    learning_rate: Number  # of the first parameter group, at the last step
    metrics: Metrics
    gradient_norm: Number | None = None  # at the last step, before clipping
    clipped_steps: Integer = 0
    skipped_steps: Integer = 0  # steps that the gradient scaler skipped
    loss_rises: Integer | None = None  # steps whose loss was greater than that of the previous step
    # the following four with `study: gradients`; median and maximum are over the steps since the last evaluation
    gradient_norm_median: Number | None = None
    gradient_norm_max: Number | None = None
    exploded_steps: Integer | None = None  # steps whose gradient norm was far above the running median
    vanished_steps: Integer | None = None  # steps whose gradient vanished before the loss had halved
    gradient_evaluations: Integer | None = None  # forward and backward passes over the batch of a step


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
    """Metrics on the test split by estimand, `last` and `best_validation`; empty unless completed."""
    #: evaluation with the best validation metric, whose weights `best_validation` has
    best_step: Integer | None = None
    train_seconds: Number = 0.0
    cpu_seconds: Number = 0.0
    evaluation_seconds: Number = 0.0
    setup_seconds: Number = 0.0  # everything before the first step: model, data, compilation
    compile_seconds: Number | None = None  # part of `setup_seconds` in which a model or steps were compiled
    state_bytes: Integer | None = None  # maximum size of the optimizer state during training (rule 7)
    state_note: str = ""  # state that could not be counted: `state_bytes` is then a lower bound
    #: reason why the trial was not checkpointed: after an interruption it starts again from step 0
    resume_note: str = ""
    step_peak_bytes: Integer | None = None  # transient peak of memory in step(), beyond the state
    #: peak of the CUDA allocator during training; None on other devices
    peak_memory_bytes: Integer | None = None
    at_fault: Fault = ""
    #: forward and backward passes; more than steps if steps call a closure
    gradient_evaluations: Integer | None = None
    gradient_noise: Number | None = None  # noise scale in samples at the last weights; with `study: noise`
    #: variance of a batch's gradient at the last weights, summed over components; with `study: noise`
    gradient_variance: Number | None = None
    embedding_norm_max: Number | None = None  # largest norm of a row of embedding tables at the last weights
    #: part of the training time in which steps waited for data from the host
    data_wait_seconds: Number | None = None
    #: time in which threads waited for a processor during training, summed over threads
    queued_seconds: Number | None = None
    #: part of each step that ran as a CUDA graph: step, gradients (all but the update), none; "" if not requested
    captured: str = ""
    capture_note: str = ""  # reason why no more was captured
    resources: Metrics = {}
    """Machine utilisation during training, by quantity: {"mean", "least", "most"}. Of the last process that trained the trial."""

    @property
    def reason(self) -> str:
        """Return `detail` in one line."""
        return reason_of(self.detail)


#: lines of a trial's file, besides the first
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
    """Return a `Finished.detail` in one line.

    For a traceback, the type of the last exception and the first line of its message; otherwise the first line, which is followed by
    output of the process.
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
