"""Read the arguments of a model, data set or optimizer from its source; import it only if the source is not enough."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.catalog import lookup, sources
from optbench.catalog.lookup import FAMILIES, Target
from optbench.catalog.sources import Definition, Function
from optbench.errors import OptbenchError, nearest

if TYPE_CHECKING:
    from optbench.suite.types import Component

#: a default that is not a literal
UNKNOWN = object()
_MAX_DEPTH = 8
_imports_optimizers = ContextVar("imports_optimizers", default=True)


@dataclass(frozen=True)
class Parameter:
    """A named parameter. `default` is `UNKNOWN` if it is computed, and has no meaning if `required`."""

    name: str
    required: bool
    default: Any = UNKNOWN
    annotation: str = ""
    is_called: bool = False
    """Whether the function calls it, as constructors do with a class that they are given."""


@dataclass(frozen=True)
class Signature:
    """Named parameters in order, without `self` and `cls`. `accepts_any`: other names are passed on to unknown code."""

    parameters: tuple[Parameter, ...]
    accepts_any: bool = False
    file: str = ""
    line: int | None = None
    is_class: bool = field(default=True, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)


def signature(target: Target) -> Signature:
    """Return the signature of the class or function, or of the function that its module provides.

    `**kwargs` that are passed on are followed (`resnet50(**kwargs)` takes the arguments of `ResNet`). Raises `OptbenchError` if
    the name does not exist, or if the module had to be imported and its import failed.
    """
    is_of_torch = target.module.partition(".")[0] in ("torch", "optbench")
    imports = target.family != "optimizers" or is_of_torch or _imports_optimizers.get()
    return _signature(target, sources.changed(target.file), imports)


@contextmanager
def without_imports() -> Iterator[None]:
    """Disable the import of optimizer classes outside of torch: if the source is not sufficient, any arguments are accepted."""
    token = _imports_optimizers.set(False)
    try:
        yield
    finally:
        _imports_optimizers.reset(token)


@lru_cache(maxsize=1024)
def _signature(target: Target, changed: int, imports: bool) -> Signature:
    """Return the signature; cached, since all combinations of a suite's axes request it."""
    name = target.attribute or FAMILIES[target.family][1]
    found = None
    if target.file is not None and name and "." not in name:
        found = sources.define(target.module, target.file, name)
        if (
            found is not None
            and (static := _method_signature(found, target.family) or _definition_signature(found, 0))
            is not None
        ):
            return static
        public = sources.public_names(target.file)
        if found is None and public is not None and name not in public:
            raise OptbenchError(_no_such_name(target, name, public))
    return _signature_by_import(target) if imports else Signature((), True)


def _no_such_name(target: Target, name: str, public: list[str]) -> str:
    where = target.module or (target.file.name if target.file else "")
    return f"'{target.name}': {where} has no '{name}'; {nearest(name, public)}"


def _method_signature(found: Definition, family: str) -> Signature | None:
    """Return the signature of the family's function if a class provides it as a method (`load` of a data set)."""
    name = FAMILIES[family][1]
    method = method_of(found, name) if name else None
    if method is None:
        return None
    parameters = [p for p in parameters_of(method[1]) if p.name not in ("self", "cls")]
    return Signature(tuple(parameters), False, str(found.file), found.node.lineno)


def _definition_signature(found: Definition, depth: int) -> Signature | None:
    """Return the signature; None if the source is not sufficient (generated constructors, unknown base classes)."""
    if isinstance(found.node, ast.ClassDef):
        method = method_of(found, "__init__")
        if method is None:
            return None
        owner, function = method
        parameters = parameters_of(function)[1:]
    else:
        owner, function = found, found.node
        parameters = parameters_of(function)
    more, is_open = _forwarded_parameters(owner, function, found, depth)
    known = {parameter.name for parameter in parameters}
    parameters += [parameter for parameter in more if parameter.name not in known]
    is_class = isinstance(found.node, ast.ClassDef)
    return Signature(tuple(parameters), is_open, str(found.file), found.node.lineno, is_class)


