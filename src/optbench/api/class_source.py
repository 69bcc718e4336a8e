"""References to optimizer classes and factories, for suites. A class that no module holds is copied to a file with its source."""

from __future__ import annotations

import ast
import importlib
import inspect
import linecache
import os
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from symtable import SymbolTable, symtable
from types import FunctionType, ModuleType
from typing import Any

from optbench.errors import OptbenchError
from optbench.store.files import make_folder, write_whole
from optbench.suite.value_formatting import describe

Definition = type | FunctionType
_CONSTANTS = (int, float, str, bool, type(None))


def reference_to(given: Callable[..., Any], folder: Path) -> str:
    """Return the text by which a suite names a class or function: an import path, or a file that is written to `folder`.

    Raises `OptbenchError` if it can neither be imported nor be copied.
    """
    name = getattr(given, "__qualname__", "")
    if _is_importable(given):
        return f"{given.__module__}.{name}"
    if not isinstance(given, (type, FunctionType)):
        raise OptbenchError(
            f"expected a class, a function or a name, such as torch.optim.SGD; found {describe(given)}"
        )
    if name.endswith("<lambda>"):
        raise OptbenchError(
            "a lambda cannot be used in other processes: write it as a function (def) at the top level of the script or in a cell"
        )
    if "." in name:
        raise _cannot_copy(name, "it is defined inside a function or class")
    text = _module_text(given)
    path = folder / f"{name.lower()}.py"
    make_folder(folder)
    write_whole(path, text)
    return f"{_relative(path)}:{name}"


def _is_importable(given: Any) -> bool:
    """Return whether another process can import it: not from a notebook, a script, or a module on the path of this process only."""
    module, name = getattr(given, "__module__", "__main__"), getattr(given, "__qualname__", "")
    if module == "__main__" or "<" in name or module not in sys.modules:
        return False
    if getattr(sys.modules[module], "__spec__", None) is None:
        return False
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is given


def _relative(path: Path) -> str:
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return os.path.relpath(path)


def _cannot_copy(name: str, reason: str) -> OptbenchError:
    in_file = f"my_opt.py:{name.rpartition('.')[2]}"
    return OptbenchError(
        f"`{name}` cannot be used in other processes: {reason}. Put it into a file, for example my_opt.py, and pass '{in_file}'"
    )


def _module_text(given: Definition) -> str:
    """Return the text of a module with the definition, and with the imports, constants and definitions that it uses."""
    copied = _Copied()
    copied.add(given)
    head = f'"""Copied by optbench from the notebook or script that defines `{given.__qualname__}`."""\n\n'
    imports = "".join(f"{line}\n" for line in sorted(copied.imports.values()))
    constants = "".join(f"{line}\n" for line in copied.constants)
    return head + imports + constants + "\n\n" + "\n\n\n".join(copied.definitions.values()) + "\n"


@dataclass
class _Copied:
    """What the module is made of; a definition comes after those that it uses."""

    imports: dict[str, str] = field(default_factory=dict)  # by name
    constants: dict[str, None] = field(default_factory=dict)  # lines
    definitions: dict[str, str] = field(default_factory=dict)
    _started: set[str] = field(default_factory=set)

    def add(self, given: Definition) -> None:
        self._started.add(given.__qualname__)
        source = _source(given)
        scope = _globals(given)
        for used in sorted(_global_names(symtable(source, "<copied>", "exec"))):
            if used in scope and used not in self._started:
                self._add_used(used, scope[used], given)
        self.definitions[given.__qualname__] = source

    def _add_used(self, used: str, value: Any, given: Definition) -> None:
        if isinstance(value, ModuleType):
            self.imports[used] = f"import {value.__name__}" + (
                f" as {used}" if used != value.__name__ else ""
            )
        elif isinstance(value, (type, FunctionType)) and value.__module__ == given.__module__:
            if value.__qualname__ != used:
                raise _cannot_copy(
                    given.__qualname__, f"it uses `{used}`, another name of `{value.__qualname__}`"
                )
            self.add(value)
        elif _is_importable(value):
            alias = f" as {used}" if used != value.__qualname__ else ""
            self.imports[used] = f"from {value.__module__} import {value.__qualname__}{alias}"
        elif isinstance(value, _CONSTANTS):
            self.constants[f"{used} = {value!r}"] = None
        else:
            reason = f"it uses `{used}`, a {type(value).__name__} that cannot be copied"
            raise _cannot_copy(given.__qualname__, reason)


def _globals(given: Definition) -> dict[str, Any]:
    if isinstance(given, FunctionType):
        return given.__globals__
    module = sys.modules.get(given.__module__)
    if getattr(module, given.__qualname__, None) is given:
        return vars(module)
    return next((method.__globals__ for method in _methods(given)), {})


def _methods(given: type) -> list[FunctionType]:
    """Return the functions of a class that its own module defines."""
    return [
        value
        for value in vars(given).values()
        if isinstance(value, FunctionType) and value.__module__ == given.__module__
    ]


def _files(given: type) -> list[str]:
    """Return the files that may define a class. Cells of a notebook are files of `linecache` only; the last one is searched first."""
    files = [method.__code__.co_filename for method in _methods(given)]
    files += filter(None, [getattr(sys.modules.get(given.__module__), "__file__", None)])
    if given.__module__ == "__main__":
        files += [file for file in reversed(linecache.cache) if not os.path.exists(file)]
    return list(dict.fromkeys(files))


def _global_names(table: SymbolTable) -> set[str]:
    """Return the global names that the source uses."""
    top = table.get_type() == "module"
    names = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or (top and not symbol.is_assigned()))
    }
    return names.union(*(_global_names(child) for child in table.get_children()))


def _source(given: Definition) -> str:
    """Return the source of a class or function. Cells of a notebook are files of `linecache`."""
    try:
        if isinstance(given, FunctionType):
            return textwrap.dedent(inspect.getsource(given))
        for file in _files(given):
            text = "".join(linecache.getlines(file))
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef) and node.name == given.__name__:
                    return textwrap.dedent(ast.get_source_segment(text, node, padded=True) or "")
    except (OSError, TypeError, SyntaxError):
        pass
    raise _cannot_copy(given.__qualname__, "its source is not available")
