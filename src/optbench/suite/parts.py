"""The parts of a suite file: components with their arguments, targets, and the workload that all share."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from optbench.suite.amounts import BatchSize, Duration, Flag, Number, Part, Strict, Whole

MAX_LABEL = 100


def _label(text: str) -> str:
    """Labels and workload names head tables and name files."""
    if not text.strip():
        raise ValueError("expected a name; found an empty one")
    if len(text) > MAX_LABEL:
        raise ValueError(f"expected a name of at most {MAX_LABEL} characters; found {len(text)}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise ValueError("expected a name of one line; found control characters")
    return text


Label = Annotated[str, AfterValidator(_label)]


def gather(raw: Any, fields: Mapping[str, Any]) -> Any:
    """Keys that are no field are arguments: `{name: mlp, width: 8}` -> `{name: mlp, arguments: {width: 8}}`.

    An explicit `arguments:` is for arguments whose names are fields too.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("arguments", {}), dict):
        return raw
    own = {key: value for key, value in raw.items() if key in fields and key != "arguments"}
    rest = {key: value for key, value in raw.items() if key not in fields}
    twice = sorted(rest.keys() & raw.get("arguments", {}).keys())
    if twice:
        raise ValueError(f"'{twice[0]}' is given twice: here and in 'arguments'")
    return {**own, "arguments": {**rest, **raw.get("arguments", {})}}


def as_list(raw: Any) -> Any:
    """One item stands for a list of one."""
    return raw if raw is None or isinstance(raw, (list, tuple)) else [raw]


class Component(Strict):
    """Something named, its arguments beside the name: `{name: small_cnn, width: 32}`, or just `small_cnn`.

    A name is a catalog name, an import path (`torchvision.models.resnet50`) or a file (`my_model.py:Net`).
    """

    name: str = Field(min_length=1)
    """Catalog name, import path or file."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """The arguments, where their names would collide with others here."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return {"name": raw} if isinstance(raw, str) else gather(raw, cls.model_fields)


class Schedule(Component):
    """Sets the learning rate at every step, over the horizon that is left after the warmup.

    It is a catalog name (`optbench list schedules`), your own function of `(step, steps)` that returns a multiplier of the learning
    rate (`my_file.py:decay`), a scheduler of torch (`torch.optim.lr_scheduler.StepLR`) or another subclass of its `LRScheduler`, or a
    function of `(optimizer, ...)` that returns one. Lengths that are not given follow the horizon: `T_max`, `total_steps`,
    `total_iters`, `num_training_steps`, `max_steps` and the like; `num_warmup_steps` is 0. Schedulers that take functions or other
    schedulers (`LambdaLR`, `SequentialLR`) need such a function of your own.
    """

    warmup: Part | None = None
    """Linear rise from 0 at the start, part of the horizon: `5%`, `2 epochs` or `100 steps`."""
    per: Literal["step", "epoch"] = "step"
    """Whether it moves on at every step or once an epoch, for torch's schedulers that are defined by epoch."""


class Clip(Strict):
    """Gradient clipping before each step, by global L2 norm or by absolute value."""

    norm: Number | None = Field(default=None, gt=0)
    """Largest global L2 norm of the gradient."""
    value: Number | None = Field(default=None, gt=0)
    """Largest absolute value of each component of the gradient."""

    @model_validator(mode="after")
    def _one(self) -> Clip:
        if (self.norm is None) == (self.value is None):
            raise ValueError("expected exactly one of 'norm' and 'value'")
        return self


class Ema(Strict):
    """Exponential moving average of the weights; evaluations use the averaged weights."""

    decay: Number = Field(gt=0, lt=1)
    """Weight of the old average at each step."""


class Augment(Strict):
    """Random changes to training images, one decision an image. Off unless asked for."""

    flip: Flag = False
    """Left-right, with probability 1/2."""
    crop: Whole = Field(default=0, ge=0)
    """Pixels of zero padding on every side, then a random crop of the original size."""
    random_resized_crop: tuple[Number, Number] | None = None
    """Share of the area kept, least and most, as in [0.35, 1]."""

    @field_validator("random_resized_crop")
    @classmethod
    def _shares(cls, shares: tuple[float, float] | None) -> tuple[float, float] | None:
        if shares is not None and not 0 < shares[0] <= shares[1] <= 1:
            raise ValueError(f"expected two shares of the area, 0 < least <= most <= 1; found {list(shares)}")
        return shares


