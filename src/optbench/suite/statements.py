"""Statements of a source that are no cell of a table: which quantity, measured where, is compared with what."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from optbench.errors import nearest
from optbench.suite.field_types import Flag, Number, Strict, Text, expect_one_of
from optbench.suite.value_formatting import as_text, format_value

Comparison = Literal["equals", "at_least", "at_most", "above", "below", "same_as"]
_COMPARISONS: tuple[Comparison, ...] = ("equals", "at_least", "at_most", "above", "below", "same_as")
#: comparisons with a number, and with other measurements
BOUNDS, ORDERS = _COMPARISONS[:3], _COMPARISONS[3:]

#: quantities that a trial has or has not
SHARES = ("reached", "completed")

#: keys of a selection besides the paths of axes and the hyperparameters of a sweep
PLACES = ("optimizer", "workload", "horizon")

#: key of a value that stands for the best of several: {best: all} or {best: [0.01, 0.1]}
BEST = "best"

#: values by name: of the optimizer, workload or horizon, an axis, or a swept hyperparameter
Selection = Annotated[dict[str, Any], WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})]


class ClaimTest(Strict):
    """One test of a statement. The margin is written before anything runs; one rule gives the verdict (decision 8)."""

    quantity: str = Field(min_length=1)
    """Measured quantity: `final_metric`, `diverged`, `state_multiple`, `seconds_per_update`, ... (all: end of the suite reference), or a
    metric as `validation.NAME` or `test.NAME`."""
    of: Selection = Field(default={})
    """Trials that are measured: {optimizer: LABEL, workload: NAME, PATH: VALUE}. PATH is the path of an axis, or a swept
    hyperparameter. A text is the label of an optimizer. Keys that are the same for all trials can be omitted. VALUE may be
    {best: all} or {best: [VALUE, ...]}: the value with the best last validation metric, as mean over seeds."""
    divided_by: Selection | None = None
    """Trials whose value, of the same seed, the measured value is divided by."""
    slope_over: str | None = Field(default=None, min_length=1)
    """Path of an axis: the measured value is the slope of log(quantity) over log(value of the axis)."""
    range_over: str | None = Field(default=None, min_length=1)
    """`optimizer`, or path of an axis: the measured value is the largest difference between two of its values, with simultaneous intervals
    of all pairs."""
    largest_over: str | None = Field(default=None, min_length=1)
    """Path of an axis, or a swept hyperparameter: the measured value is its largest value at which a trial has the quantity (`reached`,
    `completed`), one value per seed."""
    across: Literal["workloads"] | None = None
    """`workloads`: one verdict over all workloads, whose interval is that of the mean over workloads instead of seeds."""
    predicts: Literal["diverged", "failed_to_train", "reached", "not_reached"] | None = None
    """Outcome: the measured value is the probability that a trial with this outcome has a larger quantity than a trial without it (AUROC),
    over all selected trials."""
    threshold: Number | None = None
    """With `predicts`: the measured value is the share of trials with the outcome among those whose quantity is above this number."""
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
    per_seed: Flag = False
    """With `same_as`: the largest absolute difference of any seed must be within `margin`, instead of the mean difference. For claims of
    identity, whose differences could cancel in a mean."""
    when: Text = ""
    """Condition of this test, in words: it is part of the verdict."""

    @field_validator("of", "divided_by", "above", "below", "same_as", mode="before")
    @classmethod
    def _label(cls, raw: Any) -> Any:
        return {"optimizer": raw} if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _one_comparison(self) -> ClaimTest:
        comparison = expect_one_of(self, *_COMPARISONS)
        if comparison in ("equals", "same_as") and not self.margin:
            raise ValueError(f"'{comparison}' requires a 'margin' above 0, stated before anything runs")
        if comparison in ("at_least", "at_most") and self.margin is not None:
            raise ValueError(f"'{comparison}' is a bound without a margin: remove 'margin'")
        self._check_summaries(comparison)
        return self

    def _check_summaries(self, comparison: str) -> None:
        """Raise `ValueError` for keys that cannot be combined."""
        bounds = ", ".join(BOUNDS)
        summaries = [name for name in ("slope_over", "range_over", "predicts") if getattr(self, name)]
        for name in [*(["divided_by"] if self.divided_by is not None else []), *summaries]:
            if comparison in ORDERS:
                raise ValueError(f"'{name}' is compared with a number: expected one of {bounds}")
        if len(summaries) > 1 or (summaries and (self.divided_by is not None or self.across is not None)):
            others = [name for name in ("divided_by", "across") if getattr(self, name) is not None]
            raise ValueError(f"expected only one of {' and '.join([*summaries, *others])}")
        if self.largest_over is not None and (summaries or self.across is not None):
            raise ValueError(f"'largest_over' cannot be combined with '{(*summaries, 'across')[0]}'")
        if self.largest_over is not None and self.quantity not in SHARES:
            raise ValueError(f"'largest_over' requires a quantity of {', '.join(SHARES)}")
        if self.per_seed and (
            comparison != "same_as"
            or self.largest_over
            or self.across
            or self.quantity.endswith("_to_target")
        ):
            raise ValueError(
                "'per_seed' requires 'same_as', without 'largest_over', 'across' and times to target"
            )
        if self.threshold is not None and self.predicts is None:
            raise ValueError("'threshold' requires 'predicts'")

    @property
    def comparison(self) -> Comparison:
        """Key of the comparison: `equals`, `at_least`, ..."""
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
    def over(self) -> str | None:
        """Path whose values the test compares: the selections do not contain it."""
        return self.slope_over or self.range_over or self.largest_over

    @property
    def region(self) -> tuple[float, float]:
        """Minimum and maximum of the measured values for which the claim holds; infinite without a limit."""
        margin = self.margin or 0.0
        match self.comparison:
            case "equals":
                return (self.equals or 0.0) - margin, (self.equals or 0.0) + margin
            case "same_as":
                return (0.0 if self.per_seed else -margin), margin
            case "at_least":
                return self.at_least or 0.0, math.inf
            case "at_most":
                return -math.inf, self.at_most or 0.0
            case "above":
                return 0.0, math.inf
            case "below":
                return -math.inf, 0.0

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
    texts = {
        path: best_text(value) if is_best(value) else as_text(value) for path, value in selection.items()
    }
    parts = [texts[name] for name in PLACES if name in texts]
    parts += [f"{path.rpartition('.')[2]}={text}" for path, text in texts.items() if path not in PLACES]
    return ", ".join(parts) or "all"


def is_best(value: Any) -> bool:
    """Return whether a value of a selection stands for the best of several."""
    return isinstance(value, Mapping) and list(value) == [BEST]


def best_text(value: Mapping[str, Any]) -> str:
    """Return {best: [0.1, 1]} as text: `best of 0.1, 1`."""
    of = value[BEST]
    return "best" if of == "all" else f"best of {', '.join(map(as_text, of))}"


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
        """Return the candidate. `arguments` are those of the entry that a sweep varies; they identify the entry too."""
        lasts = Counter(path.rpartition(".")[2] for path in axes)
        short = {
            path.rpartition(".")[2]: value
            for path, value in axes.items()
            if lasts[path.rpartition(".")[2]] == 1
        }
        places = {"optimizer": optimizer, "workload": workload, "horizon": horizon}
        return cls({**arguments, **point, **short, **axes, **places}, dict(point))

    def matches(self, selection: Selection) -> bool:
        """Return whether the candidate has every value of the selection."""
        return all(key in self.names and self.names[key] == value for key, value in selection.items())


def matching(selection: Selection, candidates: Sequence[Candidate]) -> list[int]:
    """Return the positions of the candidates with every value of the selection.

    Trials of a sweep match only selections that name a swept hyperparameter, and then take precedence over the entry itself.
    """
    positions = every_match(selection, candidates)
    swept = [position for position in positions if set(candidates[position].point) & set(selection)]
    return swept or [position for position in positions if not candidates[position].point]


def values_of(key: str, selection: Selection, candidates: Sequence[Candidate]) -> list[Any]:
    """Return the values of a key among the candidates with all other values of the selection; numbers in increasing order."""
    others = {name: value for name, value in selection.items() if name != key and not is_best(value)}
    values = _distinct_values(key, [candidate for candidate in candidates if candidate.matches(others)])
    return sorted(values) if all(isinstance(value, (int, float)) for value in values) else values


def _distinct_values(key: str, candidates: Sequence[Candidate]) -> list[Any]:
    """Return the values of a key, without the candidates that do not have it."""
    names_with_key = (candidate.names for candidate in candidates if key in candidate.names)
    return list({repr(names[key]): names[key] for names in names_with_key}.values())


def choices(selection: Selection, candidates: Sequence[Candidate]) -> list[Selection]:
    """Return the selections that one with `best` chooses from; the selection itself if it has none."""
    options = {
        key: values_of(key, selection, candidates) if value[BEST] == "all" else list(value[BEST])
        for key, value in selection.items()
        if is_best(value) and isinstance(value[BEST], (list, tuple, str))
    }
    return [
        {**selection, **dict(zip(options, combination, strict=True))}
        for combination in itertools.product(*options.values())
    ]


def problem_of(selection: Selection, candidates: Sequence[Candidate]) -> str:
    """Return why a selection, or one of those that `best` chooses from, does not match exactly one row of trials; "" if it does."""
    for key, value in selection.items():
        if is_best(value) and value[BEST] != "all" and not isinstance(value[BEST], (list, tuple)):
            return f"{key}: expected {{best: all}} or {{best: [value, ...]}}; found {format_value(value)}"
        if is_best(value) and value[BEST] == "all" and not _distinct_values(key, candidates):
            return f"no axis or swept hyperparameter {_nearest_name(key, candidates)}"
    return next(filter(None, (_problem_of_one(s, candidates) for s in choices(selection, candidates))), "")


def _nearest_name(key: str, candidates: Sequence[Candidate]) -> str:
    return f"'{key}'; {nearest(key, {name for candidate in candidates for name in candidate.names})}"


def _problem_of_one(selection: Selection, candidates: Sequence[Candidate]) -> str:
    matches = [candidates[position].names for position in matching(selection, candidates)]
    if len(matches) == 1:
        return ""
    if matches:
        missing = [
            key
            for key in matches[0]
            if key not in selection and len({repr(names.get(key)) for names in matches}) > 1
        ]
        return f"matches {len(matches)} rows of trials; expected one: add {' or '.join(missing[:3])}"
    for key, value in selection.items():
        known = _distinct_values(key, candidates)
        if not known:
            return f"no axis or swept hyperparameter {_nearest_name(key, candidates)}"
        if value not in known:
            return f"no trials with {key} = {format_value(value)}; expected one of {', '.join(map(format_value, known[:12]))}"
    return "no trials with this combination of values"


def problem_of_any(selection: Selection, candidates: Sequence[Candidate]) -> str:
    """Return why a selection matches no row of trials; "" if it does. Points of sweeps count."""
    return "" if every_match(selection, candidates) else _problem_of_one(selection, candidates)


def every_match(selection: Selection, candidates: Sequence[Candidate]) -> list[int]:
    """Return the positions of all candidates with every value of the selection, entries and points of sweeps alike."""
    return [position for position, candidate in enumerate(candidates) if candidate.matches(selection)]


def problem_over(selection: Selection, path: str, candidates: Sequence[Candidate]) -> str:
    """Return why the values of a path cannot be compared for a selection without it; "" if they can."""
    if not _distinct_values(path, candidates):
        return f"no axis {_nearest_name(path, candidates)}"
    values = values_of(path, selection, candidates)
    if len(values) < 2:
        return f"expected at least two values of '{path}'; found {len(values)}"
    return next(filter(None, (problem_of({**selection, path: value}, candidates) for value in values)), "")
