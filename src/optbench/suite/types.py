"""Typed, frozen form of a suite file. The fields define the file format; the JSON Schema is generated from them.

The validators accept short forms (`30 epochs`, `Adam: adam`, `workload:`), so the file as written and the resolved form
stored with the results are both valid input.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema, field_validator, model_validator

from optbench.suite import protocols
from optbench.suite.field_types import BatchSize, Duration, Flag, Number, Part, Strict, Text, Whole
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
    collect_arguments,
)
from optbench.suite.published import Published
from optbench.suite.resources import Resources
from optbench.suite.spaces import Point, has_space, point_at, spaces_of
from optbench.suite.tuning import Tuning
from optbench.suite.value_formatting import format_value

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


class Group(Strict):
    """A parameter group inside one optimizer, with its own values: `{parameters: matrices, use_muon: true}`."""

    parameters: str = Field(min_length=1)
    """Parameters of this group, in the words of a rule. Each parameter belongs to the first group that matches it."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Values of the group whose names collide with other keys of this mapping."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return collect_arguments(raw, cls.model_fields)


class Rule(Strict):
    """An optimizer for a group of parameters. Each parameter belongs to the first rule that matches it."""

    parameters: str = Field(default="all", min_length=1)
    """Parameters that this rule matches: all | rest | matrices (2-D, no embeddings) | embeddings | convolutions (3-D and
    up) | vectors (1-D and scalars) | a glob over parameter names (`head.*`)."""
    use: str = Field(min_length=1)
    """Optimizer class or factory function: catalog name, import path (`torch.optim.AdamW`) or file (`my_opt.py:MyOptimizer`)."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the optimizer whose names collide with settings of the entry."""
    groups: tuple[Group, ...] = ()
    """Parameter groups of one optimizer, with the values that it reads from each. In a sweep, a value that the optimizer also has as
    an argument keeps its ratio to that argument."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return collect_arguments(raw, cls.model_fields)


Exempt = Literal["norms", "biases", "embeddings"]


def _closure(value: Any) -> Any:
    if isinstance(value, bool) or value in ("gradients_first", "loss_only"):
        return value
    raise ValueError(f"expected true, false, gradients_first or loss_only; found {format_value(value)}")


Closure = Annotated[
    bool | Literal["gradients_first", "loss_only"],
    PlainValidator(_closure),
    WithJsonSchema({"enum": [True, False, "gradients_first", "loss_only"]}),
]


class Optimizer(Strict):
    """One entry: the settings that may differ between optimizers. All other keys are arguments of the optimizer.

    Settings given here override those of the suite; null switches a setting off.
    """

    rules: tuple[Rule, ...] = Field(min_length=1)
    family: Label | None = None
    """Name of one of the suite's `families`, whose settings this entry has where it sets none."""
    schedule: Schedule | None = None
    """Learning rate schedule of this entry; overrides the suite's. `constant` switches it off."""
    clip: Clip | None = None
    """Gradient clipping of this entry; overrides the suite's. null switches it off."""
    ema: Ema | None = None
    """Moving average of the weights of this entry; overrides the suite's. null switches it off."""
    no_weight_decay: tuple[Exempt, ...] | None = None
    """Parameters of this entry without weight decay; overrides the suite's. [] switches it off."""
    batch_size: BatchSize | None = None
    """Batch size of this entry; overrides the workload's and is marked in reports."""
    horizon: Duration | None = None
    """Length of the schedule in epochs or steps. Default: the budget."""
    horizons: tuple[Duration, ...] | None = None
    """Training lengths of this entry; overrides the suite's. [] switches them off."""
    closure: Closure | None = None
    """Whether `step` is called with a closure. Default: detected from the class. `gradients_first`: the gradients of the batch are
    also computed before `step(closure)`, as two-pass methods expect; `loss_only`: the closure returns the loss without calling
    `backward()`. With `true`, steps on a toy problem determine the kind of closure."""
    first_update_by: Duration | None = None
    """Step or epoch by which the optimizer must have changed a parameter, for optimizers that start late by design. Default: the
    first evaluation, but at least 20 steps."""
    create_graph: Flag | None = None
    """Whether gradients keep their graph (`backward(create_graph=True)`), for methods that differentiate them. Default: detected from the
    class (the attribute `is_second_order`, or its source and steps on a toy problem)."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        """Parse `{use: torch.optim.SGD, lr: 0.1, clip: {norm: 1}}` or just `sgd` into settings and rules."""
        if isinstance(raw, str):
            raw = {"use": raw}
        if not isinstance(raw, dict) or "rules" in raw:
            return raw
        settings = {key: value for key, value in raw.items() if key in cls.model_fields}
        rule = {key: value for key, value in raw.items() if key not in cls.model_fields}
        if "no_weight_decay" in settings:
            settings["no_weight_decay"] = as_list(settings["no_weight_decay"])
        if not isinstance(rule.get("use"), list):
            return {**settings, "rules": [rule]}
        arguments = [key for key in rule if key != "use"]
        if arguments:
            raise ValueError(f"'use' is a list of rules: move '{arguments[0]}' into one of them")
        return {**settings, "rules": rule["use"]}

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
            raise ValueError("expected either 'horizon' or 'horizons'; found both")
        if self.is_tuned:
            spaces_of([rule.arguments for rule in self.rules])
        return self

    @property
    def is_tuned(self) -> bool:
        """Whether some argument is a search space."""
        return any(has_space(value) for rule in self.rules for value in rule.arguments.values())

    def point(self, units: Sequence[float]) -> Point:
        """Return the values of the search spaces at a point of the unit cube."""
        return point_at([rule.arguments for rule in self.rules], lambda number, _: units[number])

    def without_spaces(self) -> Self:
        """Return the entry without the arguments that contain search spaces."""
        rules = tuple(
            rule.model_copy(
                update={"arguments": {k: v for k, v in rule.arguments.items() if not has_space(v)}}
            )
            for rule in self.rules
        )
        return self.model_copy(update={"rules": rules})

    def with_point(self, point: Point) -> Self:
        """Return the entry with these values in place of its search spaces."""
        rules = []
        for position, rule in enumerate(self.rules):
            prefix = "" if len(self.rules) == 1 else f"{position}."
            arguments = {name: point.get(f"{prefix}{name}", value) for name, value in rule.arguments.items()}
            rules.append(rule.model_copy(update={"arguments": arguments}))
        return self.model_copy(update={"rules": tuple(rules)})


def _different(horizons: tuple[Duration, ...]) -> tuple[Duration, ...]:
    """Return the horizons, shortest first.

    Raises `ValueError` for seconds, mixed units and duplicates.
    """
    units = {horizon.unit for horizon in horizons}
    if "seconds" in units or len(units) > 1:
        raise ValueError(
            f"expected horizons all in epochs or all in steps; found {' and '.join(sorted(units))}"
        )
    if len(set(horizons)) < len(horizons):
        raise ValueError("expected distinct horizons; found a duplicate")
    return tuple(sorted(horizons, key=lambda horizon: horizon.value))


Precision = Literal["auto", "fp32", "bf16", "fp16"]
Implementation = Literal["default", "forloop", "foreach", "fused", "compiled", "auto"]
CudaGraph = Literal["auto", "on", "off"]


class Suite(Strict):
    """The workloads, the optimizers to compare, and the settings they share, in the order of the file."""

    title: Text = ""
    """The question that this suite answers; the title of the report."""
    description: Text = ""
    """Background for readers of the report."""
    workloads: dict[Label, Workload] = Field(min_length=1)
    """Workloads by name. Each has a separate block in every table."""
    optimizers: dict[Label, Optimizer] = Field(min_length=1)
    """Optimizers to compare, by label. An entry without `use` whose label is an import path (`torch.optim.Adam`) is that class."""
    families: dict[Label, dict[str, Any]] = Field(default={})
    """Settings shared by the entries of a family, such as the search space of the learning rate, by the name that entries give as
    `family`."""
    seeds: tuple[Annotated[Whole, Field(ge=0, lt=2**32)], ...] = Field(default=(0, 1, 2), min_length=1)
    """Number of seeds N (seeds 0 to N-1), or a list of seeds."""
    precision: Precision = "auto"
    """Precision of training. auto: on a GPU bf16 if supported, else fp16 with gradient scaling; on a CPU fp32."""
    implementation: Implementation = "default"
    """Implementation of the optimizer step: one of torch's, `compiled`, or `auto` (fused if torch provides it, else compiled). A
    class without the requested implementation keeps its default, and the report states it."""
    cuda_graph: CudaGraph = "auto"
    """Whether a training step on an NVIDIA GPU is launched as one captured CUDA graph instead of kernel by kernel. auto: if kernel
    launches limit the speed; on: wherever capture is possible. The report lists what was not captured, and why."""
    schedule: Schedule = Schedule(name="constant")
    """Learning rate schedule of all entries that do not set one."""
    init: Component = Component(name="model")
    """Weight initialisation of all workloads that do not set one; `model` keeps the initialisation of the model."""
    clip: Clip | None = None
    """Gradient clipping of all entries that do not set it."""
    ema: Ema | None = None
    """Moving average of the weights, for all entries that do not set it."""
    no_weight_decay: tuple[Exempt, ...] = ()
    """Parameters without weight decay, for all entries that do not set it."""
    baseline: str | None = None
    """Label of the entry that the others are compared with. Default: the first entry."""
    margin: Number | None = Field(default=None, gt=0)
    """Minimum difference of the final metric that is of practical relevance."""
    final: Literal["last", "best_validation"] = "last"
    """Weights that the final metric is computed with: those of the last step, or those with the best validation metric."""
    axes: dict[str, tuple[Any, ...]] = Field(default={})
    """Lists of values by dotted path, such as workload.batch_size. Each combination is a separate workload."""
    horizons: tuple[Duration, ...] = ()
    """Training lengths to compare: one full trial per length, with that length as its budget. The report shows the shortest one
    whose final metric meets the target."""
    sensitivity: dict[Label, Grid] = Field(default={})
    """Sweeps, by hyperparameter; several form a Cartesian product. Swept trials are not part of the timed table."""
    tuning: Tuning | None = None
    """Tuning of the entries with search spaces, such as `lr: {log: [1e-4, 1e-1]}`. The best settings by validation are trained on the
    seeds of the suite, which tuning does not use."""
    timed: Flag = True
    """Whether seconds are measured, for which trials run one at a time. false: trials run at the same time as on a sweep, which takes
    less time on several cores or GPUs, and no table has seconds."""
    engine: Literal["auto", "plain"] = "auto"
    """How sweeps are trained. auto: many trials of a small model as one program where that is faster; plain: one by one."""
    resources: Resources = Resources()
    """What trials need of the machines that run them. Checked before anything runs."""
    published: tuple[Published, ...] = ()
    """Published rows to compare with the measurements; the report gives a verdict for each."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        raw = dict(raw)
        if "workload" in raw and "workloads" not in raw:
            raw["workloads"] = {one_workload_name(raw["workload"]): raw.pop("workload")}
        if isinstance(raw.get("optimizers"), dict):  # null: an entry without `use`
            families = raw.get("families")
            families = families if isinstance(families, dict) else {}
            raw["optimizers"] = {k: _completed(k, v, families) for k, v in raw["optimizers"].items()}
        if "no_weight_decay" in raw:
            raw["no_weight_decay"] = as_list(raw["no_weight_decay"])
        if "seeds" in raw and raw["seeds"] is None:  # the default
            del raw["seeds"]
        tuning = raw.get("tuning")
        name = tuning.get("protocol") if isinstance(tuning, dict) else None
        if name in protocols.names() and (count := protocols.protocol(name).seeds) is not None:
            raw.setdefault("seeds", count)
        return raw

    @field_validator("timed")
    @classmethod
    def _no_budget_in_seconds(cls, timed: bool, info: ValidationInfo) -> bool:
        by_seconds = [
            name for name, one in info.data.get("workloads", {}).items() if one.budget.unit == "seconds"
        ]
        if by_seconds and not timed:
            raise ValueError(
                f"expected true, since the budget of '{by_seconds[0]}' is in seconds; found false"
            )
        return timed

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
            raise ValueError(f"expected a number of seeds, or a list of seeds; found {format_value(seeds)}")
        return seeds

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            duplicate = next(seed for seed in seeds if seeds.count(seed) > 1)
            raise ValueError(f"expected distinct seeds; found {duplicate} twice")
        return seeds


