"""Check suites before they are run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optbench.catalog.check import examine
from optbench.catalog.data_root import data_root
from optbench.catalog.model_builds import ModelBuilds
from optbench.errors import OptbenchError, Problem
from optbench.suite.find import find_all
from optbench.suite.load import Loaded


def check_suites(
    suites: Sequence[str], overrides: Sequence[str], seeds: int | None, data: str | None
) -> list[Loaded]:
    """Load and check suites, those of a folder one by one. Raises one `OptbenchError` with the problems of all of them."""
    examined = examine_suites(suites, overrides, seeds, data)
    if problems := [problem for _, found in examined for problem in found]:
        raise OptbenchError(*problems)
    return [loaded for loaded, _ in examined if loaded is not None]


def examine_suites(
    suites: Sequence[str], overrides: Sequence[str], seeds: int | None, data: str | None
) -> list[tuple[Loaded | None, list[Problem]]]:
    """Return each suite, None if nothing of it can be read, with its problems."""
    examined: list[tuple[Loaded | None, list[Problem]]] = []
    paths: list[Path] = []
    for suite in suites:
        try:
            paths += find_all(suite)[1]
        except OptbenchError as error:
            examined.append((None, list(error.problems)))
    with ModelBuilds() as builds:
        for path in paths:
            try:
                examined.append(examine(path, overrides, seeds, data_root(data), builds=builds))
            except OptbenchError as error:
                examined.append((None, list(error.problems)))
    return examined
