"""Optimizers as arguments of optimizers: `base_optimizer: {use: torch.optim.SGD, momentum: 0.9}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Nested:
    """A class with arguments, as an argument has it."""

    use: str
    arguments: dict[str, Any]


def nested(value: Any) -> Nested | None:
    """The optimizer that an argument's value names by `use`; None for any other value."""
    if not isinstance(value, Mapping) or not isinstance(value.get("use"), str):
        return None
    written = value.get("arguments", {})
    rest = {key: v for key, v in value.items() if key not in ("use", "arguments")}
    return Nested(value["use"], {**rest, **(written if isinstance(written, Mapping) else {})})


def names_in(arguments: Mapping[str, Any], path: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Every text among the arguments that may name code, with its path, inner optimizers included."""
    for key, value in arguments.items():
        if isinstance(value, str):
            yield (*path, key), value
        elif (inner := nested(value)) is not None:
            yield (*path, key, "use"), inner.use
            yield from names_in(inner.arguments, (*path, key))


def path_of(name: str, arguments: Mapping[str, Any]) -> Keys:
    """Where a hyperparameter is written: among the arguments themselves, else in the only inner optimizer that writes it.

    Its own name if it is written nowhere.
    """
    if name in arguments:
        return (name,)
    inside = [
        (key, *path)
        for key, value in arguments.items()
        if (inner := nested(value)) is not None
        and value_at(path := path_of(name, inner.arguments), inner.arguments) is not None
    ]
    return inside[0] if len(inside) == 1 else (name,)


def value_at(path: Keys, arguments: Mapping[str, Any]) -> Any:
    """None if nothing is written there."""
    value: Any = arguments
    for key in path:
        inner = nested(value)
        value = (
            (inner.arguments if inner is not None else value).get(key) if isinstance(value, Mapping) else None
        )
    return value


def put(arguments: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set a value in place, in mappings that are made where they are missing: `base_optimizer.use` = `torch.optim.SGD`."""
    for key in keys[:-1]:
        inner = arguments.get(key)
        if not isinstance(inner, dict):
            inner = arguments[key] = {"use": inner} if isinstance(inner, str) else {}
        arguments = inner
    arguments[keys[-1]] = value


def replaced(arguments: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with hyperparameters changed where they are written."""
    changed = dict(arguments)
    for name, value in changes.items():
        changed = _put(changed, path_of(name, changed), value)
    return changed


def _put(arguments: Mapping[str, Any], path: Keys, value: Any) -> dict[str, Any]:
    key, *rest = path
    if not rest:
        return {**arguments, key: value}
    inner = nested(arguments[key])
    assert inner is not None
    return {**arguments, key: {"use": inner.use, "arguments": _put(inner.arguments, tuple(rest), value)}}
