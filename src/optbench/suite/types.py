"""A suite as typed, frozen data. The fields are the suite file's grammar: the JSON Schema is made from them.

Short forms (`30 epochs`, `Adam: adam`, `workload:`) are read by the validators, so the file as it is written and
the resolved form (as stored with the results) are both valid input.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, WithJsonSchema, field_validator, model_validator

from optbench.suite.amounts import BatchSize, Duration, Flag, Number, Part, Strict, Whole
from optbench.suite.grids import Grid
from optbench.suite.parts import (
    Augment,
    Clip,
    Component,
    Ema,
    Evaluate,
    Label,
    Schedule,
    Target,
    Workload,
    as_list,
    gather,
)
from optbench.suite.published import Published
from optbench.suite.quoting import shown

__all__ = [
    "Augment",
    "Clip",
    "Component",
    "Duration",
    "Ema",
    "Evaluate",
    "Exempt",
    "Optimizer",
    "Part",
    "Rule",
    "Schedule",
    "Suite",
    "Target",
    "Trial",
    "Workload",
]

MAX_SEEDS = 100_000


class Rule(Strict):
    """Which parameters an optimizer gets; the first rule that fits a parameter takes it."""

    parameters: str = Field(default="all", min_length=1)
    """all | rest | matrices (2-D, no embeddings) | embeddings | convolutions (3-D and up) | vectors (1-D and
    scalars) | a glob over parameter names (`head.*`)"""
    use: str = Field(min_length=1)
    """Class or factory: catalog name, import path (`torch.optim.AdamW`) or file (`my_opt.py:MyOptimizer`)."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """The optimizer's arguments, where their names would collide with settings of the entry."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return gather(raw, cls.model_fields)


Exempt = Literal["norms", "biases", "embeddings"]


def _closure(value: Any) -> Any:
    if isinstance(value, bool) or value in ("gradients_first", "loss_only"):
        return value
    raise ValueError(f"expected true, false, gradients_first or loss_only; found {shown(value)}")


Closure = Annotated[
    bool | Literal["gradients_first", "loss_only"],
    PlainValidator(_closure),
    WithJsonSchema({"enum": [True, False, "gradients_first", "loss_only"]}),
]