class Evaluate(Strict):
    """When the validation split is read. The last step is always evaluated."""

    every: Duration = Duration(value=1, unit="epochs")
    """Epochs or steps between evaluations."""

    @model_validator(mode="after")
    def _countable(self) -> Evaluate:
        if self.every.unit == "seconds":
            raise ValueError(
                "expected epochs or steps: evaluations at fixed steps give every optimizer the same chances"
            )
        return self


class Relabel(Strict):
    """A non-stationary objective: classes get their labels anew by a random permutation, the same for all optimizers of a seed."""

    every: Duration
    """Epochs or steps between changes; the first stretch has the data's own labels."""

    @model_validator(mode="after")
    def _countable(self) -> Relabel:
        if self.every.unit == "seconds":
            raise ValueError("expected epochs or steps: the objective must change alike for every optimizer")
        return self


class Target(Strict):
    """Time to target is the first evaluation at which the metric is at least (or at most) the value."""

    metric: str = Field(default="accuracy", min_length=1)
    """Name of the metric."""
    at_least: Number | None = None
    """For metrics of which more is better. Fractions, not percent: 0.97."""
    at_most: Number | None = None
    """For metrics of which less is better."""
    split: Literal["validation", "test"] = "validation"
    """`test` is only for repeating published protocols, and is labelled."""

    @model_validator(mode="after")
    def _one_bound(self) -> Target:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("expected exactly one of 'at_least' and 'at_most'")
        return self

    @property
    def value(self) -> float:
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
    """All that the optimizers of one comparison share."""

    model: Component
    """The model to train."""
    data: Component
    """The data set to train on."""
    batch_size: BatchSize
    """Samples a step; `full` for the whole training split."""
    budget: Duration
    """How long every trial trains."""
    target: tuple[Target, ...] = ()
    """Time to target is reported for each, from the same run."""
    init: Component | None = None
    """Initial weights, instead of the suite's."""
    loss: Component = Component(name="cross_entropy")
    """What is minimised."""
    metrics: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=("accuracy",), min_length=1)
    """What is measured at every evaluation; the first is the final metric. Those of targets and `own_metrics` are added."""
    own_metrics: dict[Label, Annotated[str, Field(min_length=1)]] = Field(default={})
    """Metrics in files or packages, by the name that tables show and that `metrics` and targets use."""
    evaluate: Evaluate = Evaluate()
    """When to evaluate."""
    augment: Augment = Augment()
    """Random changes to training images."""
    relabel: Relabel | None = None
    """An objective that changes while it trains; every metric is of the labels that hold at that moment."""
    accumulate: Whole = Field(default=1, ge=1)
    """Micro-batches a step; `batch_size` is their sum."""
    stop_at_target: Flag = False
    """End a trial as soon as all targets are reached; it then has no final metric."""
    activation_checkpointing: Flag = False
    """Recompute activations in the backward pass to save memory."""
    compile: Flag = False
    """Run the model through torch.compile."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Layout of images and convolution weights. auto: channels_last for convolutional networks on a GPU, else contiguous."""
    study: tuple[Literal["gradients", "costs", "noise"], ...] = ()
    """More to measure: `gradients` (their norm at every step), `costs` (FLOPs and activations of a step), `noise` (the
    gradient noise scale at start and end). Only the first takes training time."""
    loss_bound: Number = Field(default=1e6, gt=0)
    """A training loss above it (or not finite) is divergence."""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        raw = {**raw, **{key: as_list(raw[key]) for key in ("target", "metrics", "study") if key in raw}}
        targets, own = raw.get("target"), raw.get("own_metrics")
        metrics = raw.get("metrics", ["accuracy"])
        wanted = [t.get("metric", "accuracy") for t in targets or () if isinstance(t, dict)]
        wanted += list(own) if isinstance(own, dict) else []
        if wanted and isinstance(metrics, list) and metrics:
            raw["metrics"] = [*metrics, *(m for m in dict.fromkeys(map(str, wanted)) if m not in metrics)]
        return raw

    def metric_code(self, name: str) -> str:
        """Return the catalog name, import path or file of a metric."""
        return self.own_metrics.get(name, name)