def _completed(label: Any, entry: Any, families: Mapping[str, Any]) -> Any:
    """Return an entry as written with the settings of its family, and with its label as `use` if that is an import path."""
    entry = {} if entry is None else entry  # null: an entry without `use`
    if not isinstance(entry, dict) or "rules" in entry:
        return entry
    name = entry.get("family")
    shared = families.get(name) if isinstance(name, str) else None
    if isinstance(shared, dict):
        several = isinstance(entry.get("use"), list)  # arguments are those of its rules
        entry = {k: v for k, v in shared.items() if not several or k in Optimizer.model_fields} | entry
    is_path = isinstance(label, str) and "." in label and all(map(str.isidentifier, label.split(".")))
    return {"use": label, **entry} if is_path and "use" not in entry else entry


def one_workload_name(workload: Any) -> str:
    """Return the name of the workload under `workload:`: the name of its data set."""
    data = workload.get("data") if isinstance(workload, dict) else None
    name = data.get("name") if isinstance(data, dict) else data
    return name if isinstance(name, str) and name else "workload"


def _digest(content: Any) -> str:
    return _hashed(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Trial(Strict):
    """The unit of work: one workload, one entry merged with the settings of the suite, one seed."""

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
    """Hyperparameters overridden by a sweep, by argument name (`0.lr`, `1.lr` in an entry with several rules). A trial
    with overrides belongs to the sweep, not to the timed table."""
    axes: dict[str, Any] = Field(default_factory=dict)
    """Values set by the axes of the suite, by path; part of the workload's name."""
    study: int | None = None
    """Number of the tuning study that the trial belongs to; None outside of tuning."""
    repeat: int = 0
    """Number of earlier trials of the study at the same point: a point that is drawn again is trained again, with another seed."""
    rung: float | None = None
    """Part of the budget after which the trial is paused, to be compared for pruning; None for a whole trial. Not part of the id: a
    trial that is not pruned continues."""
    selected_by: int | None = None
    """Number of the tuning study that selected the settings; None without tuning. Not part of the trial's id."""
    timed: bool = True
    """Whether the trial runs alone, so that its seconds count. Not part of the trial's id."""
    engine: Literal["plain", "stacked"] = "plain"
    """Engine that trains the trial: `stacked` trials of a sweep are trained together, as one program."""
    sources: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every file that this trial uses, by path relative to the suite's folder."""
    folder: str = ""
    """Folder of the suite file; relative paths start here. Not part of the trial's id."""

    @cached_property
    def config_id(self) -> str:
        """Hash of everything except the seed that determines the outcome; equal for all trials of one table row.

        Targets are excluded unless they change the training: "reached" is computed from the records, so a new target
        needs no new trial.
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
                "entry": self.entry.model_dump(mode="json", exclude_defaults=True, exclude={"family"}),
                "point": self.point,
                "precision": self.precision,
                "implementation": self.implementation,
                "sources": self.sources,
            }
            | ({"engine": self.engine} if self.engine != "plain" else {})
            | ({"cuda_graph": self.cuda_graph} if self.cuda_graph != "auto" else {})
            | ({"study": self.study} if self.study is not None else {})
            | ({"repeat": self.repeat} if self.repeat else {})
        )

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits; equal for equal work on any machine."""
        # formatted without an encoder: a plan contains many trials
        return _hashed(f'{{"config":"{self.config_id}","seed":{self.seed}}}')

    def with_seed(self, seed: int) -> Self:
        """Return a copy with another seed and the same `config_id`, which is hashed once for all seeds.

        A plan may have 100,000 of them: a copy shares everything else, and takes half of the memory of `model_copy`.
        """
        values = self.__dict__ | {"seed": seed, "config_id": self.config_id}
        values.pop("id", None)
        copied = self.__class__.__new__(self.__class__)
        object.__setattr__(copied, "__dict__", dict(values.items()))  # without room for more keys
        for name in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
            object.__setattr__(copied, name, getattr(self, name))
        return copied

    @property
    def is_alone(self) -> bool:
        """Whether the trial runs exclusively on its device: it is timed, and not a point of a sweep or of tuning."""
        return self.timed and not self.point

    @property
    def batch_size(self) -> int | Literal["full"]:
        """Batch size as written; `full` is the whole training split."""
        return self.entry.batch_size or self.workload.batch_size

    def samples_per_step(self, train: int) -> int:
        """Return the batch size in samples; `train` is the number of samples of the training split."""
        return train if self.batch_size == "full" else self.batch_size

    def __copy__(self) -> Self:
        """Copy without the cached hashes: the copy may be changed."""
        return super().__copy__()._without_hashes()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return super().__deepcopy__(memo)._without_hashes()

    def _without_hashes(self) -> Self:
        self.__dict__.pop("config_id", None)
        self.__dict__.pop("id", None)
        return self
