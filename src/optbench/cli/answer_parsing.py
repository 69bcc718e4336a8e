"""Parse and check the answers and options of `optbench new`. Each function raises `OptbenchError` for invalid text."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

from optbench.catalog.check_component import component_findings
from optbench.catalog.check_optimizer import optimizer_findings
from optbench.catalog.check_workload import data_findings, model_findings
from optbench.catalog.data_sets import task_of
from optbench.catalog.model_builds import ModelBuilds
from optbench.catalog.starter import entry
from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError, nearest
from optbench.suite.call_notation import parse_call
from optbench.suite.types import Component

MOST_SEEDS = 1000
N = TypeVar("N", int, float)


def component(family: str, text: str, folder: Path) -> Component:
    """Parse `NAME` or `NAME(key=value)` and check the name and its arguments."""
    name, arguments = parse_call(text, "")
    made = Component(name=name, arguments=arguments)
    if family == "optimizers":
        findings = optimizer_findings(name, arguments, folder, ("arguments",))
    else:
        findings = component_findings(family, made, folder, ())
    if wrong := [message for _, message in findings]:
        raise OptbenchError(*wrong)
    return made


def task(text: str, offered: Collection[str]) -> str:
    """Check the name of a task."""
    if text == "custom":
        raise OptbenchError(
            "a task of your own is a Python file: see docs/own-task.md for the file and its suite"
        )
    if text not in offered:
        raise OptbenchError(f"unknown task '{text}'; {nearest(text, offered)}")
    return text


def task_of_data(text: str, folder: Path) -> str:
    """Return the task of a data set, "" if it is unknown: the data set is checked later."""
    try:
        name, arguments = parse_call(text, "")
        return task_of(Component(name=name, arguments=arguments), folder)
    except OptbenchError:
        return ""


def dataset(
    text: str, model: Component, folder: Path, root: Path, task: str = ""
) -> tuple[Component, DataInfo]:
    """Parse a data set; check that it is available, has the task (if one is passed), and that the model accepts its shape."""
    made = component("data", text, folder)
    found, info = data_findings(made, folder, root, ())
    if info is not None and task and info.task != task:
        raise OptbenchError(f"expected data of task {task}; '{made.name}' is of task {info.task}")
    if info is not None:
        with ModelBuilds() as builds:
            found += model_findings(model, folder, (), info, builds, build=True)
    if found or info is None:
        raise OptbenchError(*(message for _, message in found))
    return made, info


def entries_of(text: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Parse a list such as `sgd, my.py:Mine(lr=1)` and return entries by unique label."""
    found: dict[str, dict[str, Any]] = {}
    for item in split(text):
        made = component("optimizers", item, folder)
        label, settings = entry(made.name, made.arguments, folder)
        label = (
            label if label not in found else f"{label}, {item.partition('(')[2].removesuffix(')') or 'again'}"
        )
        if label in found:
            raise OptbenchError(f"duplicate optimizer '{item}': remove it, or change an argument")
        found[label] = settings
    if not found:
        raise OptbenchError("expected at least one optimizer, as in 'sgd, adamw'")
    return found


def split(text: str) -> list[str]:
    """Split the text at commas outside of brackets."""
    items, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items if item.strip()]


def minutes(text: str) -> float:
    return _number(text, float, 0.1, 60 * 24 * 365, "a number of minutes")


def seeds(text: str) -> int:
    return _number(text, int, 1, MOST_SEEDS, "a number of seeds")


def target(text: str) -> float:
    if match := re.fullmatch(r"([0-9.]+)\s*%?", text):
        number = _number(match[1], float, 0.0, 100.0, "a fraction")
        if text.endswith("%") or number > 1:
            raise OptbenchError(f"expected a fraction; found '{text}'; did you mean {number / 100:g}?")
        return number
    return _number(text, float, 0.0, 1.0, "a fraction")


def number(text: str) -> float:
    """Parse a finite number."""
    return _number(text, float, -1e300, 1e300, "a number")


def _number(text: str, kind: Callable[[str], N], least: float, most: float, what: str) -> N:
    try:
        number = kind(text)
    except ValueError:
        raise OptbenchError(f"expected {what}; found '{text}'") from None
    if not least <= number <= most:
        raise OptbenchError(f"expected {what} between {least:g} and {most:g}; found {text}")
    return number