class Optimizer(Strict):
    """One entry: what the optimizers do not share. Keys that are no setting are the optimizer's arguments.

    Settings that are written here win over the suite's; written as null they are off.
    """

    rules: tuple[Rule, ...] = Field(min_length=1)
    schedule: Schedule | None = None
    """Instead of the suite's; `constant` switches it off."""
    clip: Clip | None = None
    """Instead of the suite's; null switches it off."""
    ema: Ema | None = None
    """Instead of the suite's; null switches it off."""
    no_weight_decay: tuple[Exempt, ...] | None = None
    """Instead of the suite's; [] switches it off."""
    batch_size: BatchSize | None = None
    """Instead of the workload's; marked in reports."""
    horizon: Duration | None = None
    """Length of the schedule, in epochs or steps; the budget if not given."""
    horizons: tuple[Duration, ...] | None = None
    """Instead of the suite's; [] switches them off."""
    closure: Closure | None = None
    """Whether `step` gets a closure; found from the class if not given. `gradients_first`: the batch's gradients are computed
    before `step(closure)` too, as two-pass methods expect; `loss_only`: the closure returns the loss without calling `backward()`.
    With `true`, steps on a toy problem decide between these."""
    first_update_by: Duration | None = None
    """The step or epoch by which its first update must have changed a parameter, if it starts late by design; else the first
    evaluation, and at least 20 steps."""
    create_graph: Flag | None = None
    """Whether gradients keep their graph (`backward(create_graph=True)`), for methods that differentiate them; if not given,
    the class's attribute `is_second_order`."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        """`{use: torch.optim.SGD, lr: 0.1, clip: {norm: 1}}` or just `sgd` -> settings and rules."""
        if isinstance(raw, str):
            raw = {"use": raw}
        if not isinstance(raw, dict) or "rules" in raw:
            return raw
        own = {key: value for key, value in raw.items() if key in cls.model_fields}
        rest = {key: value for key, value in raw.items() if key not in cls.model_fields}
        if "no_weight_decay" in own:
            own["no_weight_decay"] = as_list(own["no_weight_decay"])
        if not isinstance(rest.get("use"), list):
            return {**own, "rules": [rest]}
        other = [key for key in rest if key != "use"]
        if other:
            raise ValueError(f"'{other[0]}' belongs into one of the rules of 'use'")
        return {**own, "rules": rest["use"]}

    @field_validator("horizon", "first_update_by")
    @classmethod
    def _countable(cls, length: Duration | None) -> Duration | None:
        if length is not None and length.unit == "seconds":
            raise ValueError("expected epochs or steps; found seconds")
        return length

    @field_validator("horizons")
    @classmethod
    def _several(cls, horizons: tuple[Duration, ...] | None) -> tuple[Duration, ...] | None:
        return _different(horizons or ()) if horizons is not None else None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.horizon is not None and self.horizons:
            raise ValueError("expected either 'horizon' or 'horizons', each of which is a trial of its own")
        return self


def _different(horizons: tuple[Duration, ...]) -> tuple[Duration, ...]:
    """In one unit that counts steps, shortest first."""
    units = {horizon.unit for horizon in horizons}
    if "seconds" in units or len(units) > 1:
        raise ValueError(
            f"expected horizons all in epochs or all in steps; found {' and '.join(sorted(units))}"
        )
    if len(set(horizons)) < len(horizons):
        raise ValueError("expected different horizons; found one twice")
    return tuple(sorted(horizons, key=lambda horizon: horizon.value))


Precision = Literal["auto", "fp32", "bf16", "fp16"]
Implementation = Literal["default", "forloop", "foreach", "fused", "compiled", "auto"]
CudaGraph = Literal["auto", "on", "off"]
Text = Annotated[str, Field(coerce_numbers_to_str=True)]


class Suite(Strict):
    """One suite file, resolved. `optimizers` and `workloads` keep the file's order."""

    title: Text = ""
    """The question this suite answers; heads the report."""
    description: Text = ""
    """What a reader should know about it."""
    workloads: dict[Label, Workload] = Field(min_length=1)
    """What is trained, by name; each has its own block in every table."""
    optimizers: dict[Label, Optimizer] = Field(min_length=1)
    """What is compared, by label."""
    seeds: tuple[Annotated[Whole, Field(ge=0, lt=2**32)], ...] = Field(default=(0, 1, 2), min_length=1)
    """A number N means seeds 0 to N-1; a list is taken as it is."""
    precision: Precision = "auto"
    """auto: bf16, else fp16 with gradient scaling, on a GPU; fp32 on a CPU."""
    implementation: Implementation = "default"
    """Of the optimizers' steps: one of torch's, `compiled`, or `auto`: fused where torch has it, else compiled. A class that
    hasn't got the one asked for keeps its default, and the report says so."""
    cuda_graph: CudaGraph = "auto"
    """Of training steps on an NVIDIA GPU: launched as one captured graph instead of kernel by kernel. auto: where launching, not
    the GPU, sets the pace; on: wherever it can be done. What stays uncaptured, and why, is in the report."""
    schedule: Schedule = Schedule(name="constant")
    """Shared by all entries that have none of their own."""
    init: Component = Component(name="model")
    """Initial weights, shared by all workloads that have no rule of their own; `model` leaves the model's own."""
    clip: Clip | None = None
    """Gradient clipping, shared."""
    ema: Ema | None = None
    """Moving average of the weights, shared."""
    no_weight_decay: tuple[Exempt, ...] = ()
    """Parameters without weight decay, shared."""
    baseline: str | None = None
    """Label that the others are compared with; the first entry if not given."""
    margin: Number | None = Field(default=None, gt=0)
    """Smallest difference of the final metric that matters."""
    final: Literal["last", "best_validation"] = "last"
    """Which weights the final metric is of: the last, or those best on validation."""
    axes: dict[str, tuple[Any, ...]] = Field(default={})
    """Lists of values by path, as in workload.batch_size: every combination is a workload of its own."""
    horizons: tuple[Duration, ...] = ()
    """One full trial for each, with it as budget: which is the shortest whose final metric meets the target?"""
    sensitivity: dict[Label, Grid] = Field(default={})
    """Sweeps, by hyperparameter; several make a cross product. No part of the timed table."""
    engine: Literal["auto", "plain"] = "auto"
    """Of sweeps. auto: many trials of a small model as one program where that is faster; plain: each by itself."""
    published: tuple[Published, ...] = ()
    """Published rows, to be set beside what is measured, each with a verdict."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        raw = dict(raw)
        if "workload" in raw and "workloads" not in raw:
            raw["workloads"] = {one_workload_name(raw["workload"]): raw.pop("workload")}
        if isinstance(raw.get("optimizers"), dict):  # null in a mapping is an entry that forgot its use
            raw["optimizers"] = {k: {} if v is None else v for k, v in raw["optimizers"].items()}
        if "no_weight_decay" in raw:
            raw["no_weight_decay"] = as_list(raw["no_weight_decay"])
        return raw

    @field_validator("horizons")
    @classmethod
    def _several(cls, horizons: tuple[Duration, ...]) -> tuple[Duration, ...]:
        return _different(horizons)

    @field_validator("seeds", mode="before")
    @classmethod
    def _count(cls, seeds: Any) -> Any:
        if isinstance(seeds, int) and not isinstance(seeds, bool):
            if not 1 <= seeds <= MAX_SEEDS:
                raise ValueError(f"expected 1 to {MAX_SEEDS:,} seeds; found {seeds}")
            return tuple(range(seeds))
        if not isinstance(seeds, (list, tuple)):
            raise ValueError(f"expected a number of seeds, or a list of seeds; found {shown(seeds)}")
        return seeds

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        twice = (
            next((seed for seed in seeds if seeds.count(seed) > 1), None)
            if len(set(seeds)) < len(seeds)
            else None
        )
        if twice is not None:
            raise ValueError(f"expected every seed once; found {twice} twice")
        return seeds


def one_workload_name(workload: Any) -> str:
    """The name of the only workload is its data's."""
    data = workload.get("data") if isinstance(workload, dict) else None
    name = data.get("name") if isinstance(data, dict) else data
    return name if isinstance(name, str) and name else "workload"


