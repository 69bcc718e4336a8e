"""Published rows in a suite: the claims of a source, per column, with the margins used for their verdicts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from optbench.suite.field_types import Duration, Number, Strict, Text, Whole, expect_one_of
from optbench.suite.statements import ClaimTest

Kind = Literal["numeric", "ordering", "ladder", "deterministic", "words"]
Level = Literal["low", "medium", "high"]
Unit = Literal["epochs", "steps", "samples", "seconds", "fraction", "nats", "x"]

#: allowed units by column; the unit of the metric is not known here
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
#: what a claim about sensitivity is measured by (`analysis/sensitivity.py`)
Measure = Literal["basin_width", "rate_sensitivity"]
#: columns without a measured quantity that a claim could be compared with
SAYINGS = ("convergence", "best_use")
#: columns for which sources give words, not numbers
WORDS = tuple(column for column, units in UNITS.items() if not units)
#: margin of a deterministic claim that states none (decision 8)
DETERMINISTIC_MARGIN = 0.05


class Means(Strict):
    """Interpretation of a claim without a unit, so that it can be tested: a bound on the measured value."""

    at_least: Number | None = None
    """Minimum of the measured value."""
    at_most: Number | None = None
    """Maximum of the measured value."""
    because: Text = ""
    """Reason for this interpretation."""

    @model_validator(mode="after")
    def _one(self) -> Means:
        expect_one_of(self, "at_least", "at_most")
        return self

    def holds(self, value: float) -> bool:
        """Return whether a measured value meets the bound."""
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)

    def __str__(self) -> str:
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"


class Claim(Strict):
    """One published cell. The margin is stated in the suite, before anything runs."""

    kind: Kind
    """Kind of claim: numeric (value within a margin), ordering (better than another entry), ladder (low, medium, high),
    deterministic (measured without noise, such as bytes), or words (no quantity that can be tested)."""
    value: Number | None = None
    """The published number; fractions, not percent."""
    unit: Unit | None = None
    """Unit of the value: epochs, steps, samples, seconds, fraction, nats, or x (multiples of the parameters' bytes)."""
    level: Level | None = None
    """Level of a ladder."""
    over: str | None = None
    """Ordering: label of the entry that this one is claimed to be better than."""
    measure: Measure | None = None
    """Measure of a claim about sensitivity: `basin_width` (default; the range of learning rates within 1 point of the best score, in
    decades: the narrower, the more sensitive) or `rate_sensitivity` (mean loss of score over three decades around the best rate)."""
    margin: Number | None = Field(default=None, ge=0)
    """Maximum difference that counts as equal, in the unit of the value."""
    means: Means | None = None
    """Interpretation of a claim without a unit."""
    words: Text = ""
    """Wording of the source, if it contains more than the number."""

    @model_validator(mode="after")
    def _whole(self) -> Claim:
        required = {"ordering": "over", "ladder": "level", "words": "words"}.get(self.kind, "value")
        if self.kind == "words" and not self.words:
            raise ValueError("a claim of kind 'words' requires 'words'; found nothing")
        for name in ("value", "level", "over"):
            if (getattr(self, name) is not None) != (name == required):
                if name == required:
                    raise ValueError(f"a claim of kind '{self.kind}' requires '{required}'; found nothing")
                raise ValueError(f"a claim of kind '{self.kind}' does not allow '{name}': remove it")
        if self.value is not None and self.unit is None:
            raise ValueError("expected a 'unit' with 'value'; found nothing")
        if self.kind == "numeric" and not self.margin:
            raise ValueError("a numeric claim requires a 'margin' above 0, stated before anything runs")
        return self

    @property
    def sensitivity_measure(self) -> Measure:
        """Measure of a claim about sensitivity, with the default."""
        return self.measure or "basin_width"

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
    """Number of epochs to the first target."""
    steps_to_target: Claim | None = None
    """Number of optimizer steps to the first target."""
    samples_to_target: Claim | None = None
    """Number of training samples to the first target."""
    seconds_to_target: Claim | None = None
    """Training time to the first target, in seconds."""
    final_metric: Claim | None = None
    """The final metric."""
    memory_overhead: Claim | None = None
    """Size of the optimizer state divided by the size of the parameters."""
    sensitivity: Claim | None = None
    """Sensitivity of the result to the hyperparameters: low, medium or high."""

    training_bytes: Claim | None = None
    """Bytes of parameters, gradients, optimizer state and activations of one batch; requires `study: costs`."""
    seconds_per_update: Claim | None = None
    """Training time per update, in seconds."""
    loss_rises: Claim | None = None
    """Share of updates whose loss is higher than that of the previous update: low is smooth, high is noisy."""
    convergence: Claim | None = None
    """What the source states about convergence, if it names no quantity."""
    best_use: Claim | None = None
    """What the source recommends the optimizer for; the report shows it next to the use derived from the measurements."""

    @field_validator("*")
    @classmethod
    def _unit(cls, claim: Claim | None, info: ValidationInfo) -> Claim | None:
        column = info.field_name or ""
        if claim is None:
            return claim
        if claim.unit is not None and claim.unit not in UNITS[column]:
            known = " or ".join(UNITS[column]) or "none"
            raise ValueError(f"expected unit {known} for '{column}'; found {claim.unit}")
        if (column in SAYINGS) is not (claim.kind == "words"):
            expected = "kind 'words'" if column in SAYINGS else "a kind that names a quantity"
            raise ValueError(f"expected {expected} for '{column}'; found '{claim.kind}'")
        if claim.measure is not None and column != "sensitivity":
            raise ValueError(f"'measure' is for claims about sensitivity only; found it for '{column}'")
        if column in WORDS and claim.kind not in ("ladder", "ordering", "words"):
            raise ValueError(f"expected kind 'ladder' or 'ordering' for '{column}'; found '{claim.kind}'")
        if claim.kind == "deterministic" and column != "memory_overhead":
            raise ValueError(
                f"expected kind 'numeric' for '{column}', which varies between seeds; found 'deterministic'"
            )
        return claim

    @property
    def given(self) -> dict[str, Claim]:
        """Claims that are not None, by column."""
        claims = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: claim for name, claim in claims.items() if claim is not None}


