"""Resolve names in a suite to code. The folders are the registry; listing and describing items imports nothing.

A family's item is a catalog file, an entry point of group `optbench.<family>` (for packages that add items), an
import path (`torch.optim.SGD`), or a file beside the suite (`my_opt.py:MyOptimizer`; `my_data.py` alone is a module
with the family's functions, like a catalog file).
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points, packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from optbench.catalog import optimizer_packages, sources
from optbench.errors import OptbenchError, Problem, nearest
from optbench.suite.code_reference import file_and_name

#: family -> (noun for an item, the function of its module; "" if the item itself is called)
FAMILIES = {
    "models": ("model", "build"),
    "data": ("data set", "load"),
    "optimizers": ("optimizer", ""),
    "schedules": ("schedule", "multiplier"),
    "metrics": ("metric", "total"),
    "losses": ("loss", "build"),
    "tasks": ("task", ""),
    "initialisations": ("initialisation", "fill"),
}


@dataclass(frozen=True)
class Target:
    """The code that a name refers to, not yet imported."""

    family: str
    name: str
    """As the suite has it."""
    kind: Literal["catalog", "import", "file"]
    module: str
    """Dotted name of the module; empty for a file."""
    attribute: str
    """Dotted name inside the module; empty if the module itself is meant."""
    file: Path | None
    """The module's source; None where it has none."""


def names(family: str) -> dict[str, str]:
    """Return all short names of a family with their one-line descriptions, in alphabetical order."""
    described = {name: _summary(path) for name, path in items(family).items()}
    for name, point in _entry_points(family).items():
        described[name] = f"from {point.value}"
    return dict(sorted(described.items()))


def items(family: str) -> dict[str, Path]:
    """Return the files of the family's catalog items by name."""
    folder = Path(__file__).parent / family
    return dict(_items(folder, folder.stat().st_mtime_ns))


@lru_cache(maxsize=64)
def _items(folder: Path, changed: int) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}


def resolve(family: str, name: str, folder: str | Path = ".") -> Target:
    """Return the code that `name` refers to in a suite in `folder`. Imports nothing.

    Raises `OptbenchError` (without a place) for an unknown name, a missing file or a package that isn't installed.
    """
    if found := file_and_name(name):
        return _file_target(family, name, Path(folder), *found)
    points, files = _entry_points(family), items(family)
    if name in files:
        use = sources.constants(files[name]).get("USE")
        if isinstance(use, str):
            return _import_target(family, name, use)
        return Target(family, name, "catalog", f"optbench.catalog.{family}.{name}", "", files[name])
    if name in points:
        return _import_target(family, name, points[name].value.replace(":", "."))
    if "." in name:
        return _import_target(family, name, name)
    if module_hint := _hint_for_module(family, name, Path(folder)):
        raise OptbenchError(module_hint)
    hint = nearest(name, [*files, *points])
    is_known = name.lower() in map(str.lower, [*files, *points])
    if family == "optimizers" and not is_known and (installed_classes := optimizer_packages.named(name)):
        hint = f"installed packages have {', '.join(installed_classes)}"
    raise OptbenchError(f"unknown {FAMILIES[family][0]} '{name}'; {hint}")


def load(target: Target) -> Any:
    """Import and return the module, class or function.

    Raises `OptbenchError` with file and line if the import fails or the name does not exist.
    """
    module = _load_file(target.file) if target.kind == "file" and target.file else _import(target)
    found: Any = module
    for part in target.attribute.split(".") if target.attribute else ():
        if not hasattr(found, part):
            public = [known for known in dir(found) if not known.startswith("_")]
            raise OptbenchError(f"'{target.name}': {_origin(found)} has no '{part}'; {nearest(part, public)}")
        found = getattr(found, part)
    return found


def _hint_for_module(family: str, name: str, folder: Path) -> str:
    """Return the message for a name that is a module, or a file without its ending (`my_opt:MyOpt`); else empty."""
    file, colon, attribute = name.partition(":")
    if colon and (folder / f"{file}.py").is_file():
        return f"unknown {FAMILIES[family][0]} '{name}'; did you mean '{file}.py:{attribute}'?"
    if not FAMILIES[family][1] and sources.locate(name)[2] is not None:
        return f"'{name}' is a module; expected one of its names, as in '{name}.NAME'"
    return ""


