"""Parts of a suite file: components with their arguments, targets, and the workload that the optimizers share."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from optbench.suite.field_types import BatchSize, Duration, Flag, Number, Part, Strict, Whole, expect_one_of

MAX_LABEL = 100


def _label(text: str) -> str:
    """Validate a label or workload name: it is used in table headings and file names."""
    if not text.strip():
        raise ValueError("expected a name; found an empty string")
    if len(text) > MAX_LABEL:
        raise ValueError(f"expected a name of at most {MAX_LABEL} characters; found {len(text)}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise ValueError("expected a name on one line; found control characters")
    return text


Label = Annotated[str, AfterValidator(_label)]


def collect_arguments(raw: Any, fields: Mapping[str, Any]) -> Any:
    """Move keys that are not fields into `arguments`: `{name: mlp, width: 8}` -> `{name: mlp, arguments: {width: 8}}`.

    An explicit `arguments:` is for arguments whose names are also fields.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("arguments", {}), dict):
        return raw
    settings = {key: value for key, value in raw.items() if key in fields and key != "arguments"}
    rest = {key: value for key, value in raw.items() if key not in fields}
    duplicates = sorted(rest.keys() & raw.get("arguments", {}).keys())
    if duplicates:
        raise ValueError(f"'{duplicates[0]}' is given twice: here and in 'arguments'")
    return {**settings, "arguments": {**rest, **raw.get("arguments", {})}}


def as_list(raw: Any) -> Any:
    """Return a single item as a list of one item; None and lists unchanged."""
    return raw if raw is None or isinstance(raw, (list, tuple)) else [raw]


class Component(Strict):
    """A name and its arguments: `{name: small_cnn, width: 32}`, or just `small_cnn`.

    A name is a catalog name, an import path (`torchvision.models.resnet50`) or a file (`my_model.py:Net`).
    """

    name: str = Field(min_length=1)
    """Catalog name, import path or file."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Arguments whose names collide with other keys of this mapping."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return {"name": raw} if isinstance(raw, str) else collect_arguments(raw, cls.model_fields)


class Schedule(Component):
    """Learning rate at every step, over the part of the horizon that follows the warmup.

    One of: a catalog name (`optbench list schedules`); a function of `(step, steps)` that returns a multiplier of the learning
    rate (`my_file.py:decay`); a scheduler of torch (`torch.optim.lr_scheduler.StepLR`) or another subclass of `LRScheduler`; a
    function of `(optimizer, ...)` that returns a scheduler. Arguments for the length default to the horizon: `T_max`, `total_steps`,
    `total_iters`, `num_training_steps`, `max_steps` and similar; `num_warmup_steps` defaults to 0. For schedulers that take functions
    or other schedulers (`LambdaLR`, `SequentialLR`), write a function of `(optimizer, ...)`.
    """

    warmup: Part | None = None
    """Length of a linear warmup at the start of the horizon: `5%`, `2 epochs` or `100 steps`. Step n of W warmup steps, counted from 1,
    has n / W of the learning rate."""
    per: Literal["step", "epoch"] = "step"
    """Whether the scheduler is stepped at every step or once per epoch; `epoch` is for torch's schedulers that count epochs."""


class Clip(Strict):
    """Gradient clipping before each step, by global L2 norm or by absolute value."""

    norm: Number | None = Field(default=None, gt=0)
    """Maximum global L2 norm of the gradient."""
    value: Number | None = Field(default=None, gt=0)
    """Maximum absolute value of each component of the gradient."""

    @model_validator(mode="after")
    def _one(self) -> Clip:
        expect_one_of(self, "norm", "value")
        return self


class Ema(Strict):
    """Exponential moving average of the weights; evaluations use the averaged weights."""

    decay: Number = Field(gt=0, lt=1)
    """Weight of the previous average at each step."""


class Augment(Strict):
    """Random augmentation of training images, drawn separately for each image. Off by default."""

    flip: Flag = False
    """Horizontal flip with probability 1/2."""
    crop: Whole = Field(default=0, ge=0)
    """Zero padding in pixels on every side, followed by a random crop of the original size."""
    random_resized_crop: tuple[Number, Number] | None = None
    """Minimum and maximum share of the area that is kept, as in [0.35, 1]."""

    @field_validator("random_resized_crop")
    @classmethod
    def _shares(cls, shares: tuple[float, float] | None) -> tuple[float, float] | None:
        if shares is not None and not 0 < shares[0] <= shares[1] <= 1:
            raise ValueError(
                f"expected two shares of the area, 0 < minimum <= maximum <= 1; found {list(shares)}"
            )
        return shares


class Evaluate(Strict):
    """When to evaluate on the validation split. The last step is always evaluated."""

    every: Duration = Duration(value=1, unit="epochs")
    """Epochs or steps between evaluations."""

    @model_validator(mode="after")
    def _countable(self) -> Evaluate:
        if self.every.unit == "seconds":
            raise ValueError(
                "expected epochs or steps; found seconds: all optimizers are evaluated at the same steps"
            )
        return self


class Relabel(Strict):
    """A non-stationary objective: the labels of the classes are permuted again at regular intervals, at random but equally for
    all optimizers of one seed."""

    every: Duration
    """Epochs or steps between changes; the first interval uses the original labels."""

    @model_validator(mode="after")
    def _countable(self) -> Relabel:
        if self.every.unit == "seconds":
            raise ValueError(
                "expected epochs or steps; found seconds: the objective changes at the same steps for all optimizers"
            )
        return self


