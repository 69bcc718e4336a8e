"""Write a resolved suite as a suite file that loads to an equal suite."""

from __future__ import annotations

import math
from typing import Any

import yaml
from pydantic import BaseModel

from optbench.suite.field_types import Duration, Part
from optbench.suite.tuning import Tuning
from optbench.suite.types import Component, Group, Optimizer, Rule, Suite
from optbench.suite.value_formatting import as_text
from optbench.suite.yaml_source import resolves_to_text


def dump(suite: Suite) -> dict[str, Any]:
    """Return the suite in the form of a file: plain data, without defaults."""
    content: dict[str, Any] = _plain_data(suite)
    return content


def dump_text(suite: Suite) -> str:
    """Return the suite as YAML text, in the order of the original file."""
    text: str = yaml.dump(
        dump(suite), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return text


def _plain_data(value: Any) -> Any:
    if isinstance(value, (Duration, Part)):
        number = int(value.value) if value.value == int(value.value) else value.value
        return {value.unit: number}
    if isinstance(value, (Component, Rule, Group)):
        return {**_fields(value, leave_out="arguments"), **_arguments(value.arguments, type(value))}
    if isinstance(value, Optimizer):
        return _entry(value)
    if isinstance(value, BaseModel):
        return _fields(value)
    if isinstance(value, dict):
        return {key: _plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_data(item) for item in value]
    return value


def _fields(model: BaseModel, leave_out: str = "") -> dict[str, Any]:
    """Return fields that differ from their defaults, or that are null to switch a setting off."""
    written = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        switched_off = isinstance(model, Optimizer) and value is None and name in model.model_fields_set
        if name != leave_out and (switched_off or value != field.default or _overrides(model, name)):
            written[name] = _plain_data(value)
    return written


def _overrides(model: BaseModel, name: str) -> bool:
    """Return whether a value may override that of a tuning protocol: its default is not what the key has without being written."""
    if isinstance(model, Tuning):
        return model.protocol is not None and name in model.model_fields_set
    return name == "seeds" and isinstance(model, Suite) and bool(model.tuning and model.tuning.protocol)


def _arguments(arguments: dict[str, Any], *models: type[BaseModel]) -> dict[str, Any]:
    """Return the arguments as keys next to the settings, or under `arguments:` if a name collides with a setting."""
    fields = {name for model in models for name in model.model_fields}
    if fields & arguments.keys():
        return {"arguments": arguments}
    return dict(arguments)


def _entry(entry: Optimizer) -> dict[str, Any]:
    settings = _fields(entry, leave_out="rules")
    only = entry.rules[0]
    if len(entry.rules) > 1 or only.parameters != "all":
        return {"use": [_plain_data(rule) for rule in entry.rules], **settings}
    written = _fields(only, leave_out="arguments")
    return {**written, **_arguments(only.arguments, Optimizer, Rule), **settings}


def argument_path(label: str, entry: Optimizer, name: str) -> str:
    """Return the path of a hyperparameter for `--set`. `name`: `lr`, or `0.lr` in an entry with several rules."""
    position, _, argument = name.partition(".") if len(entry.rules) > 1 else ("", "", name)
    models = (Rule,) if position else (Optimizer, Rule)
    path = ["optimizers", label, *(["use", position] if position else [])]
    if any(argument in model.model_fields for model in models):
        path.append("arguments")
    return ".".join([*path, argument])


def as_line(value: Any) -> str:
    """Return plain data as YAML on one line, as for `--set`."""
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, width=math.inf, default_flow_style=True)
    return text.removesuffix("\n").removesuffix("\n...")


def setting_text(value: Any) -> str:
    """Return the value of a setting as tables of tuning show it: lists in the notation of YAML, the rest as `as_text`.

    A number has all digits that samplers return: a momentum of 0.9999998 is not 1.
    """
    if isinstance(value, float):
        return f"{value:.12g}"
    return as_line(value) if isinstance(value, list) else as_text(value)


class _Dumper(yaml.SafeDumper):
    """Quotes text that `yaml_source` would not read back as text; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if resolves_to_text(text) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