def _summary(path: Path) -> str:
    doc = ast.get_docstring(sources.parse(path)) or ""
    return doc.split("\n", 1)[0].strip()


@cache
def _entry_points(family: str) -> dict[str, EntryPoint]:
    """Return the items of other packages. Raises `OptbenchError` if a name is ambiguous."""
    known = {name: f"the catalog's {path.name}" for name, path in items(family).items()}
    points = {}
    for point in installed().select(group=f"optbench.{family}"):
        if point.name in known:
            who = f"{point.value} ({point.dist.name if point.dist else 'unknown package'})"
            raise OptbenchError(
                f"two {FAMILIES[family][0]}s are named '{point.name}': {known[point.name]} and {who}"
            )
        known[point.name] = point.value
        points[point.name] = point
    return points


@cache
def installed() -> Any:  # of a type of its own until Python 3.12
    """Return the entry points of all packages, read once."""
    return entry_points()


@cache
def _module_names() -> tuple[str, ...]:
    """Return the modules of all packages, read once: it takes a second."""
    return tuple(packages_distributions())


def _file_target(family: str, name: str, folder: Path, file: str, attribute: str) -> Target:
    path = (folder / file).absolute()
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        hint = f"; {nearest(path.name, beside)}" if beside else ""
        raise OptbenchError(f"no file '{file}' in {folder.absolute()}{hint}")
    if not attribute and not FAMILIES[family][1]:
        raise OptbenchError(f"expected FILE:NAME, as in '{file}:MyOptimizer'; found '{name}'")
    return Target(family, name, "file", "", attribute, path)


def _import_target(family: str, name: str, dotted: str) -> Target:
    module, attribute, file = sources.locate(dotted)
    if not module:
        top = dotted.split(".")[0]
        close = get_close_matches(top, _module_names(), n=1, cutoff=0.8)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise OptbenchError(
            f"'{name}' cannot be found: the module '{top}' is not installed in this environment{hint}"
        )
    parent, _, last = module.rpartition(".")
    if not attribute and parent:  # `torchvision.models.alexnet` is a module and, in its package, a function
        _, _, above = sources.locate(parent)
        if above is not None and sources.define(parent, above, last) is not None:
            module, attribute, file = parent, last, above
    return Target(family, name, "import", module, attribute, file)


def _import(target: Target) -> ModuleType:
    try:
        return importlib.import_module(target.module)
    except (Exception, SystemExit) as error:
        place = (
            f" ({error.filename}, line {error.lineno})"
            if isinstance(error, SyntaxError) and error.filename
            else ""
        )
        raise OptbenchError(
            f"'{target.name}': importing {target.module} failed: {_error_text(error)}{place}"
        ) from error


def _load_file(path: Path) -> ModuleType:
    """Import a file under a unique name, so that no other module is shadowed and a changed file is a new module."""
    try:
        digest = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise OptbenchError(f"cannot be read: {error.strerror}", file=str(path)) from None
    name = f"optbench_file_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    neighbours = str(path.parent)
    sys.path.append(neighbours)  # last: a file may import its neighbours, as in a script, and shadows nothing
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise OptbenchError(
            f"fails when imported: {_error_text(error)}", file=str(path), line=line_of(error, path)
        ) from error
    finally:
        sys.path.remove(neighbours)
    return module


def raised(target: Target, error: BaseException, action: str) -> Problem:
    """Return the problem for an exception raised by a target's code in the call `action`, with the line in its file."""
    line = line_of(error, target.file) if target.file else None
    file = str(target.file) if line is not None else ""
    return Problem(f"{action} raises {_error_text(error)}", file=file, line=line)


def line_of(error: BaseException, path: Path) -> int | None:
    """Return the last line of a file in the traceback of an exception; None if it is not in it."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return frames[-1].lineno if frames else None


def _error_text(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _origin(found: Any) -> str:
    return str(getattr(found, "__file__", None) or getattr(found, "__name__", None) or type(found).__name__)
