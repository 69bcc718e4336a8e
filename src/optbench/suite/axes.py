"""Expand `axes:` of a suite into cells: one per combination of values, each a separate workload.

`axes: {workload.batch_size: [32, 128], init: [he_normal, orthogonal]}` has four cells. Paths are those of `--set`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.suite.overrides import Override, apply
from optbench.suite.value_formatting import as_text, format_value
from optbench.suite.yaml_source import Keys, Source

MAX_CELLS = 1000


@dataclass(frozen=True)
class CellSource:
    """One combination: its values by path, and the content of the file with these values."""

    values: dict[str, Any]
    source: Source


def expand(source: Source) -> tuple[list[CellSource], list[Problem]]:
    """Return the cells, with the last axis varying fastest, and the problems of the axes; both empty without `axes`.

    Removes `axes` from `source`. Values keep their places in the file, for messages.
    """
    if "axes" not in source.data:
        return [], []
    axes = source.data.pop("axes")
    problems = _axes_problems(axes, source)
    if problems:
        return [], problems
    cells = []
    for combination in itertools.product(*(range(len(values)) for values in axes.values())):
        cell = Source(deepcopy(source.data), source.file, dict(source.keys), dict(source.values))
        positions = dict(zip(axes, combination, strict=True))
        for path, position in positions.items():
            override = Override("", path, _item(source, path, axes[path], position), of_file=True)
            try:
                apply(cell, override)
            except OptbenchError as error:
                problems += [source.problem(("axes", path), p.message) for p in error.problems]
        cells.append(CellSource({path: axes[path][position] for path, position in positions.items()}, cell))
    return (cells, []) if not problems else ([], list(dict.fromkeys(problems)))


def cell_name(workload: str, values: Mapping[str, Any]) -> str:
    """Return the name of a cell's workload, such as `digits, batch_size=32, init=orthogonal`; unique within the suite."""
    return ", ".join([workload, *(f"{key}={text}" for key, text in short(values).items())])


def short(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as text, by the last part of their paths (by the whole path if last parts are equal)."""
    lasts = Counter(path.rpartition(".")[2] for path in values)
    return {
        path if lasts[path.rpartition(".")[2]] > 1 else path.rpartition(".")[2]: as_text(value)
        for path, value in values.items()
    }


def _axes_problems(axes: Any, source: Source) -> list[Problem]:
    if not isinstance(axes, dict) or not axes:
        message = "expected paths with lists of values, as in {workload.batch_size: [32, 128]}"
        return [source.problem(("axes",), f"{message}; found {format_value(axes)}")]
    problems = []
    for path, values in axes.items():
        setting = path.partition(".")[0]
        keys: Keys = ("axes", path)
        if not all(path.split(".")):
            keys, message = ("axes",), f"expected the dotted path of a setting; found {format_value(path)}"
        elif not isinstance(values, list) or not values:
            message = f"expected a list of values; found {format_value(values)}"
        elif len({repr(value) for value in values}) < len(values):
            message = "expected distinct values; found a duplicate"
        elif outer := next((other for other in axes if path.startswith(f"{other}.")), None):
            message = f"the axis '{outer}' sets this key too: remove one of the two axes"
        elif setting in ("axes", "seeds", "title", "description", "baseline", "published"):
            message = f"'{setting}' is not a setting of a trial and cannot be an axis"
        else:
            continue
        problems.append(source.problem(keys, message))
    count = math.prod(len(values) for values in axes.values()) if not problems else 0
    if count > MAX_CELLS:
        message = f"expected at most {MAX_CELLS:,} combinations; found {count:,}"
        problems.append(source.problem(("axes",), message))
    return problems


def _item(source: Source, path: str, values: list[Any], position: int) -> Source:
    """Return one value of an axis, with the places of its content."""
    here = ("axes", path, str(position))
    inside = {keys[len(here) :]: place for keys, place in source.values.items() if keys[: len(here)] == here}
    names = {keys[len(here) :]: place for keys, place in source.keys.items() if keys[: len(here)] == here}
    return Source(values[position], source.file, names, inside)
