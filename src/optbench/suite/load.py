"""Load and validate suite files; all problems are reported at once, each with file, line and column."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from optbench.errors import OptbenchError, Problem
from optbench.suite import yaml_source
from optbench.suite.axes import expand
from optbench.suite.overrides import Override, apply, as_in_file, parse_override, split_path
from optbench.suite.types import Suite
from optbench.suite.valid_parts import remove_invalid_parts
from optbench.suite.validation_errors import as_written, explain
from optbench.suite.yaml_source import Keys, Source, parse


@dataclass(frozen=True)
class Loaded:
    """A validated suite, and the places of its content in the file."""

    suite: Suite
    path: Path
    source: Source
    combinations: tuple[Cell, ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """One cell per combination of the suite's axes; the suite itself if it has no axes."""
        return self.combinations or (Cell({}, self),)

    @property
    def folder(self) -> Path:
        """Folder of the suite file; relative paths in the suite start here."""
        return self.path.parent

    @property
    def name(self) -> str:
        """Name of the suite in results and tables: the stem of the file."""
        return self.path.stem

    def where(self, dotted: str) -> tuple[int | None, int | None]:
        """Return line and column of a key such as `optimizers.Adam.lr`, or of its nearest ancestor in the file.

        Both are None for values from the command line.
        """
        place = self.source.place(self.keys(dotted))
        return place.line, place.column

    def problem(self, dotted: str, message: str) -> Problem:
        """Return a problem at the key `dotted`."""
        return self.problem_at(self.keys(dotted), message)

    def problem_at(self, typed: Sequence[str | int], message: str) -> Problem:
        """Return a problem at a typed path, `("optimizers", label, "rules", 0, "arguments", "lr")`, or at one as written."""
        return self.source.problem(as_written(tuple(typed), self.source.data), message)

    def keys(self, dotted: str) -> Keys:
        """Split a dotted path into the keys of the file; labels may contain dots."""
        return split_path(as_in_file(dotted, self.source.data), self.source.data)


@dataclass(frozen=True)
class Cell:
    """One combination of a suite's axes: its values by path, and the suite with these values."""

    values: dict[str, Any]
    loaded: Loaded


@dataclass(frozen=True)
class Examined:
    """Problems of a file, and its valid content. If there are problems, `loaded` is for further checks only."""

    loaded: Loaded | None
    problems: list[Problem]
    has_substitute_workload: bool = False
    """The workload is a substitute for an invalid one: ignore problems found in it."""


#: adds settings to a workload as written in a suite of a folder, in place
Complete = Callable[[dict[str, Any], Path], None]


def load(
    path: str | Path,
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    complete: Complete | None = None,
) -> Loaded:
    """Read and validate a suite file. Raises one `OptbenchError` with all problems. Arguments as for `examine`."""
    examined = examine(path, overrides, seeds, complete=complete)
    if examined.problems or examined.loaded is None:
        raise OptbenchError(*sorted_by_line(examined.problems))
    return examined.loaded


