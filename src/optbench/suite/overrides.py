"""Apply values from the command line to a suite (`--set workload.budget.epochs=1`)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from optbench.errors import OptbenchError, nearest
from optbench.suite.types import Optimizer, one_workload_name
from optbench.suite.yaml_source import Keys, Place, Source, parse

#: keys that replace each other: `budget.epochs=1` replaces `budget: {steps: 100}` of the file
_ALTERNATIVES = (
    ("epochs", "epoch", "steps", "step", "seconds", "second", "percent"),
    ("norm", "value"),
    ("at_least", "at_most"),
)
_DURATIONS = ("budget", "every", "horizon", "warmup")
_COMPONENTS = ("model", "data", "loss", "schedule", "init")
#: characters that start no value in YAML: of aliases, anchors and directives, and reserved ones
_NEVER_VALUES = ("*", "&", "%", "@", "`")


@dataclass(frozen=True)
class Override:
    """One `PATH=VALUE`, parsed."""

    option: str  # as typed, for messages: "--set a.b=c"
    path: str
    value: Source
    of_file: bool = False  # the value is from another part of the file, and keeps its places


def parse_override(text: str) -> Override:
    """Parse `workload.budget.epochs=1`; the value is read as YAML. Raises `OptbenchError`.

    A value such as `*.md`, which starts like an alias, an anchor, a directive or a reserved character of YAML, is text.
    """
    path, equals, value = text.partition("=")
    typed = f"--set {text}"
    if not equals or not path.strip():
        raise OptbenchError("expected PATH=VALUE, as in workload.budget.epochs=1", file=typed)
    path = path.strip()
    if value.strip().startswith(_NEVER_VALUES):
        value = "'{}'".format(value.strip().replace("'", "''"))
    try:
        return Override(typed, path, parse(value, typed, with_lines=False))
    except OptbenchError as error:
        raise OptbenchError(
            *(replace(p, where=f"{path}.{p.where}" if p.where else path) for p in error.problems)
        ) from None


def apply(source: Source, override: Override) -> None:
    """Change `source` in place. With several workloads, `workload.X` is set in each of them.

    Raises `OptbenchError` if the path goes through a single value or to an unknown entry.
    """
    for path in _paths(source.data, override):
        _set(source, path, override)


def split_path(dotted: str, data: Any) -> Keys:
    """Split a dotted path into keys. The longest existing key is matched first, since labels may contain dots."""
    if not dotted:
        return ()
    if isinstance(data, dict):
        fits = [key for key in data if key and (dotted == key or dotted.startswith(f"{key}."))]
        if fits:
            key = max(fits, key=len)
            return (key, *split_path(dotted[len(key) + 1 :], data[key]))
    if isinstance(data, list):
        head, _, rest = dotted.partition(".")
        if head.isdecimal() and int(head) < len(data):
            return (head, *split_path(rest, data[int(head)]))
    return tuple(dotted.split("."))


def as_in_file(path: str, data: Any) -> str:
    """Replace `workloads.digits.x` by `workload.x` if the file uses the short form."""
    if isinstance(data, dict) and "workload" in data and "workloads" not in data:
        name = f"workloads.{one_workload_name(data['workload'])}"
        if path == name or path.startswith(f"{name}."):
            return "workload" + path[len(name) :]
    return path


def _paths(data: Any, override: Override) -> list[Keys]:
    if not isinstance(data, dict):
        raise OptbenchError("expected a suite that is a mapping", where=override.path, file=override.option)
    head, _, rest = override.path.partition(".")
    named = data.get("workloads")
    if head == "workload" and isinstance(named, dict) and rest:
        return [("workloads", name, *split_path(rest, named[name])) for name in named]
    path = _in_only_rule(split_path(as_in_file(override.path, data), data), data)
    family = data.get(path[0]) if path[0] in ("optimizers", "workloads") and len(path) > 2 else None
    if isinstance(family, dict) and path[1] not in family:
        message = f"no entry '{path[1]}'; {nearest(path[1], family)}"
        raise OptbenchError(message, where=override.path, file=override.option)
    return [path]


def _in_only_rule(path: Keys, data: dict[str, Any]) -> Keys:
    """Return the path of an optimizer's argument in its rule, if the entry is written as a list of one rule."""
    if len(path) < 3 or path[0] != "optimizers" or path[2] in ("use", "rules", *Optimizer.model_fields):
        return path
    entries = data.get("optimizers")
    entry = entries.get(path[1]) if isinstance(entries, dict) else None
    rules = entry.get("use") if isinstance(entry, dict) else None
    return (*path[:2], "use", "0", *path[2:]) if isinstance(rules, list) and len(rules) == 1 else path


def _set(source: Source, path: Keys, override: Override) -> None:
    parent = source.data
    for position, key in enumerate(path[:-1]):
        parent = _enter(source, parent, key, path[: position + 1], override)
    last, value = path[-1], deepcopy(override.value.data)
    if isinstance(parent, list):
        parent[_index(parent, path, override)] = value
    else:
        for group in _ALTERNATIVES if len(path) > 1 and path[-2] in (*_DURATIONS, "clip", "target") else ():
            for other in group if last in group else ():
                parent.pop(other, None)
        parent[last] = value
    _mark(source, path, override)


def _enter(source: Source, parent: Any, key: str, path: Keys, override: Override) -> Any:
    """Return the mapping or list at `path`. Short forms (`30 epochs`, `adam`) are expanded, missing mappings created."""
    index: Any = _index(parent, path, override) if isinstance(parent, list) else key
    child = parent[index] if isinstance(parent, list) else parent.get(key)
    if isinstance(child, (dict, list)):
        return child
    if child is None or (isinstance(child, (str, int, float)) and key in _DURATIONS):
        child = {}
    elif isinstance(child, str) and key in _COMPONENTS:
        child = {"name": child}
    elif isinstance(child, str) and len(path) == 2 and path[0] == "optimizers":
        child = {"use": child}
    else:
        raise _path_error(path, "is a single value, not a mapping", override)
    if path not in source.keys:
        source.keys[path] = source.values[path] = Place(override.option)
    parent[index] = child
    return child


def _index(items: list[Any], path: Keys, override: Override) -> int:
    """Return the position in a list that the last key of a path gives."""
    if not (path[-1].isdecimal() and int(path[-1]) < len(items)):
        raise _path_error(
            path, f"is not in the list: expected a position from 0 to {len(items) - 1}", override
        )
    return int(path[-1])


def _path_error(path: Keys, message: str, override: Override) -> OptbenchError:
    return OptbenchError(f"'{'.'.join(path)}' {message}", where=override.path, file=override.option)


def _mark(source: Source, path: Keys, override: Override) -> None:
    """Set the places of the values at and below `path`: the command line, or another part of the file."""
    for marks in (source.keys, source.values):
        for old in [known for known in marks if known[: len(path)] == path]:
            del marks[old]
        marks[path] = Place(override.option)
    for marks, own in ((source.keys, override.value.keys), (source.values, override.value.values)):
        for new in override.value.values:
            marks[path + new] = own.get(new, marks[path]) if override.of_file else Place(override.option)