def _digest(content: Any) -> str:
    return _hashed(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Trial(Strict):
    """The unit of work: one workload, one entry with the suite-wide settings merged into it, one seed."""

    suite: str
    workload_name: str
    workload: Workload
    label: str
    entry: Optimizer
    seed: int
    precision: Precision = "auto"
    implementation: Implementation = "default"
    cuda_graph: CudaGraph = "auto"
    point: dict[str, Any] = Field(default_factory=dict)
    """Hyperparameters that a sweep overrides, by argument name (`0.lr`, `1.lr` in an entry of several rules). A trial
    that has some feeds the sweep and is no part of the timed table."""
    axes: dict[str, Any] = Field(default_factory=dict)
    """What the suite's axes set for it, by path; part of the workload's name."""
    engine: Literal["plain", "stacked"] = "plain"
    """What trains it: `stacked` trials of a sweep are trained many at once, as one program."""
    sources: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every file that this trial names, by its path from the suite's folder."""
    folder: str = ""
    """Of the suite file: what relative paths start from; no part of the identity."""

    @cached_property
    def config_id(self) -> str:
        """Hash of all that determines the outcome but the seed: the trials of one table row share it.

        Targets are left out unless they change what is run: "reached" is derived afterwards, so a new target
        costs nothing.
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
            | ({"engine": self.engine} if self.engine != "plain" else {})
            | ({"cuda_graph": self.cuda_graph} if self.cuda_graph != "auto" else {})
        )

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits, equal for equal work on any machine."""
        return _hashed(f'{{"config":"{self.config_id}","seed":{self.seed}}}')  # a plan makes many: no encoder

    def with_seed(self, seed: int) -> Self:
        """A copy that keeps the row's `config_id`, of which the seed is no part. A tenth of the time of a validated copy."""
        made = object.__new__(type(self))
        values = {**self.__dict__, "seed": seed}
        values.pop("id", None)
        object.__setattr__(made, "__dict__", values)
        object.__setattr__(made, "__pydantic_fields_set__", self.__pydantic_fields_set__ | {"seed"})
        object.__setattr__(made, "__pydantic_extra__", None)
        object.__setattr__(made, "__pydantic_private__", None)
        return made

    @property
    def batch_size(self) -> int | Literal["full"]:
        """As written; `full` is the whole training split."""
        return self.entry.batch_size or self.workload.batch_size

    def samples_a_step(self, train: int) -> int:
        """The batch size in samples, given those of the training split."""
        return train if self.batch_size == "full" else self.batch_size

    def __copy__(self) -> Self:
        """A changed copy must not keep the hash of what it was copied from."""
        copied = super().__copy__()
        copied.__dict__.pop("config_id", None)
        copied.__dict__.pop("id", None)
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        copied = super().__deepcopy__(memo)
        copied.__dict__.pop("config_id", None)
        copied.__dict__.pop("id", None)
        return copied
