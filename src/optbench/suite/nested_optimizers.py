"""Optimizers as arguments of optimizers: `base_optimizer: {use: torch.optim.SGD, momentum: 0.9}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Nested:
    """An optimizer class and its arguments, as the value of an argument."""

    use: str
    arguments: dict[str, Any]


def nested(value: Any) -> Nested | None:
    """Return the optimizer that the value of an argument names by `use`; None for any other value."""
    if not isinstance(value, Mapping) or not isinstance(value.get("use"), str):
        return None
    written = value.get("arguments", {})
    rest = {key: v for key, v in value.items() if key not in ("use", "arguments")}
    return Nested(value["use"], {**rest, **(written if isinstance(written, Mapping) else {})})


def names_in(arguments: Mapping[str, Any], path: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Yield every text among the arguments that may name code, with its path, including those of inner optimizers."""
    for key, value in arguments.items():
        if isinstance(value, str):
            yield (*path, key), value
        elif (inner := nested(value)) is not None:
            yield (*path, key, "use"), inner.use
            yield from names_in(inner.arguments, (*path, key))


def path_of(name: str, arguments: Mapping[str, Any]) -> Keys:
    """Return the path of a hyperparameter: among the arguments themselves, else in the only inner optimizer that sets it.

    Return its name alone if it is not set.
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
    """Return the value at a path, None if it is not set."""
    value: Any = arguments
    for key in path:
        inner = nested(value)
        value = (
            (inner.arguments if inner is not None else value).get(key) if isinstance(value, Mapping) else None
        )
    return value


def put(arguments: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set a value in place, creating missing mappings: `base_optimizer.use` = `torch.optim.SGD`."""
    for key in keys[:-1]:
        inner = arguments.get(key)
        if not isinstance(inner, dict):
            inner = arguments[key] = {"use": inner} if isinstance(inner, str) else {}
        arguments = inner
    arguments[keys[-1]] = value


def replaced(arguments: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the arguments with hyperparameters changed at their paths."""
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
