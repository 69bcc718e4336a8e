"""Published rows in a suite: what others claim, cell by cell, with the margins by which it will be judged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from optbench.suite.amounts import Duration, Number, Strict, Whole

Text = Annotated[str, Field(coerce_numbers_to_str=True)]

Kind = Literal["numeric", "ordering", "ladder", "deterministic", "words"]
Level = Literal["low", "medium", "high"]
Unit = Literal["epochs", "steps", "samples", "seconds", "fraction", "nats", "x"]

#: what a column's values may be in; a metric's own unit is not known here
UNITS: dict[str, tuple[str, ...]] = {
    "epochs_to_target": ("epochs",),
    "steps_to_target": ("steps",),
    "samples_to_target": ("samples",),
    "seconds_to_target": ("seconds",),
    "final_metric": ("fraction", "nats"),
    "memory_overhead": ("x",),
    "sensitivity": (),
    "training_bytes": (),
    "seconds_per_update": (),
    "loss_rises": (),
    "convergence": (),
    "best_use": (),
}
#: columns of which nothing is measured that a claim could be held to
SAYINGS = ("convergence", "best_use")
#: columns of which sources give words, not numbers
WORDS = tuple(column for column, units in UNITS.items() if not units)
#: of a deterministic claim without a margin of its own (decision 8)
DETERMINISTIC_MARGIN = 0.05


class Means(Strict):
    """How a claim without a unit is read, so that it can be tested at all: a bound on the measured value."""

    at_least: Number | None = None
    """The claim is read as: at least this."""
    at_most: Number | None = None
    """The claim is read as: at most this."""
    because: Text = ""
    """Why it is read so."""

    @model_validator(mode="after")
    def _one(self) -> Means:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("expected exactly one of 'at_least' and 'at_most'")
        return self

    def holds(self, value: float) -> bool:
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)

    def __str__(self) -> str:
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"


class Claim(Strict):
    """One published cell. The margin is stated here, before anything runs."""

    kind: Kind
    """numeric (value within a margin), ordering (better than another entry), ladder (low, medium, high), or
    deterministic (measured without noise, as bytes are), or words (no quantity that could be wrong)."""
    value: Number | None = None
    """The published number; fractions, not percent."""
    unit: Unit | None = None
    """Of the value: epochs, steps, samples, seconds, fraction, nats, or x (multiples of the parameters' bytes)."""
    level: Level | None = None
    """The rung of a ladder."""
    over: str | None = None
    """Of an ordering: the label of the entry that this one is claimed to be better than."""
    margin: Number | None = Field(default=None, ge=0)
    """What still counts as equal, in the value's unit."""
    means: Means | None = None
    """How a word without a unit is read."""
    words: Text = ""
    """As the source puts it, where that says more than the number."""

    @model_validator(mode="after")
    def _whole(self) -> Claim:
        wanted = {"ordering": "over", "ladder": "level", "words": "words"}.get(self.kind, "value")
        if self.kind == "words" and not self.words:
            raise ValueError("a claim of kind 'words' needs 'words'; found nothing")
        for name in ("value", "level", "over"):
            if (getattr(self, name) is not None) != (name == wanted):
                found = "nothing" if name == wanted else f"also '{name}'"
                raise ValueError(f"a claim of kind '{self.kind}' needs '{wanted}'; found {found}")
        if self.value is not None and self.unit is None:
            raise ValueError("expected a 'unit' with the value")
        if self.kind == "numeric" and not self.margin:
            raise ValueError("a numeric claim needs a 'margin' above 0, stated before anything runs")
        return self

    def __str__(self) -> str:
        if self.words:
            return self.words
        if self.over is not None:
            return f"better than {self.over}"
        if self.level is not None:
            return self.level.capitalize()
        return f"{self.value:g}{'' if self.unit == 'x' else ' '}{self.unit}"


class Claims(Strict):
    """The published cells of one row, by column."""

    epochs_to_target: Claim | None = None
    """Epochs to the first target."""
    steps_to_target: Claim | None = None
    """Optimizer steps to the first target."""
    samples_to_target: Claim | None = None
    """Training samples to the first target."""
    seconds_to_target: Claim | None = None
    """Training seconds to the first target."""
    final_metric: Claim | None = None
    """The final metric."""
    memory_overhead: Claim | None = None
    """Bytes of optimizer state over bytes of the parameters."""
    sensitivity: Claim | None = None
    """How much the outcome depends on the hyperparameters: low, medium or high."""

    training_bytes: Claim | None = None
    """Bytes of parameters, gradients, optimizer state and activations of a batch: needs `study: costs`."""
    seconds_per_update: Claim | None = None
    """Training seconds of an update."""
    loss_rises: Claim | None = None
    """Share of updates whose loss is above the one before: low is smooth, high is noisy."""
    convergence: Claim | None = None
    """What the source says of convergence, where that names no quantity."""
    best_use: Claim | None = None
    """What the source recommends it for; the report sets the use derived from the measurements beside it."""

    @field_validator("*")
    @classmethod
    def _unit(cls, claim: Claim | None, info: ValidationInfo) -> Claim | None:
        column = info.field_name or ""
        if claim is None:
            return claim
        if claim.unit is not None and claim.unit not in UNITS[column]:
            known = " or ".join(UNITS[column]) or "none"
            raise ValueError(f"expected the unit of '{column}': {known}; found {claim.unit}")
        if (column in SAYINGS) is not (claim.kind == "words"):
            expected = "'words'" if column in SAYINGS else "one that names a quantity"
            raise ValueError(f"expected for '{column}' kind {expected}; found '{claim.kind}'")
        if column in WORDS and claim.kind not in ("ladder", "ordering", "words"):
            raise ValueError(f"expected kind 'ladder' or 'ordering' for '{column}'; found '{claim.kind}'")
        if claim.kind == "deterministic" and column != "memory_overhead":
            raise ValueError(
                f"'{column}' varies from seed to seed: expected kind 'numeric'; found 'deterministic'"
            )
        return claim

    @property
    def given(self) -> dict[str, Claim]:
        """Those that there are, by column."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: claim for name, claim in found.items() if claim is not None}


class Scope(Strict):
    """What the source measured on. A workload that differs is a proxy, and never speaks for its numbers.

    A number that is the same whatever the data, as bytes of optimizer state are, needs only the model.
    """

    model: Text | None = None
    """As a suite names it, as in torchvision.models.resnet50."""
    data: Text | None = None
    """As a suite names it, as in imagenet."""
    batch_size: Whole | None = Field(default=None, ge=1)
    """Samples a step."""
    budget: Duration | None = None
    """How long it trained."""
    hardware: Text | None = None
    """What seconds were measured on."""


class Source(Strict):
    """Who says so."""

    text: Text
    """Author, title, year."""
    url: Text = ""
    """Where to read it."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return {"text": raw} if isinstance(raw, str) else raw


class Published(Strict):
    """A published row: what a source says of one optimizer."""

    source: Source
    """Who says so: text, or {text, url}."""
    optimizer: str | None = None
    """Label of the entry that it speaks of."""
    label: Text = ""
    """The source's own name of the optimizer; the entry's label if not given."""
    scope: Scope = Scope()
    """What the source measured on; this suite's workloads if not given."""
    protocol: Text = ""
    """How the source measured, where it says so."""
    values: Claims
    """The published cells, by column."""

    @model_validator(mode="after")
    def _named(self) -> Published:
        if self.optimizer is None and not self.label:
            raise ValueError("expected 'optimizer' (an entry's label) or 'label' (the source's own name)")
        return self

    @property
    def name(self) -> str:
        return self.label or self.optimizer or ""