class Target(Strict):
    """A value of a metric. Time to target is the first evaluation at which the metric is at least (or at most) this value."""

    metric: str = Field(default="accuracy", min_length=1)
    """Name of the metric. Default: the first of the workload's `metrics`."""
    at_least: Number | None = None
    """Minimum value, for metrics where higher is better. Fractions, not percent: 0.97."""
    at_most: Number | None = None
    """Maximum value, for metrics where lower is better."""
    split: Literal["validation", "test"] = "validation"
    """Split that the metric is computed on. `test` is only for reproducing published protocols; reports mark it."""

    @model_validator(mode="after")
    def _one_bound(self) -> Target:
        expect_one_of(self, "at_least", "at_most")
        return self

    @property
    def value(self) -> float:
        """The bound: `at_least` or `at_most`."""
        bound = self.at_least if self.at_least is not None else self.at_most
        assert bound is not None
        return bound

    def holds(self, value: float) -> bool:
        """Return whether the value is finite and meets the bound: NaN and infinity meet no target."""
        if not math.isfinite(value):
            return False
        return value >= self.value if self.at_least is not None else value <= self.value

    def __str__(self) -> str:
        return f"{self.split} {self.metric} {'>=' if self.at_least is not None else '<='} {self.value:g}"


class Workload(Strict):
    """The settings that all optimizers of one comparison share."""

    model: Component
    """The model to train."""
    data: Component
    """The data set to train on."""
    batch_size: BatchSize
    """Number of samples per step; `full` for the whole training split."""
    budget: Duration
    """Training length of every trial."""
    target: tuple[Target, ...] = ()
    """One or more targets. Time to target is reported for each, from the same run. null: no target."""
    init: Component | None = None
    """Weight initialisation of this workload; overrides the suite's."""
    task: Annotated[str, Field(min_length=1)] | None = None
    """Own training problem: a class with `loss(model, batch)` and `evaluate(model, batch)` (`my_task.py:Task`). Default: the task of
    the data set."""
    loss: Component = Component(name="cross_entropy")
    """Loss function to minimise. Default: that of the task; cross_entropy for classification."""
    metrics: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=("accuracy",), min_length=1)
    """Metrics computed at every evaluation; the first is the final metric. Metrics of targets and `own_metrics` are added. Default:
    those of the task; accuracy for classification."""
    own_metrics: dict[Label, Annotated[str, Field(min_length=1)]] = Field(default={})
    """Metrics from files or packages, by name; tables show this name, `metrics` and targets refer to it."""
    evaluate: Evaluate = Evaluate()
    """When to evaluate."""
    augment: Augment = Augment()
    """Random augmentation of training images."""
    relabel: Relabel | None = None
    """An objective that changes during training; every metric is computed with the labels that are in use at that time."""
    data_order: Whole = Field(default=0, ge=0)
    """Number of the random order of the training samples, and of their augmentation, among those of one seed. Trials that differ only in
    it start from the same weights."""
    accumulate: Whole = Field(default=1, ge=1)
    """Number of micro-batches per step; `batch_size` is their total size."""
    devices: Whole = Field(default=1, ge=1, le=1024)
    """Number of devices that train each trial together, one process per device with an equal share of every batch (`batch_size` is the
    size of the whole batch). On a CPU, the processes share its threads. With `nodes`, the number on each node."""
    nodes: Whole = Field(default=1, ge=1, le=1024)
    """Number of machines that train each trial together, with `devices` processes on each. Above 1 only with `--executor slurm` or
    `ray`."""
    sync_batch_norm: Flag = False
    """With several devices: batch norm over the whole batch, as on one device, instead of over each device's share."""
    sharding: Literal["none", "zero1", "full"] = "none"
    """With several devices: what is divided among the devices. `zero1`: optimizer state; `full`: parameters, gradients and optimizer
    state (FSDP). Only for optimizers that update each element independently."""
    stop_at_target: Flag = False
    """Stop a trial when all targets are reached; it then has no final metric."""
    activation_checkpointing: Flag = False
    """Recompute activations in the backward pass to save memory."""
    compile: Flag = False
    """Run the model through torch.compile."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Layout of images and convolution weights. auto: channels_last for convolutional networks on a GPU, else contiguous."""
    study: tuple[Literal["gradients", "parameters", "costs", "noise"], ...] = ()
    """Additional measurements: `gradients` (gradient norm at every step), `parameters` (norms of gradient, update and weights per
    kind of parameter at each evaluation), `costs` (FLOPs and activation memory of a step), `noise` (gradient noise scale at start
    and end). Only `gradients` adds to the training time."""
    loss_bound: Number = Field(default=1e6, gt=0)
    """Training loss above which (or if it is not finite) a trial counts as diverged."""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        if "target" in raw and raw["target"] is None:  # no target
            raw = {key: value for key, value in raw.items() if key != "target"}
        raw = {**raw, **{key: as_list(raw[key]) for key in ("target", "metrics", "study") if key in raw}}
        targets, own_metrics = raw.get("target"), raw.get("own_metrics")
        metrics = raw.get("metrics", ["accuracy"])
        if isinstance(targets, list) and isinstance(metrics, list) and metrics:
            targets = [{"metric": metrics[0], **t} if isinstance(t, dict) else t for t in targets]
            raw["target"] = targets
        required = [t["metric"] for t in targets or () if isinstance(t, dict) and "metric" in t]
        required += list(own_metrics) if isinstance(own_metrics, dict) else []
        if required and isinstance(metrics, list) and metrics:
            raw["metrics"] = [*metrics, *(m for m in dict.fromkeys(map(str, required)) if m not in metrics)]
        return raw

    @property
    def world_size(self) -> int:
        """The number of processes that train a trial together, on all nodes."""
        return self.nodes * self.devices

    def metric_code(self, name: str) -> str:
        """Return the catalog name, import path or file of a metric."""
        return self.own_metrics.get(name, name)
