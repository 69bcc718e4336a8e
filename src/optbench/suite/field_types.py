"""Types of the fields of a suite: numbers, text, batch sizes, and lengths of training such as `30 epochs`, `{steps: 500}` and `5%`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from optbench.suite.value_formatting import format_value

#: strict, so that `true` and '3' are not accepted as numbers
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(coerce_numbers_to_str=True)]

_NUMBER_AND_UNIT = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([a-z]+|%)\s*")


def _batch_size(value: Any) -> Any:
    if value == "full" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    more = ", or 'full'" if isinstance(value, str) else ""
    raise ValueError(f"expected a whole number of at least 1{more}; found {format_value(value)}")


#: samples per step; `full` is the whole training split
BatchSize = Annotated[
    int | Literal["full"],
    PlainValidator(_batch_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "full"}]}),
]


class Strict(BaseModel):
    """Base class: frozen, and an unknown key is an error.

    The string below a field is its description, read from the source on demand by `descriptions`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def expect_one_of(model: BaseModel, *names: str) -> str:
    """Return the only field of `names` that is not None. Raises `ValueError` if there is none, or more than one."""
    given = [name for name in names if getattr(model, name) is not None]
    if len(given) != 1:
        expected = f"{', '.join(repr(name) for name in names[:-1])} and '{names[-1]}'"
        raise ValueError(f"expected exactly one of {expected}; found {' and '.join(given) or 'none'}")
    return given[0]


def _amount(raw: Any, units: dict[str, str], example: str) -> Any:
    """Parse `{epochs: 30}` or `30 epochs` into {"value": 30, "unit": "epochs"}; raise `ValueError` for anything else.

    `units` maps every accepted spelling to its unit.
    """
    known = ", ".join(dict.fromkeys(units.values()))
    if isinstance(raw, dict):
        if set(raw) == {"value", "unit"}:
            return raw
        if len(raw) != 1 or next(iter(raw)) not in units:
            keys = ", ".join(raw) or "none"
            raise ValueError(f"expected exactly one of {known}, as in {{epochs: 2}}; found {keys}")
        word, value = next(iter(raw.items()))
        return {"value": value, "unit": units[word]}
    if isinstance(raw, str):
        match = _NUMBER_AND_UNIT.fullmatch(raw)
        if match and match[2] in units and match[1].count(".") <= 1 and match[1] != ".":
            return {"value": float(match[1]), "unit": units[match[2]]}
    if raw is not None and not isinstance(raw, (str, int, float, list)):
        return raw  # already typed
    raise ValueError(f"expected a number and a unit ({known}), as in '{example}'; found {format_value(raw)}")


def length_text(value: float, unit: str) -> str:
    """Return a length as text: `30 epochs`, `1 step`, `5%`."""
    if unit == "percent":
        return f"{value:g}%"
    return f"{value:g} {unit if value != 1 else unit.removesuffix('s')}"


def _whole_steps(value: float, unit: str) -> None:
    if unit == "steps" and value != int(value):
        raise ValueError(f"expected a whole number of steps; found {value:g}")


class Duration(Strict):
    """A length of training: `{epochs: 30}`, `30 epochs`, `500 steps` or `60 seconds`."""

    value: Number = Field(gt=0)
    unit: Literal["epochs", "steps", "seconds"]

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        words = {"epochs": "epochs", "steps": "steps", "seconds": "seconds"}
        return _amount(
            raw,
            {**words, "epoch": "epochs", "step": "steps", "second": "seconds", "s": "seconds"},
            "30 epochs",
        )

    @model_validator(mode="after")
    def _whole(self) -> Duration:
        _whole_steps(self.value, self.unit)
        return self

    def steps(self, steps_per_epoch: int) -> int:
        """Return the length in optimizer steps, at least 1. Raises `ValueError` for a duration in seconds."""
        if self.unit == "seconds":
            raise ValueError("a duration in seconds has no number of steps")
        return max(1, round(self.value * (steps_per_epoch if self.unit == "epochs" else 1)))

    def __str__(self) -> str:
        return length_text(self.value, self.unit)


class Part(Strict):
    """A part of a schedule: `5%` of its length, `2 epochs` or `100 steps`."""

    value: Number = Field(ge=0)
    unit: Literal["percent", "epochs", "steps"]

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        words = {"percent": "percent", "epochs": "epochs", "steps": "steps"}
        return _amount(raw, {**words, "epoch": "epochs", "step": "steps", "%": "percent"}, "5%")

    @model_validator(mode="after")
    def _at_most_all(self) -> Part:
        _whole_steps(self.value, self.unit)
        if self.unit == "percent" and self.value > 100:
            raise ValueError(f"expected at most 100%; found {self.value:g}%")
        return self

    def steps(self, total: int, steps_per_epoch: int) -> int:
        """Return the number of steps, for a schedule of `total` steps."""
        scale = {"percent": total / 100, "epochs": steps_per_epoch, "steps": 1}[self.unit]
        return round(self.value * scale)
