"""Convert pydantic's validation errors into messages with their place in the suite file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as bounds
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from optbench.errors import Problem, nearest
from optbench.suite.descriptions import describe_all
from optbench.suite.grids import rounded
from optbench.suite.spaces import MISPLACED, FieldError, is_space
from optbench.suite.types import Suite, Workload
from optbench.suite.value_formatting import format_value
from optbench.suite.yaml_source import Keys, Source

#: parts of a typed path that have another name in the file, or none
_UNWRITTEN = ("arguments", "value", "unit", "rules")
_PERCENT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*")
_EXPECTED = {
    "Component": "a name, or a mapping with one, as in {name: mlp, width: 64}",
    "Schedule": "a name, or a mapping with one, as in {name: cosine, warmup: 5%}",
    "Target": "a mapping, as in {metric: accuracy, at_least: 0.97}",
    "Clip": "a mapping, as in {norm: 1}",
    "Ema": "a mapping, as in {decay: 0.999}",
    "Optimizer": "an optimizer's name, or a mapping, as in {use: torch.optim.SGD, lr: 0.1}",
    "Grid": "factors, as in [0.1, 1, 10], or a mapping, as in {log: [1e-4, 1], points: 13}",
    "Claim": "a mapping, as in {kind: numeric, value: 0.76, unit: fraction, margin: 0.002}",
    "ClaimTest": "a mapping, as in {quantity: diverged, of: SGD, at_most: 0.1}",
    "Source": "text, or a mapping, as in {text: ..., url: ...}",
    "Group": "a mapping, as in {parameters: matrices, use_muon: true}",
    "Rule": "a mapping, as in {parameters: matrices, use: torch.optim.Muon, lr: 0.02}",
}


def explain(error: ValidationError, source: Source) -> list[Problem]:
    """Return one problem per error, placed at the invalid value, or at the key that is unknown or incomplete."""
    errors = error.errors(include_url=False)
    inner = {details["loc"][:end] for details in errors for end in range(len(details["loc"]))}
    # pydantic also reports a list whose items are all invalid as too short
    return [_problem(d, source) for d in errors if d["type"] != "too_short" or d["loc"] not in inner]


def as_written(location: tuple[int | str, ...], data: Any) -> Keys:
    """Convert a typed path (`workloads, NAME, model, arguments, width`) to that of the file (`workload, model, width`)."""
    parts = [str(part) for part in location if part != "[key]"]
    written: list[str] = []
    if parts[:1] == ["workloads"] and isinstance(data, Mapping) and "workload" in data:
        data, parts, written = data["workload"], parts[2:], ["workload"]
    for position, part in enumerate(parts):
        if isinstance(data, Mapping) and part in data and not _elsewhere(data, parts[position:]):
            written.append(part)
            data = data[part]
        elif isinstance(data, list) and part.isdecimal() and int(part) < len(data):
            written.append(part)
            data = data[int(part)]
        elif part == "rules" and isinstance(data, Mapping) and isinstance(data.get("use"), list):
            written.append("use")
            data = data["use"]
        elif part == "value" and isinstance(data, Mapping) and len(data) == 1:
            written.append(str(next(iter(data))))
            data = None
        elif part in ("name", "use") and isinstance(data, str):
            continue  # the short form: `model: mlp`, `Adam: adam`
        elif part not in _UNWRITTEN and (part != "0" or isinstance(data, list)):
            written.append(part)
            data = None
    return tuple(written)


def _elsewhere(data: Mapping[str, Any], parts: list[str]) -> bool:
    """Return whether an argument was written next to an explicit `arguments:`, not in it."""
    return (
        parts[0] == "arguments" and len(parts) > 1 and parts[1] in data and parts[1] not in data["arguments"]
    )


def _problem(details: ErrorDetails, source: Source) -> Problem:
    location, kind, value = details["loc"], details["type"], details["input"]
    error = details.get("ctx", {}).get("error")
    if isinstance(error, FieldError):
        path = as_written((*location, *error.location), source.data)
        return source.problem(path, str(error), value=True)
    path = as_written(location, source.data)
    if space := _misplaced_space(path, source.data):
        return source.problem(space, MISPLACED, value=True)
    at_key = kind in ("extra_forbidden", "missing") or "[key]" in location
    return source.problem(path, _message(kind, location, value, details), value=not at_key)


def _misplaced_space(path: Keys, data: Any) -> Keys:
    """Return the path of the first search space on the way to an invalid value; () without one."""
    for position, key in enumerate(path if path[:1] != ("sensitivity",) else ()):
        index: Any = int(key) if isinstance(data, list) and key.isdecimal() else key
        try:
            data = data[index]
        except (KeyError, IndexError, TypeError):
            break
        if is_space(data):
            return path[: position + 1]
    return ()


def _message(kind: str, location: tuple[int | str, ...], value: Any, details: ErrorDetails) -> str:
    annotation, fields = _field(location)
    if kind == "value_error":
        return str(details["ctx"]["error"])
    if kind == "extra_forbidden":
        model, _ = _field(location[:-1])
        key = str(location[-1])
        if len(location) > 1 and key in Suite.model_fields:
            return f"unknown key '{key}' here; it belongs at the top level of the suite"
        if len(location) == 1 and key in Workload.model_fields:
            return f"unknown key '{key}' here; it belongs under 'workload'"
        return f"unknown key '{key}'; {nearest(key, _written_keys(model))}"
    if kind == "missing":
        if hint := _confused_keyword(str(location[-1]), value):
            return hint
        describe_all()
        what = next((field.description for field in fields if field.description), "")
        return f"missing: {what[:1].lower()}{what[1:].rstrip('.')}" if what else "missing"
    if kind == "float_type" and isinstance(value, str) and (share := _PERCENT.fullmatch(value)):
        return f"expected a fraction; found {format_value(value)}: write {rounded(float(share[1]) / 100):g}"
    expected = _words(annotation, fields)
    message = f"expected {expected}; found {format_value(value)}"
    if kind == "literal_error" and isinstance(value, str):
        close = get_close_matches(value, [str(option) for option in _literals(annotation)], n=1)
        message += f"; did you mean '{close[0]}'?" if close else ""
    return message


def _confused_keyword(missing: str, value: Any) -> str:
    """Return a message if `use:` (for optimizers) and `name:` (for everything else) were confused, else ""."""
    arguments = value.get("arguments") if isinstance(value, Mapping) else None
    other = {"name": "use", "use": "name"}.get(missing)
    if not isinstance(arguments, Mapping) or not (
        other in arguments or (close := get_close_matches(missing, arguments, 1))
    ):
        return ""
    if other not in arguments:
        return f"expected '{missing}'; found '{close[0]}'"
    family = "optimizers" if other == "use" else "models, data and schedules"
    return f"expected '{missing}: {arguments[other]}'; found '{other}', which is the key for {family}"


def _written_keys(model: Any) -> list[str]:
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [*model.model_fields, "workload"] if model is Suite else list(model.model_fields)


def _field(location: tuple[int | str, ...]) -> tuple[Any, list[FieldInfo]]:
    """Return the expected type at a typed path, and the fields with its description and limits."""
    annotation: Any = Suite
    fields: list[FieldInfo] = []
    for part in location:
        annotation, _ = _bare(annotation)
        fields = []
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(part))
            fields = [field] if field else []
            annotation = field.annotation if field else None
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif get_origin(annotation) is tuple:
            items = get_args(annotation)
            annotation = items[0] if items[-1] is Ellipsis or not isinstance(part, int) else items[part]
    bare, inside = _bare(annotation)
    return bare, fields + inside


def _bare(annotation: Any) -> tuple[Any, list[FieldInfo]]:
    """Remove `| None` and `Annotated` from a type; return it with the fields of `Annotated`."""
    fields: list[FieldInfo] = []
    while True:
        if get_origin(annotation) in (Union, UnionType):
            annotation = next(item for item in get_args(annotation) if item is not type(None))
        elif get_origin(annotation) is Annotated:
            annotation, *extras = get_args(annotation)
            fields += [extra for extra in extras if isinstance(extra, FieldInfo)]
        else:
            return annotation, fields


def _literals(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _words(annotation: Any, fields: list[FieldInfo]) -> str:
    if values := _literals(annotation):
        return "one of " + ", ".join(str(value) for value in values)
    if get_origin(annotation) is tuple:
        pair = len(get_args(annotation)) == 2 and get_args(annotation)[1] is not Ellipsis
        return "a list of two numbers" if pair else "a list of at least one"
    if get_origin(annotation) is dict:
        return "a mapping with at least one entry, as in 'name: {...}'"
    if annotation in (int, float):
        return ("a whole number" if annotation is int else "a number") + _limits(fields)
    if annotation is bool:
        return "true or false"
    if annotation is str:
        return "text"
    return _EXPECTED.get(getattr(annotation, "__name__", ""), "a mapping (key: value)")


def _limits(fields: list[FieldInfo]) -> str:
    words = []
    for limit in (limit for field in fields for limit in field.metadata):
        if isinstance(limit, bounds.Ge):
            words.append(f"of at least {limit.ge}")
        elif isinstance(limit, bounds.Gt):
            words.append(f"above {limit.gt}")
        elif isinstance(limit, bounds.Lt):
            words.append(f"below {limit.lt}")
        elif isinstance(limit, bounds.Le):
            words.append(f"at most {limit.le}")
    return (" " + " and ".join(words)) if words else ""