def parameters_of(function: Function) -> list[Parameter]:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [*zip(positional, [*defaults, *arguments.defaults], strict=True)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    called = {
        node.func.id
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return [
        Parameter(
            argument.arg,
            default is None,
            UNKNOWN if default is None else _literal(default),
            ast.unparse(argument.annotation) if argument.annotation else "",
            argument.arg in called,
        )
        for argument, default in pairs
    ]


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


def method_of(found: Definition, name: str, depth: int = 0) -> tuple[Definition, Function] | None:
    """Return a method with the class that defines it: the class itself, else its bases from left to right."""
    if not isinstance(found.node, ast.ClassDef) or depth > _MAX_DEPTH:
        return None
    own = [
        node
        for node in found.node.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name == name
        and not any(ast.unparse(d).endswith("overload") for d in node.decorator_list)
    ]
    if own:
        return found, own[-1]
    if name == "__init__" and found.node.decorator_list:
        return None  # a dataclass or similar
    for base in found.node.bases:
        if (definition := sources.follow(base, found.module, found.file)) is not None:
            if (method := method_of(definition, name, depth + 1)) is not None:
                return method
        elif name == "__init__":
            return None  # a base class that cannot be located may define the constructor
    return None


def _forwarded_parameters(
    owner: Definition, function: Function, found: Definition, depth: int
) -> tuple[list[Parameter], bool]:
    """Return the parameters that receive `**kwargs`, and whether some are passed on to unknown code."""
    rest = function.args.kwarg
    if rest is None:
        return [], False
    calls = list(_calls_forwarding(function, rest.arg))
    parameters = [Parameter(name, False) for name in _names_read_from(function, rest.arg)]
    is_open = not calls and not isinstance(found.node, ast.ClassDef)
    for call in calls:
        called = _signature_of_call(call, owner, depth)
        if called is None or any(isinstance(argument, ast.Starred) for argument in call.args):
            is_open = True
            continue
        given = {keyword.arg for keyword in call.keywords}
        left = called.parameters[len(call.args) :]
        parameters += [Parameter(p.name, False, p.default, p.annotation) for p in left if p.name not in given]
        is_open = is_open or called.accepts_any
    return parameters, is_open


def _names_read_from(function: Function, rest: str) -> Iterator[str]:
    """Return names that the body reads from `**kwargs`: `kwargs.pop("image_size", 224)`."""
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in (f"{rest}.pop", f"{rest}.get")
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            yield node.args[0].value


def _calls_forwarding(function: Function, rest: str) -> Iterator[ast.Call]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and any(
            keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == rest
            for keyword in node.keywords
        ):
            yield node


def _signature_of_call(call: ast.Call, owner: Definition, depth: int) -> Signature | None:
    if depth > _MAX_DEPTH:
        return None
    is_super = (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "__init__"
        and isinstance(call.func.value, ast.Call)
        and ast.unparse(call.func.value.func) == "super"
    )
    if is_super and isinstance(owner.node, ast.ClassDef):
        bases = [sources.follow(base, owner.module, owner.file) for base in owner.node.bases]
        definition = next((base for base in bases if base is not None), None)
    else:
        definition = sources.follow(call.func, owner.module, owner.file)
    return _definition_signature(definition, depth + 1) if definition else None


def _signature_by_import(target: Target) -> Signature:
    """Import the target and return the signature reported by `inspect`."""
    found = lookup.load(target)
    if inspect.ismodule(found):
        function = FAMILIES[target.family][1]
        if not hasattr(found, function):
            raise OptbenchError(
                f"'{target.name}' is a module without '{function}'"
                if function
                else f"'{target.name}' is a module"
            )
        found = getattr(found, function)
    if not callable(found):
        raise OptbenchError(f"'{target.name}' is {type(found).__name__}; expected a class or function")
    try:
        read = inspect.signature(found)
    except (TypeError, ValueError):
        return Signature((), True)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = tuple(
        Parameter(p.name, p.default is p.empty, UNKNOWN if p.default is p.empty else p.default)
        for p in read.parameters.values()
        if p.kind in (*named, inspect.Parameter.POSITIONAL_ONLY)
    )
    is_open = any(p.kind is p.VAR_KEYWORD for p in read.parameters.values())
    return Signature(parameters, is_open and not inspect.isclass(found), is_class=inspect.isclass(found))


def asks_for_sparse_gradients(model: Component, folder: Path) -> bool:
    """Return whether a model has embeddings with sparse gradients, as far as its source shows.

    These are models with an argument `sparse` that is true, written or by default, and models in files that create embeddings with
    `sparse=True`. Raises `OptbenchError` for an unknown model.
    """
    target = lookup.resolve("models", model.name, folder)
    read = signature(target)
    if "sparse" in read.names:
        return model.arguments.get("sparse", read["sparse"].default) is True
    name = target.attribute or FAMILIES["models"][1]
    definition = sources.define(target.module, target.file, name) if target.file is not None else None
    return definition is not None and any(map(_creates_sparse_embedding, sources.reachable(definition)))


def _creates_sparse_embedding(node: ast.AST) -> bool:
    """Return whether a node is a call such as `nn.Embedding(..., sparse=True)`."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func).rpartition(".")[2].lower()
    return name.startswith("embedding") and any(
        key.arg == "sparse" and isinstance(key.value, ast.Constant) and key.value.value is True
        for key in node.keywords
    )