class Scope(Strict):
    """Workload of the source. A different workload is a proxy: its results neither confirm nor refute the published numbers.

    For a number that does not depend on the data, such as bytes of optimizer state, only the model must agree.
    """

    model: Text | None = None
    """Name of the model as in a suite, such as torchvision.models.resnet50."""
    data: Text | None = None
    """Name of the data set as in a suite, such as imagenet."""
    batch_size: Whole | None = Field(default=None, ge=1)
    """Number of samples per step."""
    budget: Duration | None = None
    """Training length."""
    hardware: Text | None = None
    """Hardware that times were measured on."""


class Source(Strict):
    """Reference to a publication."""

    text: Text
    """Author, title, year."""
    url: Text = ""
    """URL of the publication."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return {"text": raw} if isinstance(raw, str) else raw


class Published(Strict):
    """A published row: the claims of a source about one optimizer, or a statement with the tests that decide it."""

    source: Source
    """Reference to the publication: text, or {text, url}."""
    optimizer: str | None = None
    """Label of the entry that the claims are about."""
    label: Text = ""
    """Name of the optimizer in the source. Default: the label of the entry."""
    scope: Scope = Scope()
    """Workload of the source. Default: the workloads of this suite."""
    protocol: Text = ""
    """How the source measured, if it states that."""
    values: Claims = Claims()
    """Published cells, by column."""
    id: Text = ""
    """Short name of a statement, for references to it."""
    says: Text = ""
    """Statement of the source that is no cell of a table, in its words; requires `tests`."""
    tests: tuple[ClaimTest, ...] = ()
    """Tests that decide the statement, one verdict each."""

    @model_validator(mode="after")
    def _statement(self) -> Published:
        if bool(self.says) is not bool(self.tests):
            missing, given = ("tests", "says") if self.says else ("says", "tests")
            raise ValueError(f"'{given}' requires '{missing}'")
        if self.values.given and self.tests:
            raise ValueError("expected either 'values' (cells of a table) or 'says' with 'tests'; found both")
        if not self.values.given and not self.tests:
            raise ValueError("expected 'values' (cells of a table), or 'says' with 'tests'; found neither")
        return self

    @model_validator(mode="after")
    def _named(self) -> Published:
        if self.tests:
            return self
        if self.optimizer is None and not self.label:
            raise ValueError(
                "expected 'optimizer' (label of an entry) or 'label' (name in the source); found neither"
            )
        return self

    @property
    def name(self) -> str:
        """Name of the row: that of the source, or the label of the entry."""
        return self.label or self.optimizer or ""