def examine(
    path: str | Path,
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    source: Source | None = None,
    complete: Complete | None = None,
) -> Examined:
    """Read a suite file and collect its problems. Raises `OptbenchError` only if nothing can be read.

    `source` replaces the content of the file; relative paths still start from the file's folder. `complete` adds the settings that
    follow from the data set of a workload.

    `overrides` are `PATH=VALUE` strings as given to `--set`, applied in order. Values are YAML, paths are dotted:
    `workload.budget.epochs=1`, `optimizers.SGD + Momentum.lr=0.1`. In a suite with several workloads,
    `workload.X=V` sets X in each of them. `seeds` replaces the file's seeds by 0 to N-1.
    """
    path = Path(path)
    source = source or yaml_source.read(path)
    if not isinstance(source.data, dict):
        content = (
            "an empty file"
            if source.data is None
            else "a list"
            if isinstance(source.data, list)
            else "a value"
        )
        message = f"expected a mapping with 'workload' and 'optimizers'; found {content}"
        raise OptbenchError(message, file=str(path), line=1)
    unapplied = _override(source, overrides, seeds)
    problems = [*source.problems, *unapplied, *_both_workloads(source)]
    axes: Any = deepcopy(source.data.get("axes"))
    cells, axes_problems = expand(source)
    problems += axes_problems
    for each_source in [cell.source for cell in cells] or [source]:
        _complete(each_source.data, path.parent, complete)
    each = [_validated(cell.source, path, []) for cell in cells] or [_validated(source, path, [])]
    unread = [problem.where for problem in source.problems]
    problems += dict.fromkeys(
        problem
        for examined in each
        for problem in examined.problems
        # a value that could not be read is missing from its setting
        if not any(f"{where}.".startswith(f"{problem.where}.") for where in unread)
    )
    first = each[0]
    if unapplied:  # the content is not the requested one, so further checks would only confuse
        return Examined(None, problems)
    if not cells:
        return replace(first, problems=problems)
    if problems or first.loaded is None:
        return Examined(first.loaded, problems, first.has_substitute_workload)
    combinations = tuple(
        Cell(cell.values, examined.loaded)
        for cell, examined in zip(cells, each, strict=True)
        if examined.loaded
    )
    if problems := _repeated(combinations, source):
        return Examined(first.loaded, problems)
    whole = first.loaded.suite.model_copy(
        update={"axes": {key: tuple(values) for key, values in axes.items()}}
    )
    return Examined(replace(first.loaded, suite=whole, combinations=combinations), [])


def _complete(data: dict[str, Any], folder: Path, complete: Complete | None) -> None:
    if complete is None:
        return
    several = data.get("workloads")
    for workload in (data.get("workload"), *(several.values() if isinstance(several, dict) else ())):
        if isinstance(workload, dict):
            complete(workload, folder)


def _repeated(cells: Sequence[Cell], source: Source) -> list[Problem]:
    """Return problems for values of an axis that are equal but written differently, such as `cosine` and `{name: cosine}`."""
    known: dict[str, Cell] = {}
    problems = []
    for cell in cells:
        first = known.setdefault(repr(cell.loaded.suite), cell)
        if first is not cell:
            path = next(path for path, value in cell.values.items() if value != first.values[path])
            values = " and ".join(json.dumps(each.values[path], default=str) for each in (first, cell))
            problems.append(source.problem(("axes", path), f"expected distinct values; {values} are equal"))
    return list(dict.fromkeys(problems))


def _validated(source: Source, path: Path, problems: list[Problem]) -> Examined:
    """Validate the data of a file and add its problems to `problems`."""
    try:
        return Examined(Loaded(Suite.model_validate(source.data), path, source), problems)
    except ValidationError as error:
        problems += explain(error, source)
    rest = remove_invalid_parts(source.data)
    if rest is None:
        return Examined(None, problems)
    return Examined(Loaded(rest[0], path, source), problems, has_substitute_workload=rest[1])


def sorted_by_line(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems in the order of the file, those without a line last."""
    return sorted(problems, key=lambda p: (p.line is None, p.line or 0, p.column or 0))


def _override(source: Source, overrides: Sequence[str], seeds: int | None) -> list[Problem]:
    """Apply the overrides of the command line; return the problems of those that could not be applied."""
    problems: list[Problem] = []
    for text in overrides:
        try:
            apply(source, parse_override(text))
        except OptbenchError as error:
            problems += error.problems
    if seeds is not None:
        option = f"--seeds {seeds}"
        apply(source, Override(option, "seeds", parse(str(seeds), option, with_lines=False)))
    return problems


def _both_workloads(source: Source) -> list[Problem]:
    if not {"workload", "workloads"} <= source.data.keys():
        return []
    first = source.place(("workloads",)).line
    del source.data["workload"]  # its own problems would only confuse
    message = f"expected either 'workload' or 'workloads' (line {first}); found both"
    return [source.problem(("workload",), message)]
