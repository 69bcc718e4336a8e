"""Remove invalid parts from a suite, so that the remaining parts can be checked in the same run."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import ValidationError

from optbench.suite.types import Suite
from optbench.suite.validation_errors import as_written
from optbench.suite.yaml_source import Keys

_ROUNDS = 50
_VALID_VALUES: dict[str, Any] = {"budget": {"epochs": 1}, "batch_size": 1}
_SUBSTITUTE_WORKLOAD = {"model": "logistic_regression", "data": "digits", **_VALID_VALUES}


def remove_invalid_parts(data: dict[str, Any]) -> tuple[Suite, bool] | None:
    """Return the valid part of a file's data, and whether its workload is a substitute; None if too little is left.

    Invalid parts are removed; a missing or invalid budget or batch size is replaced by one that passes every check.
    """
    data = copy.deepcopy(data)
    has_substitute_workload = False
    for _ in range(_ROUNDS):
        try:
            return Suite.model_validate(data), has_substitute_workload
        except ValidationError as error:
            paths = [as_written(details["loc"], data) for details in error.errors(include_url=False)]
            repaired: set[Keys] = set()
            for path in sorted(paths, key=len, reverse=True):
                if not any(path[: len(known)] == known for known in repaired):
                    repaired.add(_repair(data, path))
        workloads = data.get("workloads")
        if not data.get("optimizers"):
            return None
        if not isinstance(data.get("workload"), dict) and not (isinstance(workloads, dict) and workloads):
            data.pop("workloads", None)
            data["workload"], has_substitute_workload = copy.deepcopy(_SUBSTITUTE_WORKLOAD), True
    return None


def _repair(data: dict[str, Any], path: Keys) -> Keys:
    """Replace the value at `path`, or remove it or its nearest removable ancestor; return the path of the change."""
    for end in range(len(path), 0, -1):
        parent, key = _at(data, path[: end - 1]), path[end - 1]
        inside_workload = path[: end - 1] == ("workload",) or (end == 3 and path[0] == "workloads")
        if inside_workload and key in _VALID_VALUES and parent is not None:
            parent[key] = copy.deepcopy(_VALID_VALUES[key])
            return path[:end]
        if isinstance(parent, dict) and key in parent:
            del parent[key]
            if key == "optimizers" or (len(path) == 2 and path[0] == "optimizers"):
                data.pop("baseline", None)  # it may name the removed entry
            return path[:end]
        if isinstance(parent, list) and key.isdecimal() and int(key) < len(parent):
            del parent[int(key)]
            return path[:end]
    return path


def _at(data: Any, path: Keys) -> Any:
    for key in path:
        if isinstance(data, dict) and key in data:
            data = data[key]
        elif isinstance(data, list) and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        else:
            return None
    return data
