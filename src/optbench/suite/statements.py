"""Statements of a source that are no cell of a table: which quantity, measured where, is compared with what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from optbench.errors import nearest
from optbench.suite.amounts import Number, Strict
from optbench.suite.quoting import as_text, shown

Text = Annotated[str, Field(coerce_numbers_to_str=True)]

Comparison = Literal["equals", "at_least", "at_most", "above", "below", "same_as"]
_COMPARISONS: tuple[Comparison, ...] = ("equals", "at_least", "at_most", "above", "below", "same_as")
#: comparisons with a number, and with other measurements
BOUNDS, ORDERS = _COMPARISONS[:3], _COMPARISONS[3:]

#: keys of a selection besides the paths of axes and the hyperparameters of a sweep
PLACES = ("optimizer", "workload", "horizon")

#: values by name: of the optimizer, workload or horizon, an axis, or a swept hyperparameter
Selection = Annotated[dict[str, Any], WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})]


class ClaimTest(Strict):
    """One test of a statement. The margin is written before anything runs; one rule gives the verdict (decision 8)."""

    quantity: str = Field(min_length=1)
    """Measured quantity: `final_metric`, `diverged`, `state_multiple`, `seconds_per_update`, ... (all: end of the suite reference), or a
    metric as `validation.NAME` or `test.NAME`."""
    of: Selection = Field(default={})
    """Trials that are measured: {optimizer: LABEL, workload: NAME, PATH: VALUE}. PATH is the path of an axis, or a swept
    hyperparameter. A text is the label of an optimizer. Keys that are the same for all trials can be omitted."""
    divided_by: Selection | None = None
    """Trials whose value, of the same seed, the measured value is divided by."""
    slope_over: str | None = Field(default=None, min_length=1)
    """Path of an axis: the measured value is the slope of log(quantity) over log(value of the axis)."""
    equals: Number | None = None
    """Claimed value; requires `margin`."""
    at_least: Number | None = None
    """Claimed minimum."""
    at_most: Number | None = None
    """Claimed maximum."""
    above: Selection | None = None
    """Trials whose value is claimed to be smaller."""
    below: Selection | None = None
    """Trials whose value is claimed to be greater."""
    same_as: Selection | None = None
    """Trials whose value is claimed to be equal within `margin`."""
    margin: Number | None = Field(default=None, ge=0)
    """Maximum difference that counts as equal, in the unit of the quantity."""
    when: Text = ""
    """Condition of this test, in words: it is part of the verdict."""

    @field_validator("of", "divided_by", "above", "below", "same_as", mode="before")
    @classmethod
    def _label(cls, raw: Any) -> Any:
        return {"optimizer": raw} if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _one_comparison(self) -> ClaimTest:
        given = [name for name in _COMPARISONS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"expected exactly one of {', '.join(_COMPARISONS)}; found {found}")
        if given[0] in ("equals", "same_as") and not self.margin:
            raise ValueError(f"'{given[0]}' requires a 'margin' above 0, stated before anything runs")
        if given[0] in ("at_least", "at_most") and self.margin is not None:
            raise ValueError(f"'{given[0]}' is a bound without a margin: remove 'margin'")
        if given[0] in ORDERS and self.divided_by is not None:
            raise ValueError(f"'divided_by' is compared with a number: expected one of {', '.join(BOUNDS)}")
        if self.slope_over is not None and (given[0] in ORDERS or self.divided_by is not None):
            raise ValueError(f"'slope_over' is compared with a number: expected one of {', '.join(BOUNDS)}")
        return self

    @property
    def comparison(self) -> Comparison:
        return next(name for name in _COMPARISONS if getattr(self, name) is not None)

    @property
    def other(self) -> Selection | None:
        """The selection that the measured trials are compared with."""
        return getattr(self, self.comparison) if self.comparison in ORDERS else self.divided_by

    @property
    def selections(self) -> dict[str, Selection]:
        """All selections, by key."""
        names = ("of", "divided_by", *ORDERS)
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def expected(self) -> str:
        """What is claimed, as text: `at least 0.1`, `above clip=norm 1`."""
        value = getattr(self, self.comparison)
        words = {"equals": "", "same_as": "same as "}.get(
            self.comparison, f"{self.comparison.replace('_', ' ')} "
        )
        text = selection_text(value) if isinstance(value, dict) else f"{value:g}"
        return f"{words}{text}" + (f" ± {self.margin:g}" if self.margin else "")


def selection_text(selection: Selection) -> str:
    """Return a selection as text: `Adam, batch_size=32`."""
    parts = [str(selection[name]) for name in PLACES if name in selection]
    parts += [
        f"{path.rpartition('.')[2]}={as_text(value)}"
        for path, value in selection.items()
        if path not in PLACES
    ]
    return ", ".join(parts) or "all"


@dataclass(frozen=True)
class Candidate:
    """A row of trials that a selection can match: all values that identify it by name, and its point of a sweep."""

    names: Selection
    point: Selection

    @classmethod
    def of(
        cls,
        optimizer: str,
        workload: str,
        horizon: str,
        axes: Mapping[str, Any],
        point: Mapping[str, Any],
        arguments: Mapping[str, Any],
    ) -> Candidate:
        """`arguments` are those of the entry that a sweep varies: they identify the entry itself too."""
        lasts = Counter(path.rpartition(".")[2] for path in axes)
        short = {
            path.rpartition(".")[2]: value
            for path, value in axes.items()
            if lasts[path.rpartition(".")[2]] == 1
        }
        places = {"optimizer": optimizer, "workload": workload, "horizon": horizon}
        return cls({**arguments, **point, **short, **axes, **places}, dict(point))


def matching(selection: Selection, candidates: Sequence[Candidate]) -> list[int]:
    """Return the positions of the candidates with every value of the selection.

    Trials of a sweep match only selections that name a swept hyperparameter, and then take precedence over the entry itself.
    """
    found = [
        position
        for position, each in enumerate(candidates)
        if all(key in each.names and each.names[key] == value for key, value in selection.items())
    ]
    swept = [position for position in found if set(candidates[position].point) & set(selection)]
    return swept or [position for position in found if not candidates[position].point]


def problem_of(selection: Selection, candidates: Sequence[Candidate]) -> str:
    """Return why a selection does not match exactly one row of trials; "" if it does."""
    found = [candidates[position].names for position in matching(selection, candidates)]
    if len(found) == 1:
        return ""
    if found:
        missing = [
            key
            for key in found[0]
            if key not in selection and len({repr(each.get(key)) for each in found}) > 1
        ]
        return f"matches {len(found)} rows of trials; expected one: add {' or '.join(missing[:3])}"
    for key, value in selection.items():
        known = list(
            {repr(each.names[key]): each.names[key] for each in candidates if key in each.names}.values()
        )
        if not known:
            names = list(dict.fromkeys(name for each in candidates for name in each.names))
            return f"no axis or swept hyperparameter '{key}'; {nearest(key, names)}"
        if value not in known:
            return (
                f"no trials with {key} = {shown(value)}; expected one of {', '.join(map(shown, known[:12]))}"
            )
    return "no trials with this combination of values"
