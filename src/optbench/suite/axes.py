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
from optbench.suite.quoting import as_text, shown
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
    problems = list(_mistakes(axes, source))
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
                place = source.place(("axes", path))
                problems += [
                    Problem(p.message, f"axes.{path}", place.file, place.line, place.column)
                    for p in error.problems
                ]
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


def _mistakes(axes: Any, source: Source) -> list[Problem]:
    def at(path: Keys, message: str) -> Problem:
        place = source.place(path)
        return Problem(message, ".".join(path), place.file, place.line, place.column)

    if not isinstance(axes, dict) or not axes:
        return [
            at(
                ("axes",),
                f"expected paths with lists of values, as in {{workload.batch_size: [32, 128]}}; found {shown(axes)}",
            )
        ]
    found = []
    for path, values in axes.items():
        if not all(path.split(".")):
            found.append(at(("axes",), f"expected the dotted path of a setting; found {shown(path)}"))
        elif not isinstance(values, list) or not values:
            found.append(at(("axes", path), f"expected a list of values; found {shown(values)}"))
        elif len({repr(value) for value in values}) < len(values):
            found.append(at(("axes", path), "expected distinct values; found a duplicate"))
        elif outer := next((other for other in axes if path.startswith(f"{other}.")), None):
            found.append(
                at(("axes", path), f"the axis '{outer}' sets this key too: remove one of the two axes")
            )
        elif path.partition(".")[0] in ("axes", "seeds", "title", "description", "baseline", "published"):
            found.append(
                at(
                    ("axes", path),
                    f"'{path.partition('.')[0]}' is not a setting of a trial and cannot be an axis",
                )
            )
    count = math.prod(len(values) for values in axes.values()) if not found else 0
    if count > MAX_CELLS:
        found.append(at(("axes",), f"expected at most {MAX_CELLS:,} combinations; found {count:,}"))
    return found


def _at(path: str, position: int) -> Keys:
    return ("axes", path, str(position))


def _item(source: Source, path: str, values: list[Any], position: int) -> Source:
    """Return one value of an axis, with the places of its content."""
    here = _at(path, position)
    inside = {keys[len(here) :]: place for keys, place in source.values.items() if keys[: len(here)] == here}
    names = {keys[len(here) :]: place for keys, place in source.keys.items() if keys[: len(here)] == here}
    return Source(values[position], source.file, names, inside)
