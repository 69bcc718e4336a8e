"""Check one component of a suite: its name, its module and its arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optbench.catalog import lookup, sources
from optbench.catalog.arguments import Finding, TypedPath, argument_findings
from optbench.catalog.signatures import signature
from optbench.errors import OptbenchError, Problem
from optbench.suite.types import Component

#: minimum and maximum, None if open
Ends = tuple[float | None, float | None]


def component_findings(family: str, component: Component, folder: Path, path: TypedPath) -> Iterator[Finding]:
    """Yield an unknown name, or unknown, missing and invalid arguments."""
    try:
        target = lookup.resolve(family, component.name, folder)
        read = signature(target)
    except OptbenchError as error:
        yield from (((*path, "name"), message_of(problem)) for problem in error.problems)
        return
    yield from argument_findings(family, read, component.arguments, (*path, "arguments"), component.name)
    if target.kind == "catalog" and target.file:
        ranges = sources.constants(target.file).get("RANGES", {})
        yield from _range_findings(ranges, component.arguments, (*path, "arguments"))


def _range_findings(
    ranges: Mapping[str, Ends], arguments: Mapping[str, Any], path: TypedPath
) -> Iterator[Finding]:
    """Yield numbers outside of the `RANGES` of the item's file; None is an open end."""
    for name in ranges.keys() & arguments.keys():
        low, high = ranges[name]
        value = arguments[name]
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                continue  # already reported
            if (low is not None and number < low) or (high is not None and number > high):
                ends = f"from {low:g} to {high:g}" if None not in (low, high) else f"of at least {low:g}"
                message = (
                    f"expected {'numbers' if isinstance(value, list) else 'a number'} {ends}; found {number}"
                )
                yield (*path, name), message


def message_of(problem: Problem) -> str:
    """Return the message of a problem, including its place if that is not in the suite."""
    if problem.file and problem.line is None:
        return f"{problem.file}: {problem.message}"
    return f"{problem.message} ({problem.file}, line {problem.line})" if problem.file else problem.message
