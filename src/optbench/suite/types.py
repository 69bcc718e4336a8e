"""A suite as typed, frozen data. The fields here are the suite file's grammar: the JSON Schema is made from them.

Paths in error messages follow the file as written, so `Component` keeps its arguments beside its name.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _amount(raw: Any, units: dict[str, str]) -> Any:
    """`{epochs: 30}` or `30 epochs` -> {"value": 30, "unit": "epochs"}; anything else is left for the validation."""
    names = {**units, **{unit: unit for unit in units.values()}}
    if isinstance(raw, dict) and set(raw) != {"value", "unit"}:
        if len(raw) != 1 or next(iter(raw)) not in names:
            raise ValueError(f"expected exactly one of {', '.join(sorted(set(units.values())))}, as in {{epochs: 30}}")
        unit, value = next(iter(raw.items()))
        return {"value": value, "unit": names[unit]}
    if isinstance(raw, str):
        number = raw.rstrip("abcdefghijklmnopqrstuvwxyz% ")
        unit = raw[len(number) :].strip()
        if unit not in names:
            raise ValueError(f"expected a number and a unit ({', '.join(sorted(names))}), as in '30 epochs'; found {raw!r}")
        try:
            return {"value": float(number), "unit": names[unit]}
        except ValueError:
            raise ValueError(f"expected a number before '{unit}'; found {raw!r}") from None
    if isinstance(raw, (int, float)):
        raise ValueError(f"expected a unit with the number ({', '.join(sorted(set(units.values())))}); found {raw!r}")
    return raw


class Strict(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Duration(Strict):
    """A length of training. Written `{epochs: 30}`, `30 epochs`, `500 steps` or `60 seconds`."""

    value: float = Field(gt=0)
    unit: Literal["epochs", "steps", "seconds"]

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return _amount(raw, {"epoch": "epochs", "step": "steps", "second": "seconds", "s": "seconds"})

    def steps(self, steps_per_epoch: int) -> int:
        """Whole optimizer steps, at least one. Durations in seconds have none."""
        if self.unit == "seconds":
            raise ValueError("a duration in seconds has no number of steps")
        return max(1, round(self.value * (steps_per_epoch if self.unit == "epochs" else 1)))

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit if self.value != 1 else self.unit[:-1]}"


class Part(Strict):
    """A part of a schedule: `5%` of it, `2 epochs` or `100 steps`."""

    value: float = Field(ge=0)
    unit: Literal["percent", "epochs", "steps"]

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return _amount(raw, {"epoch": "epochs", "step": "steps", "%": "percent"})

    @model_validator(mode="after")
    def _at_most_all(self) -> Part:
        if self.unit == "percent" and self.value > 100:
            raise ValueError("expected at most 100%")
        return self

    def steps(self, total: int, steps_per_epoch: int) -> int:
        scale = {"percent": total / 100, "epochs": steps_per_epoch, "steps": 1}[self.unit]
        return round(self.value * scale)


class Component(Strict):
    """Something named, with its arguments beside the name: `{name: small_cnn, width: 32}`, or just `small_cnn`.

    A name is a catalog name, an import path (`torchvision.models.resnet50`) or a file (`my_model.py:Net`).
    """

    name: str = Field(min_length=1)
    arguments: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"name": raw}
        if isinstance(raw, dict) and "arguments" not in raw:
            rest = {key: value for key, value in raw.items() if key != "name"}
            return {**({"name": raw["name"]} if "name" in raw else {}), "arguments": rest}
        return raw


class Schedule(Component):
    """Multiplies the learning rate at every step. `warmup` rises linearly from 0 and counts as part of the horizon."""

    warmup: Part | None = None

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        raw = Component._parse.__func__(cls, raw)  # type: ignore[attr-defined]
        if isinstance(raw, dict) and "warmup" in raw.get("arguments", {}):
            rest = {key: value for key, value in raw["arguments"].items() if key != "warmup"}
            return {**raw, "arguments": rest, "warmup": raw["arguments"]["warmup"]}
        return raw


class Clip(Strict):
    """Gradient clipping before each step, by global L2 norm or by absolute value."""

    norm: float | None = Field(default=None, gt=0)
    value: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one(self) -> Clip:
        if (self.norm is None) == (self.value is None):
            raise ValueError("expected exactly one of 'norm' and 'value'")
        return self


class Ema(Strict):
    """Exponential moving average of the weights; evaluations use the averaged weights."""

    decay: float = Field(gt=0, lt=1)


class Augment(Strict):
    """Random changes to training images, one decision an image. Off unless asked for."""

    flip: bool = False  # left-right with probability 1/2
    crop: int = Field(default=0, ge=0)  # pixels of zero padding, then a random crop of the original size
    random_resized_crop: tuple[float, float] | None = None  # share of the area kept, least and most


class Evaluate(Strict):
    """When the validation split is read. The last step is always evaluated."""

    every: Duration = Duration(value=1, unit="epochs")

    @model_validator(mode="after")
    def _countable(self) -> Evaluate:
        if self.every.unit == "seconds":
            raise ValueError("expected epochs or steps: evaluations at fixed steps give every optimizer the same chances")
        return self


class Target(Strict):
    """Time to target is the first evaluation at which the metric is at least (or at most) the value."""

    metric: str = "accuracy"
    at_least: float | None = None
    at_most: float | None = None
    split: Literal["validation", "test"] = "validation"

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
        """NaN never holds."""
        return value >= self.value if self.at_least is not None else value <= self.value

    def __str__(self) -> str:
        return f"{self.split} {self.metric} {'>=' if self.at_least is not None else '<='} {self.value:g}"


class Workload(Strict):
    """All that the optimizers of one comparison share."""

    model: Component
    data: Component
    batch_size: int = Field(ge=1)
    budget: Duration
    target: tuple[Target, ...] = ()
    loss: Component = Component(name="cross_entropy")
    metrics: tuple[str, ...] = Field(default=("accuracy",), min_length=1)  # the first is the final metric
    evaluate: Evaluate = Evaluate()
    augment: Augment = Augment()
    accumulate: int = Field(default=1, ge=1)  # micro-batches a step; batch_size is their sum
    stop_at_target: bool = False
    activation_checkpointing: bool = False
    compile: bool = False
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    loss_bound: float = Field(default=1e6, gt=0)  # a training loss above it (or not finite) is divergence

    @model_validator(mode="before")
    @classmethod
    def _target_list(cls, raw: Any) -> Any:
        if isinstance(raw, dict):
            raw = dict(raw)
            for key in ("target", "metrics"):
                if key in raw and not isinstance(raw[key], (list, tuple)):
                    raw[key] = [raw[key]]
        return raw


class Rule(Strict):
    """Which parameters an optimizer gets; the first rule that fits a parameter takes it."""

    parameters: str = "all"
    """all | rest | matrices (2-D, no embeddings) | embeddings | convolutions (3-D and up) | vectors (1-D and scalars)
    | a glob over parameter names (`head.*`)"""
    use: str = Field(min_length=1)
    arguments: dict[str, Any] = {}


Exempt = Literal["norms", "biases", "embeddings"]


class Optimizer(Strict):
    """One entry: what the optimizers do not share. Keys that are no field here are the optimizer's own arguments."""

    rules: tuple[Rule, ...] = Field(min_length=1)
    schedule: Schedule | None = None
    clip: Clip | None = None
    ema: Ema | None = None
    no_weight_decay: tuple[Exempt, ...] | None = None
    batch_size: int | None = Field(default=None, ge=1)
    horizon: Duration | None = None
    closure: bool | None = None  # None: asked of the class (its `step` requires a closure)


