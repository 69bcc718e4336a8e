"""Read Python source without importing it: locate modules and the definitions of names."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef
_MAX_HOPS = 25  # re-exports followed from one name


@dataclass(frozen=True)
class Definition:
    """A class or function and the module that defines it (empty name for a file that is no module)."""

    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    module: str
    file: Path


def changed(path: Path | None) -> int:
    """Return the modification time of a file in nanoseconds, 0 if unknown: the key of cached results."""
    try:
        return path.stat().st_mtime_ns if path is not None else 0
    except OSError:
        return 0


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file; an empty one if it cannot be read or parsed (its import will report the error)."""
    try:
        return _parse(path, path.stat().st_mtime_ns)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return ast.Module(body=[], type_ignores=[])


@lru_cache(maxsize=256)
def _parse(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_bytes())


def constants(path: Path) -> dict[str, Any]:
    """Return module-level assignments `NAME = literal` and `A, B = literal, literal`."""
    return literals(parse(path).body)


def literals(body: Sequence[ast.stmt]) -> dict[str, Any]:
    """Return such assignments among any statements, for example of a class."""
    found: dict[str, Any] = {}
    for node in body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                found[target.id] = value
            elif isinstance(target, ast.Tuple) and isinstance(value, tuple):
                names = [item.id for item in target.elts if isinstance(item, ast.Name)]
                found |= dict(zip(names, value, strict=False))
    return found


def locate(dotted: str) -> tuple[str, str, Path | None]:
    """Return module, remaining name and file: `torch.optim.SGD` -> ("torch.optim", "SGD", file). The longest prefix that is a module.

    The file is None for modules without source; the module is "" if it is not installed.
    """
    parts = dotted.split(".")
    if not all(part.isidentifier() for part in parts):
        return "", dotted, None
    spec = _spec(parts[0], tuple(sys.path))
    if spec is None:
        return "", dotted, None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    file = Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    known = 1
    for part in parts[1:]:
        inside = next((found for folder in folders if (found := _inside(folder, part))), None)
        if inside is None:
            break
        file, folders = inside
        known += 1
    return ".".join(parts[:known]), ".".join(parts[known:]), file


@lru_cache(maxsize=64)
def _spec(name: str, _path: tuple[str, ...]) -> ModuleSpec | None:
    """Return the location of a top-level module on the current path."""
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _inside(folder: Path, part: str) -> tuple[Path | None, list[Path]] | None:
    if (folder / part / "__init__.py").is_file():
        return folder / part / "__init__.py", [folder / part]
    if (folder / f"{part}.py").is_file():
        return folder / f"{part}.py", []
    if next(folder.glob(f"{part}.*.so"), None) or next(folder.glob(f"{part}.pyd"), None):
        return None, []
    return None


def define(module: str, file: Path, name: str, hops: int = 0) -> Definition | None:
    """Return the class or function `name` of a file, following `from x import y` to other files; None if unclear."""
    if hops > _MAX_HOPS:
        return None
    found: Definition | None = None
    stars: list[ast.ImportFrom] = []
    for node in statements(parse(file)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            if not _is_overload(node):
                found = Definition(node, module, file)
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, module, file)
            for alias in node.names:
                if alias.name == "*":
                    stars.append(node)
                elif (alias.asname or alias.name) == name and source:
                    found = define_dotted(f"{source}.{alias.name}", hops + 1) or found
        elif isinstance(node, ast.Assign) and _assigns(node, name):
            found = follow(node.value, module, file, hops + 1) or found
    for star in stars if found is None and not name.startswith("_") else ():
        source = absolute(star, module, file)
        found = found or (define_dotted(f"{source}.{name}", hops + 1) if source else None)
    return found


def define_dotted(dotted: str, hops: int = 0) -> Definition | None:
    """Return the definition at an absolute dotted path; None if unclear."""
    module, attribute, file = locate(dotted)
    if file is None or not attribute or "." in attribute:
        return None
    return define(module, file, attribute, hops)


def follow(expression: ast.expr, module: str, file: Path, hops: int = 0) -> Definition | None:
    """Return the definition that an expression such as `SGD` or `torch.optim.SGD` refers to in a file."""
    parts: list[str] = []
    while isinstance(expression, ast.Attribute):
        parts.insert(0, expression.attr)
        expression = expression.value
    if not isinstance(expression, ast.Name) or hops > _MAX_HOPS:
        return None
    if not parts:
        return define(module, file, expression.id, hops + 1)
    root = _imported(expression.id, module, file)
    return define_dotted(".".join([root, *parts]), hops + 1) if root else None


def reachable(definition: Definition) -> Iterator[ast.AST]:
    """Yield the nodes of a class or function, and of all that it names in the same file."""
    waiting, known = [definition], {definition.node.name}
    while waiting:
        for node in ast.walk(waiting.pop().node):
            yield node
            if isinstance(node, ast.Name) and node.id not in known:
                known.add(node.id)
                named = define(definition.module, definition.file, node.id)
                if named is not None and named.file == definition.file:
                    waiting.append(named)


def public_names(file: Path) -> list[str] | None:
    """Return the names that a module defines or imports; None if this cannot be determined without running it."""
    names: set[str] = set()
    for node in statements(parse(file)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            names.add("*")  # for example globals().update(...)
    if names & {"*", "__getattr__"} or not names:
        return None
    return sorted(name for name in names if not name.startswith("_"))


def statements(tree: ast.Module | ast.stmt) -> Iterator[ast.stmt]:
    """Yield module-level statements, including those inside `if`, `try` and `with`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, (ast.If, ast.Try, ast.With)):
            yield from statements(child)
        elif isinstance(child, ast.ExceptHandler):
            yield from child.body
        elif isinstance(child, ast.stmt):
            yield child


def _assigns(node: ast.Assign, name: str) -> bool:
    """Return whether a statement is `Name = Other`, an alias."""
    return isinstance(node.value, (ast.Name, ast.Attribute)) and any(
        isinstance(target, ast.Name) and target.id == name for target in node.targets
    )


def _is_overload(node: ast.ClassDef | Function) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def absolute(node: ast.ImportFrom, module: str, file: Path) -> str:
    """Return the module of `from ..x import y`; "" for a relative import outside of a package."""
    if node.level == 0:
        return node.module or ""
    parts = module.split(".") if module else []
    up = node.level - (1 if file.name == "__init__.py" else 0)
    if not parts or up >= len(parts) + (1 if file.name == "__init__.py" else 0):
        return ""
    base = parts[: len(parts) - up]
    return ".".join([*base, node.module] if node.module else base)


def _imported(name: str, module: str, file: Path) -> str:
    """Return the dotted path from which a file imports a name."""
    for node in statements(parse(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname == name:
                    return alias.name
                if alias.asname is None and alias.name.split(".")[0] == name:
                    return name
        elif isinstance(node, ast.ImportFrom) and (source := absolute(node, module, file)):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{source}.{alias.name}"
    return ""
