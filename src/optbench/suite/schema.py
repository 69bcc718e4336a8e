"""JSON Schema of a suite file, including short forms, for completion and validation in editors."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from optbench.suite.descriptions import describe_all
from optbench.suite.field_types import Duration, Part
from optbench.suite.grids import Grid
from optbench.suite.parts import Component, Schedule
from optbench.suite.types import MAX_SEEDS, Group, Optimizer, Rule, Suite

Schema = dict[str, Any]

_NAME = {"type": "string", "minLength": 1}
_NULL = {"type": "null"}
_IMPORT_PATH = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"
_NUMBER = r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?"


def json_schema() -> Schema:
    """Return a new copy of the schema (draft 2020-12). Only arguments of plug-ins may have arbitrary keys."""
    describe_all()
    raw = Suite.model_json_schema()
    shapes = raw.pop("$defs")
    shapes["Duration"] = _amount(Duration, {"epochs": "epochs?", "steps": "steps?", "seconds": "s|seconds?"})
    shapes["Part"] = _amount(Part, {"percent": "%|percent", "epochs": "epochs?", "steps": "steps?"})
    shapes["Component"] = _component(Component, {})
    shapes["Schedule"] = _component(
        Schedule, {name: _field(shapes["Schedule"], name) for name in ("warmup", "per")}
    )
    shapes["Group"] = _open(Group, shapes["Group"], "parameters")
    shapes["Rule"] = _open(Rule, shapes["Rule"], "use")
    shapes["Optimizer"] = _entry(shapes["Optimizer"], shapes["Rule"])
    for key in ("target", "metrics", "study"):
        _one_or_list(shapes["Workload"]["properties"][key])
    _exactly_one(shapes["Target"], "at_least", "at_most")
    _exactly_one(shapes["Clip"], "norm", "value")
    _exactly_one(shapes["Means"], "at_least", "at_most")
    shapes["Source"] = {"description": shapes["Source"]["description"], "anyOf": [_NAME, shapes["Source"]]}
    shapes["Grid"] = _grid(shapes["Grid"])
    suite = _suite(raw, _named(shapes["Optimizer"]))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "optbench suite",
        **{key: value for key, value in suite.items() if key != "title"},
        "$defs": {name: _tidy(shape) for name, shape in sorted(shapes.items())},
    }


def _amount(model: type[Duration] | type[Part], units: dict[str, str]) -> Schema:
    limit = {"exclusiveMinimum": 0} if model is Duration else {"minimum": 0}
    choices = [
        {
            "type": "object",
            "properties": {unit: {"type": "integer" if unit == "steps" else "number", **limit}},
            "required": [unit],
            "additionalProperties": False,
        }
        for unit in units
    ]
    text = {"type": "string", "pattern": rf"^\s*{_NUMBER}\s*({'|'.join(units.values())})\s*$"}
    return {"description": model.__doc__, "anyOf": [*choices, text]}


def _component(model: type[Component], settings: Schema) -> Schema:
    mapping = {
        "type": "object",
        "properties": {
            "name": {**_NAME, "description": model.model_fields["name"].description},
            "arguments": {"type": "object", "description": model.model_fields["arguments"].description},
            **settings,
        },
        "required": ["name"],
        "additionalProperties": True,
    }
    return {"description": model.__doc__, "anyOf": [_NAME, mapping]}


def _open(model: type[Rule] | type[Group], shape: Schema, required: str) -> Schema:
    """Return the schema of a mapping that may have further keys, the arguments."""
    return {
        "description": model.__doc__,
        "type": "object",
        "properties": shape["properties"],
        "required": [required],
        "additionalProperties": True,
    }


def _entry(shape: Schema, rule: Schema) -> Schema:
    settings = {key: value for key, value in shape["properties"].items() if key != "rules"}
    _one_or_list(settings["no_weight_decay"])
    one = {
        "type": "object",
        "properties": {
            "use": {**_NAME, "description": Rule.model_fields["use"].description},
            "arguments": {"type": "object", "description": Rule.model_fields["arguments"].description},
            "groups": rule["properties"]["groups"],
            **settings,
        },
        "required": ["use"],
        "additionalProperties": True,
    }
    rules = {"type": "array", "items": {"$ref": "#/$defs/Rule"}, "minItems": 1}
    several = {
        "type": "object",
        "properties": {"use": rules, **settings},
        "required": ["use"],
        "additionalProperties": False,
    }
    return {"description": Optimizer.__doc__, "anyOf": [_NAME, one, several]}


def _named(entry: Schema) -> Schema:
    """Return the schema of an entry whose label is an import path: `use` is optional, and null means all defaults."""
    choices = [{k: v for k, v in choice.items() if k != "required"} for choice in entry["anyOf"][1:2]]
    return {
        "description": entry["description"],
        "anyOf": [entry["anyOf"][0], *choices, *entry["anyOf"][2:], _NULL],
    }


def _grid(shape: Schema) -> Schema:
    """Return the schema of a list of factors, or of a mapping with exactly one of `factors`, `values` and `log`."""
    _exactly_one(shape, "factors", "values", "log")
    shape["dependentRequired"] = {"log": ["points"], "points": ["log"]}
    return {"description": Grid.__doc__, "anyOf": [shape["properties"]["factors"], shape]}


def _suite(raw: Schema, named: Schema) -> Schema:
    properties = raw["properties"]
    properties["workload"] = {
        "$ref": "#/$defs/Workload",
        "description": "The only workload: short form of 'workloads' with one item, named after its data set.",
    }
    properties["optimizers"]["patternProperties"] = {_IMPORT_PATH: named}
    seeds = properties["seeds"]
    count = {"type": "integer", "minimum": 1, "maximum": MAX_SEEDS}
    listed = {key: seeds[key] for key in ("type", "items", "minItems")} | {"uniqueItems": True}
    properties["seeds"] = {"description": seeds["description"], "anyOf": [count, listed], "default": 3}
    for key in ("title", "description"):
        properties[key]["type"] = ["string", "number"]
    _one_or_list(properties["no_weight_decay"])
    raw = {key: value for key, value in raw.items() if key != "required"}
    tidied: Schema = _tidy(raw)
    return tidied | {
        "required": ["optimizers"],
        "oneOf": [{"required": ["workload"]}, {"required": ["workloads"]}],
    }


def _field(shape: Schema, name: str) -> Schema:
    field: Schema = deepcopy(shape["properties"][name])
    return field


def _one_or_list(field: Schema) -> None:
    """Allow a single item in place of a list."""
    if "anyOf" in field:  # a list or null
        items = next(choice["items"] for choice in field["anyOf"] if "items" in choice)
        field["anyOf"] = [*field["anyOf"], items]
    else:
        lengths = {key: field.pop(key) for key in ("type", "items", "minItems") if key in field}
        field["anyOf"] = [lengths["items"], lengths]


def _exactly_one(shape: Schema, *names: str) -> None:
    """Require exactly one of the keys; remove null, which only the typed form allows."""
    for name in names:
        field = shape["properties"][name]
        field |= next(choice for choice in field.pop("anyOf") if choice != _NULL)
        field.pop("default", None)
    shape["oneOf"] = [{"required": [name]} for name in names]


def _tidy(shape: Any) -> Any:
    """Remove the titles that pydantic adds: they only repeat the keys."""
    if isinstance(shape, list):
        return [_tidy(item) for item in shape]
    if not isinstance(shape, dict):
        return shape
    return {
        key: {name: _tidy(field) for name, field in value.items()} if key == "properties" else _tidy(value)
        for key, value in shape.items()
        if key != "title" or not isinstance(value, str)
    }
