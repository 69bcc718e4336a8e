"""What is wrong with one named thing of a suite: its name, its arguments, a module that can't be found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from optbench.catalog import lookup
from optbench.catalog.arguments import Finding, TypedPath, unfit
from optbench.catalog.signatures import signature
from optbench.errors import OptbenchError, Problem
from optbench.suite.types import Component


def component_findings(family: str, component: Component, folder: Path, path: TypedPath) -> Iterator[Finding]:
    """An unknown name, or arguments that don't fit it."""
    try:
        read = signature(lookup.resolve(family, component.name, folder))
    except OptbenchError as error:
        yield from (((*path, "name"), said(problem)) for problem in error.problems)
        return
    yield from unfit(family, read, component.arguments, (*path, "arguments"), component.name)


def said(problem: Problem) -> str:
    """A problem's message, with its own place if that is in another file than the suite."""
    if problem.file and problem.line is None:
        return f"{problem.file}: {problem.message}"
    return f"{problem.message} ({problem.file}, line {problem.line})" if problem.file else problem.message