class Suite(Strict):
    """One suite file, resolved. `optimizers` and `workloads` keep the file's order."""

    title: str = ""
    description: str = ""
    workloads: dict[str, Workload] = Field(min_length=1)
    optimizers: dict[str, Optimizer] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    implementation: Literal["default", "forloop", "foreach", "fused"] = "default"
    schedule: Schedule = Schedule(name="constant")
    clip: Clip | None = None
    ema: Ema | None = None
    no_weight_decay: tuple[Exempt, ...] = ()
    baseline: str | None = None  # None: the first entry
    margin: float | None = Field(default=None, gt=0)  # smallest difference of the final metric that matters
    final: Literal["last", "best_validation"] = "last"  # the estimand of the final metric


class Trial(Strict):
    """The unit of work: one workload, one resolved entry, one seed. Suite-wide settings are already merged into it."""

    suite: str
    workload_name: str
    workload: Workload
    label: str
    entry: Optimizer
    seed: int
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    implementation: Literal["default", "forloop", "foreach", "fused"] = "default"
    point: dict[str, Any] = {}  # hyperparameters that a sweep overrides, by argument name
    sources: dict[str, str] = {}  # SHA-256 of every file the suite names
    folder: str = ""  # of the suite file: what relative paths start from; no part of the identity

    @property
    def config_id(self) -> str:
        """Hash of all that determines the outcome but the seed: the trials of one table row share it.

        Targets are left out unless they change what is run: "reached" is derived afterwards, so a new target costs nothing.
        """
        workload = self.workload.model_dump(mode="json", exclude_defaults=True)
        reads_test = any(target.split == "test" for target in self.workload.target)
        if not self.workload.stop_at_target:
            workload.pop("target", None)
        return _digest(
            {
                "workload_name": self.workload_name,
                "workload": workload,
                "reads_test": reads_test,
                "label": self.label,
                "entry": self.entry.model_dump(mode="json", exclude_defaults=True),
                "point": self.point,
                "precision": self.precision,
                "implementation": self.implementation,
                "sources": self.sources,
            }
        )

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, equal for equal work on any machine."""
        return _digest({"config": self.config_id, "seed": self.seed})

    @property
    def batch_size(self) -> int:
        return self.entry.batch_size or self.workload.batch_size
