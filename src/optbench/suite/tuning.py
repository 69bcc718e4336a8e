"""How the entries with search spaces are tuned (`tuning:`)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, field_validator, model_validator

from optbench.suite import protocols
from optbench.suite.field_types import Duration, Strict, Whole
from optbench.suite.spaces import FieldError
from optbench.suite.value_formatting import format_value

#: minimum of the seeds of tuning trials; the seeds of a suite with tuning are below it
TUNING_SEED = 2**31
TIME_TO_TARGET = "time_to_target"
MAX_STUDIES = 100

Sampler = Literal["quasi_random", "random", "grid", "tpe", "gp"]


def _share(value: Any) -> float:
    try:
        number = float(Fraction(value) if isinstance(value, str) else value)
    except (ValueError, TypeError, ZeroDivisionError):
        number = math.nan
    if isinstance(value, bool) or not 0 < number < 1:
        raise ValueError(f"expected a fraction between 0 and 1, as in 1/4; found {format_value(value)}")
    return number


#: a fraction between 0 and 1, such as 1/4 or 0.25
Share = Annotated[
    float,
    PlainValidator(_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                {"type": "string", "pattern": "^[0-9]+/[0-9]+$"},
            ]
        }
    ),
]


class Prune(Strict):
    """Successive halving: trials that are worse than others after a part of their budget are not continued."""

    rung: Share
    """Part of the budget after which trials are compared, at the first evaluation from there on."""
    keep: Share
    """Part of the trials of a study that train for the whole budget, rounded up."""

    def kept(self, trials: int) -> int:
        """Return the number of trials that train for the whole budget."""
        return math.ceil(self.keep * trials - 1e-9)


def pause_after(rung: float, budget: Duration, every: Duration) -> float:
    """Return the length, in the unit of `budget`, after which a trial is paused for pruning: the first evaluation from the rung on.

    It is the rung itself if evaluations are counted in another unit, since the number of steps per epoch is not known here.
    """
    if every.unit != budget.unit:
        return rung * budget.value
    return math.ceil(rung * budget.value / every.value - 1e-9) * every.value


class Select(Strict):
    """How the best trial of a study is selected."""

    metric: str | None = Field(default=None, min_length=1)
    """Metric at the end of training, or `time_to_target`: the number of steps to the first target of the workload; trials that do not reach
    it are compared by the metric of the target. Default: the first metric of the workload."""
    on: Literal["validation"] = "validation"
    """Split of the metric. The test split is never used for selection."""

    @field_validator("on", mode="before")
    @classmethod
    def _never_test(cls, split: Any) -> Any:
        if split == "test":
            raise ValueError(
                "expected validation: a selection on the test split would make its results optimistic"
            )
        return split


def _protocol_name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected one of {', '.join(protocols.names())}; found {format_value(value)}")
    protocols.protocol(value)
    return value


ProtocolName = Annotated[
    str, PlainValidator(_protocol_name), WithJsonSchema({"enum": list(protocols.names())})
]


class Tuning(Strict):
    """How the entries that have search spaces are tuned: the same number of trials and the same budget for each."""

    protocol: ProtocolName | None = None
    """Published protocol that sets the other keys and the number of seeds of the suite: `algoperf-external`, `algoperf-self-tuning`,
    `deepobs` or `choi-2019`. Keys that are written override it, and the report states them."""
    trials: Whole | None = Field(default=None, ge=1, le=10_000)
    """Number of tuning trials per optimizer, workload and study. More trials continue a study: the first ones are the same. With
    `grid`, the default is the whole grid; a smaller number is a random part of it."""
    studies: Whole = Field(default=1, ge=1, le=MAX_STUDIES)
    """Number of repeated studies, each with its own points and its own selected settings. The seeds of the suite are distributed over
    the studies in turn, so that intervals include the variation of tuning."""
    sampler: Sampler = "quasi_random"
    """How points are chosen: `quasi_random` (scrambled Halton sequence), `random`, or `grid` (all combinations of discrete spaces),
    which ignore results; `tpe` or `gp` (Optuna's tree-structured Parzen estimator or Gaussian process), which use the results of earlier
    trials. Entries with equal spaces have the same points, with `tpe` and `gp` as long as their results are equal."""
    budget: Duration | None = None
    """Training length of a tuning trial. Default: the budget of the workload."""
    select: Select = Select()
    """How the best trial is selected. Default: by the first metric of the workload."""
    prune: Prune | None = None
    """Successive halving: all trials train for a part of the budget, and only the best of them for the whole budget."""
    seed: Whole = Field(default=0, ge=0, lt=2**32)
    """Seed of the points."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        """Add the keys of the protocol, and read the former key `metric`."""
        if not isinstance(raw, dict):
            return raw
        raw = dict(raw)
        if "metric" in raw:
            metric = raw.pop("metric")
            raw.setdefault("select", {"metric": metric})
        name = raw.get("protocol")
        return {**protocols.protocol(name).tuning, **raw} if name in protocols.names() else raw

    @model_validator(mode="after")
    def _fixed_length(self) -> Tuning:
        if self.budget is not None and self.budget.unit == "seconds":
            raise FieldError(
                "expected epochs or steps; found seconds: a busy machine would change the selection", "budget"
            )
        if self.trials is None and self.sampler != "grid":
            raise ValueError(
                f"expected the number of 'trials', as in {{trials: 20, sampler: {self.sampler}}}"
            )
        if self.prune is not None and self.is_adaptive:
            message = f"expected 'prune' with a sampler that ignores results; found {self.sampler}"
            raise FieldError(message, "sampler")
        return self

    @property
    def metric(self) -> str | None:
        """Metric of selection; None for the first metric of the workload."""
        return self.select.metric

    @property
    def overrides(self) -> dict[str, tuple[Any, Any]]:
        """Keys whose value is not that of the protocol: the value of the protocol, and the own one. Empty without a protocol."""
        if self.protocol is None:
            return {}
        written = protocols.protocol(self.protocol).tuning
        published = type(self).model_validate({"trials": self.trials, **written})
        keys = ("trials", "studies", "sampler", "select", "prune")
        pairs = {key: (getattr(published, key), getattr(self, key)) for key in keys}
        return {key: (theirs, own) for key, (theirs, own) in pairs.items() if theirs != own}

    @property
    def is_adaptive(self) -> bool:
        """Whether points depend on the results of earlier trials."""
        return self.sampler in ("tpe", "gp")


def is_past_rung(step: int, rung: float, steps: float) -> bool:
    """Return whether a step is at or past a rung of a budget of `steps`. The tolerance is that of rounded products, as 0.1 x 30."""
    return step >= rung * steps * (1 - 1e-9)


def trial_seed(study: int, repeat: int) -> int:
    """Return the training seed of a tuning trial, from `TUNING_SEED` on. `repeat`: how often its study had this point before."""
    return TUNING_SEED + repeat * MAX_STUDIES + study
