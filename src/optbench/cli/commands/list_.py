"""List the names that a suite can use, with their arguments.

Arguments are shown in the syntax of a suite, with their defaults. A suite can also use import paths
(torchvision.models.resnet50) and files (my_model.py:Net). `optimizers` also lists the classes of installed packages, such as
pytorch_optimizer.Lion, read from their source without importing them.

Examples:
  optbench list models
  optbench list optimizers
  optbench list suites

Exit codes:
  0  printed
  2  unknown kind
"""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterator
from typing import Annotated, Any

import yaml

from optbench.catalog.arguments import SUPPLIED, choices
from optbench.catalog.lookup import names, resolve
from optbench.catalog.model_facts import TABLE_SIZES
from optbench.catalog.optimizer_packages import offered
from optbench.catalog.signatures import UNKNOWN, Parameter, signature
from optbench.cli import completion
from optbench.cli.options import argument
from optbench.console import wrapped
from optbench.errors import OptbenchError, nearest
from optbench.suite.find import shipped
from optbench.suite.yaml_source import read

PLACE = "Look up", 1

KINDS = ("models", "data", "optimizers", "schedules", "metrics", "losses", "initialisations", "suites")
#: of torch's optimizers: how a step is computed, which is the suite's `implementation`, or for other uses than training
_UNSHOWN = {"foreach", "fused", "capturable", "differentiable", "maximize"}


def list_(
    kind: Annotated[str, argument("KIND", f"One of {', '.join(KINDS)}.", complete=completion.words(*KINDS))],
) -> None:
    if kind not in KINDS:
        raise OptbenchError(f"unknown kind '{kind}'; {nearest(kind, KINDS)}", where="KIND")
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    lines = list(_suites() if kind == "suites" else _items(kind, width))
    if kind == "optimizers":
        lines += _of_packages(width)
    print("\n".join(lines))


def _suites() -> Iterator[str]:
    found = shipped()
    width = max(map(len, found), default=0)
    for name, path in found.items():
        yield wrapped(f"{name:<{width}}  {read(path).data.get('title', '')}", indent=width + 2)


def _items(family: str, width: int) -> Iterator[str]:
    """Yield each name with its description, and its arguments indented below."""
    items = names(family)
    indent = max(map(len, items), default=0) + 2
    for name, line in items.items():
        yield from _wrapped(f"{name:<{indent}}{line}", width, indent)
        if arguments := [_argument(parameter) for parameter in _parameters(family, name)]:
            yield from _wrapped(" " * indent + ", ".join(arguments), width, indent)


def _of_packages(width: int) -> Iterator[str]:
    """Yield the optimizers of installed packages that are not in the catalog, each with its description and a link."""
    catalog = {(t.module, t.attribute) for t in (resolve("optimizers", name) for name in names("optimizers"))}
    listed = [one for one in offered() if tuple(one.use.rsplit(".", 1)) not in catalog]
    indent = max((len(one.use) for one in listed), default=0) + 4
    for package, version in dict.fromkeys((one.package, one.version) for one in listed):
        yield from ("", f"{package} {version}")
        for one in listed:
            if one.package == package:
                text = " ".join(filter(None, (one.summary, one.link)))
                yield from _wrapped(f"  {one.use:<{indent - 2}}{text}", width, indent)


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    lead = len(text) - len(text.lstrip(" "))
    return textwrap.wrap(
        text.strip(),
        width,
        initial_indent=" " * lead,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _parameters(family: str, name: str) -> list[Parameter]:
    """Return the parameters that a suite may set. Imports nothing unless a package has no source."""
    if family == "metrics":
        return []
    try:
        found = signature(resolve(family, name)).parameters
    except OptbenchError:  # an item of a package that fails: `check` reports it where it is used
        return []
    hidden = SUPPLIED.get(family, set()) | (_UNSHOWN if family == "optimizers" else set())
    shown = [p for p in found[family == "optimizers" :] if p.name not in hidden]
    return shown + [p for p in found if family == "models" and p.name in TABLE_SIZES]


def _argument(parameter: Parameter) -> str:
    """Return `width: 32`, with the other allowed words if there are any."""
    if parameter.name in TABLE_SIZES:
        return f"{parameter.name}: (of the data, or larger)"
    if parameter.required:
        return f"{parameter.name}: (required)"
    others = [str(word) for word in choices(parameter) if word != parameter.default]
    also = f" (or {', '.join(others)})" if others else ""
    return f"{parameter.name}: {as_yaml(parameter.default)}{also}"


def as_yaml(value: Any) -> str:
    """Return a default in the notation of a suite."""
    if value is UNKNOWN:
        return "(computed)"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return str(yaml.safe_dump(value, width=math.inf)).partition("\n")[0]
    return str(value)
