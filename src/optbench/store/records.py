"""Records of a trial's file, one line of JSON each, and the checks when they are read."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any, TypeVar, cast

import pydantic_core

from optbench.errors import OptbenchError, Problem
from optbench.events import STATUSES, Evaluated, Event, Finished, Resumed, Started

T = TypeVar("T")

#: Version of what is on disk. A reader refuses what is newer than itself.
FORMAT = 1

#: how JSON lines write what JSON has no number for
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_BEYOND = 1 << 64
_NUMBER = (int, float)
_OPTIONAL = (int, float, type(None))
#: fields of each record, with the types that JSON may give them
TYPES: dict[type, dict[str, tuple[type, ...]]] = {
    Started: {
        "environment": (dict,),
        "parameters": (int,),
        "parameter_bytes": (int,),
        "initial_weights": (str,),
        "hyperparameters": (list,),
        "splits": (dict,),
        "steps": (int, type(None)),
        "steps_per_epoch": (int,),
        "precision": (str,),
    },
    Evaluated: {
        "step": (int,),
        "epoch": _NUMBER,
        "samples": _NUMBER,
        "train_seconds": _NUMBER,
        "cpu_seconds": _NUMBER,
        "evaluation_seconds": _NUMBER,
        "train_loss": _NUMBER,
        "learning_rate": _NUMBER,
        "metrics": (dict,),
        "gradient_norm": _OPTIONAL,
        "clipped_steps": (int,),
        "skipped_steps": (int,),
    },
    Resumed: {"step": (int,), "environment": (dict,)},
    Finished: {
        "status": (str,),
        "detail": (str,),
        "step": (int,),
        "final": (dict,),
        "best_step": (int, type(None)),
        "train_seconds": _NUMBER,
        "cpu_seconds": _NUMBER,
        "evaluation_seconds": _NUMBER,
        "setup_seconds": _NUMBER,
        "state_bytes": (int, type(None)),
        "step_peak_bytes": (int, type(None)),
        "peak_memory_bytes": (int, type(None)),
        "at_fault": (str,),
    },
}
#: fields that older records lack, or that not every trial has: they take the event's default
LATER_FIELDS: dict[type, dict[str, tuple[type, ...]]] = {
    Started: {
        "activation_bytes": (int, type(None)),
        "step_flops": (int, type(None)),
        "memory_format": (str,),
        "gradient_noise": _OPTIONAL,
        "data_checksum": (str,),
        "data_notes": (str,),
    },
    Evaluated: {
        "loss_rises": (int, type(None)),
        "gradient_norm_median": _OPTIONAL,
        "gradient_norm_max": _OPTIONAL,
        "exploded_steps": (int, type(None)),
        "vanished_steps": (int, type(None)),
        "gradient_evaluations": (int, type(None)),
    },
    Resumed: {},
    Finished: {
        "compile_seconds": _OPTIONAL,
        "gradient_evaluations": (int, type(None)),
        "gradient_noise": _OPTIONAL,
        "data_wait_seconds": _OPTIONAL,
        "queued_seconds": _OPTIONAL,
        "captured": (str,),
        "capture_note": (str,),
        "state_note": (str,),
        "resume_note": (str,),
        "resources": (dict,),
    },
}
_BY_KIND: dict[str, tuple[type, dict[str, tuple[type, ...]]]] = {
    cls.kind: (cls, types)  # type: ignore[attr-defined]
    for cls, types in TYPES.items()
}
_TEXT = frozenset(
    {"detail", "status", "at_fault", "environment", "initial_weights", "precision", "memory_format"}
    | {"captured", "capture_note", "state_note", "resume_note"}
)


class Corrupt(ValueError):
    """A line that is not a record; the message states why."""


class NewerFormat(OptbenchError):
    """Written by a newer optbench than this one."""


def to_line(content: dict[str, Any], indent: int | None = None) -> str:
    """Return JSON on one line, with its newline. Non-finite numbers become "nan", "inf", "-inf"."""
    return json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, indent=indent) + "\n"


def event_line(event: Event) -> str:
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    return to_line({"record": event.kind, **values})


def from_json(text: bytes | str) -> Any:
    """Raises `Corrupt` (a ValueError) for whatever is no JSON, also for what is nested too deep to be read.

    Pydantic's parser returns the same values in 0.4 of the time. It refuses some of what Python's accepts: half of a surrogate
    pair, which is no valid text and becomes U+FFFD here.
    """
    try:
        return pydantic_core.from_json(text)
    except ValueError:
        pass
    try:
        return _valid_text(json.loads(text))
    except RecursionError:
        raise Corrupt("nested too deeply") from None
    except ValueError:
        raise Corrupt("not a line of JSON") from None


def _valid_text(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_valid_text(item) for item in value]
    if isinstance(value, dict):
        return {_valid_text(key): _valid_text(item) for key, item in value.items()}
    return value


def to_event(content: Any) -> Started | Evaluated | Resumed | Finished:
    """Return the event of a parsed line. Unknown fields are ignored.

    Raises `Corrupt`. The instance is filled directly: `__init__` of a frozen data class takes longer than all
    the rest, and a report reads a million of these.
    """
    try:
        cls, types = _BY_KIND[content["record"]]
    except (KeyError, TypeError):
        raise Corrupt(f"expected one of the records {', '.join(_BY_KIND)}") from None
    event: Any = object.__new__(cls)
    values = event.__dict__
    try:
        for name, allowed in types.items():
            value = content[name]
            if type(value) not in allowed:
                value = NON_FINITE[value] if float in allowed else _reject(name, value)
            values[name] = fitting(value)
        for name, allowed in LATER_FIELDS[cls].items():
            if name in content:
                value = content[name]
                if type(value) not in allowed:
                    value = NON_FINITE[value] if float in allowed else _reject(name, value)
                values[name] = fitting(value)
            elif name == "resources":
                values[name] = {}
    except (KeyError, TypeError):
        raise Corrupt(
            f"'{cls.__name__.lower()}' record with a missing or unreadable field '{name}'"
        ) from None
    if cls is Evaluated:
        values["metrics"] = {split: _numbers(of, "metrics") for split, of in values["metrics"].items()}
    elif cls is Finished:
        values["final"] = {estimand: _numbers(of, "final") for estimand, of in values["final"].items()}
        values["resources"] = {name: _numbers(of, "resources") for name, of in values["resources"].items()}
        if values["status"] not in STATUSES:
            raise Corrupt(f"unknown status {values['status']!r}; known: {', '.join(STATUSES)}")
    elif cls is Started:
        values["splits"] = _numbers(values["splits"], "splits")
        if values["steps_per_epoch"] < 1:
            raise Corrupt(f"expected at least 1 in 'steps_per_epoch'; found {values['steps_per_epoch']}")
        values["hyperparameters"] = _restored(values["hyperparameters"])
    return cast(Started | Evaluated | Resumed | Finished, event)


def check_format(content: dict[str, Any], file: str) -> None:
    """Check the format. Raises `NewerFormat` for a newer one, `Corrupt` for anything else than a format number."""
    found = content.get("format")
    if type(found) is not int or found < 1:
        raise Corrupt("expected a 'format' number: this was not written by optbench")
    if found > FORMAT:
        raise NewerFormat(
            Problem(
                f"written by a newer optbench (format {found}; this one reads up to {FORMAT}): upgrade with "
                f"'pip install --upgrade optbench', or use another --results folder",
                file=file,
                line=1,
            )
        )


def fitting(value: T) -> T:
    """The very same, none of whose whole numbers is beyond 64 bits: no machine wrote those, and no float holds them.

    Raises `Corrupt` if one is.
    """
    _check_fits(value)
    return value


def _check_fits(value: Any) -> None:
    if type(value) is int:
        if not -_BEYOND < value < _BEYOND:
            raise Corrupt("an integer of more than 64 bits")
    elif type(value) is dict:
        for item in value.values():
            _check_fits(item)
    elif type(value) is list:
        for item in value:
            _check_fits(item)


def _numbers(values: Any, name: str) -> dict[str, float]:
    if type(values) is not dict:
        raise Corrupt(f"expected numbers by name in '{name}'")
    for key, value in values.items():
        if type(value) is not float and type(value) is not int:
            if type(value) is not str or value not in NON_FINITE:
                raise Corrupt(f"expected a number in '{name}', at '{key}'")
            values[key] = NON_FINITE[value]
    return fitting(values)


def _reject(name: str, value: Any) -> Any:
    raise Corrupt(f"unexpected {type(value).__name__} in '{name}'")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        )
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, str):
        return NON_FINITE.get(value, value)
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    return value
