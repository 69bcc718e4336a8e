"""Traverse all objects reachable from an optimizer: attributes, containers, nested optimizers, hooks, closures.

Used to measure the memory of an optimizer's state and to compare a restored optimizer with the saved one.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import datetime
import enum
import functools
import gc
import mmap
import numbers
import pathlib
import random
import sys
import types
import weakref
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: labels from the root to an object, such as (".base", ".state", "[parameter 0]", "['exp_avg']")
Path = tuple[str, ...]

#: objects whose state is outside of their attributes
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
BUFFERS = (bytearray, memoryview, array, mmap.mmap, ctypes.Array)
#: prefix of the labels of class attributes, which all instances share
OF_CLASS = "__class__."
MAX_OBJECTS = 1_000_000
_DATES = (datetime.date, datetime.time, datetime.timedelta)
_CONSTANTS = (torch.dtype, torch.device, torch.layout, enum.Enum, pathlib.PurePath, range, slice, *_DATES)
PLAIN = (numbers.Number, str, bytes, type(None), np.generic, *_CONSTANTS)
_NEVER = (types.ModuleType, type, types.CodeType, types.FrameType, types.TracebackType, weakref.ref)
_DATA = (Tensor, np.ndarray, dict, list, set, collections.deque)
_SEQUENCES = (list, tuple, collections.deque, set, frozenset)
_DESCRIPTORS = (property, classmethod, staticmethod, types.FunctionType, types.MemberDescriptorType)
_SPARSE: dict[torch.layout, tuple[str, ...]] = {
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
}


class TooManyObjects(Exception):
    """The traversal was stopped after `MAX_OBJECTS` objects."""


def reachable(
    roots: Iterable[tuple[str, Any]], excluded: Collection[int] = (), names: Mapping[int, str] | None = None
) -> Iterator[tuple[Path, Any]]:
    """Yield each reachable object once, with the path to it, in an order that depends on names and keys only.

    Numbers, texts and tuples of them are yielded at each path. Skips objects whose `id` is in `excluded`, modules, classes and torch's
    internals. `names` maps the `id` of each parameter to its name in paths. Raises `TooManyObjects`.
    """
    names = names or {}
    visited: dict[int, Any] = {}  # keeps temporary objects alive, so that no `id` is reused
    stack: list[tuple[Path, Any]] = [((label,), root) for label, root in reversed(list(roots))]
    while stack:
        path, node = stack.pop()
        if id(node) in excluded or isinstance(node, _NEVER):
            continue
        if not (isinstance(node, PLAIN) or _is_plain_constant(node)):
            if id(node) in visited:
                continue
            visited[id(node)] = node
            if len(visited) > MAX_OBJECTS:
                raise TooManyObjects
        yield path, node
        if not isinstance(node, PLAIN):
            children = [((*path, label), child) for label, child in _children(node, names)]
            stack.extend(reversed(children))


def roots(optimizers: Iterable[Any], parameters: Iterable[Tensor]) -> list[tuple[str, Any]]:
    """Return the roots of the traversal: each optimizer, and what optimizers attach to parameters (attributes and hooks)."""
    attached = [
        (f"parameter {index}{name}", value)
        for index, parameter in enumerate(dict.fromkeys(parameters))
        for name, value in (
            *((f".{key}", value) for key, value in sorted(vars(parameter).items())),
            (".hooks", parameter._backward_hooks),
            (".hooks after accumulation", getattr(parameter, "_post_accumulate_grad_hooks", None)),
        )
        if value is not None
    ]
    return [*((f"optimizer {index}", member) for index, member in enumerate(optimizers)), *attached]


def format_path(path: Path) -> str:
    """Return a path in Python syntax, without its root."""
    return "".join(path[1:]).removeprefix(".") or "the optimizer"


def is_plain_sequence(node: Any) -> bool:
    """Return whether `node` is a list, tuple, deque or set of numbers and text only."""
    return isinstance(node, _SEQUENCES) and all(isinstance(item, PLAIN) for item in node)


def _is_plain_constant(node: Any) -> bool:
    """Return whether `node` is a sequence that cannot change: whether two paths lead to one such object makes no difference."""
    return isinstance(node, (tuple, frozenset)) and is_plain_sequence(node)


def parts_of(tensor: Tensor) -> list[tuple[str, Tensor]]:
    """Return the inner tensors of a sparse tensor or of a tensor subclass, by name; none of an ordinary tensor."""
    if tensor.layout in _SPARSE:
        return [(f".{name}()", getattr(tensor, name)()) for name in _SPARSE[tensor.layout]]
    if hasattr(type(tensor), "__tensor_flatten__"):
        inner = tensor.__tensor_flatten__()[0]  # type: ignore[attr-defined]
        parts = [(f".{name}", getattr(tensor, name)) for name in inner]
        return [(name, part) for name, part in parts if isinstance(part, Tensor)]  # else its devices
    return []


def _children(node: Any, names: Mapping[int, str]) -> Iterable[tuple[str, Any]]:
    if isinstance(node, Tensor):
        return _of_tensor(node)
    if isinstance(node, dict):
        return [*_of_dict(node, names), *_attributes(node)]
    if isinstance(node, _SEQUENCES):
        items = enumerate(node) if not is_plain_sequence(node) else ()
        return [*((f"[{index}]", item) for index, item in items), *_attributes(node)]
    if isinstance(node, np.ndarray):
        return [("[object]", list(node.flat))] if node.dtype.hasobject else []
    if isinstance(node, (*GENERATORS, *BUFFERS)) or _is_internal(node):
        return []
    for kind, children in _OF_CALLABLES.items():
        if isinstance(node, kind):
            return children(node)
    attributes = _attributes(node)
    hidden = (type(node).__dictoffset__ == 0 and not attributes) or _is_of_extension(node)
    return [*attributes, *_of_referents(node)] if hidden else attributes


def _of_tensor(tensor: Tensor) -> list[tuple[str, Any]]:
    if hasattr(type(tensor), "full_tensor"):  # split over devices: its attributes describe these
        return [*parts_of(tensor)]
    gradient = [(".grad", tensor.grad)] if tensor.is_leaf and tensor.grad is not None else []
    return [*parts_of(tensor), *gradient, *_attributes(tensor)]


def _of_dict(node: dict[Any, Any], names: Mapping[int, str]) -> list[tuple[str, Any]]:
    if "__builtins__" in node:  # the namespace of a module
        return []
    labelled = sorted(
        ((_label(key, names), key, value) for key, value in dict.items(node)), key=lambda item: item[0]
    )
    keys = [(f"{label} (key)", key) for label, key, _ in labelled if not isinstance(key, PLAIN)]
    return [*keys, *((label, value) for label, _, value in labelled)]


def _label(key: Any, names: Mapping[int, str]) -> str:
    if id(key) in names:
        return f"[{names[id(key)]}]"
    if isinstance(key, int) and key in names:
        return f"[id of {names[key]}]"
    if isinstance(key, PLAIN) or (isinstance(key, tuple) and is_plain_sequence(key)):
        return f"[{key!r}]"
    return f"[{type(key).__name__}]"


def _attributes(node: Any) -> list[tuple[str, Any]]:
    """Return the attributes of the object itself (`__dict__` and `__slots__`), and containers and tensors of its class."""
    instance: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    for cls in reversed(type(node).__mro__):
        if cls.__module__.partition(".")[0] in _QUIET:
            continue
        for name, value in vars(cls).items():
            if isinstance(value, _DATA) and not name.startswith("__"):
                shared[f".{OF_CLASS}{name}"] = value
            elif isinstance(value, types.MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # an unset slot
                    instance[f".{name}"] = value.__get__(node, cls)
    with contextlib.suppress(AttributeError):
        instance |= {f".{name}": value for name, value in object.__getattribute__(node, "__dict__").items()}
    return [*sorted(instance.items(), key=_by_label), *sorted(shared.items(), key=_by_label)]


def _by_label(item: tuple[str, Any]) -> str:
    return item[0]


def _of_function(node: types.FunctionType) -> list[tuple[str, Any]]:
    if _is_internal(node):
        return []
    cells = zip(node.__code__.co_freevars, node.__closure__ or (), strict=True)
    return [
        *((f".{name}", cell.cell_contents) for name, cell in cells if _is_filled(cell)),
        *((f".default {index}", value) for index, value in enumerate(node.__defaults__ or ())),
        *((f".default {name}", value) for name, value in sorted((node.__kwdefaults__ or {}).items())),
        *((f".{name}", value) for name, value in sorted(vars(node).items())),
    ]


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _of_partial(node: functools.partial[Any]) -> list[tuple[str, Any]]:
    return [(".func", node.func), (".args", node.args), (".keywords", node.keywords), *_attributes(node)]


def _of_generator(node: types.GeneratorType[Any, Any, Any]) -> list[tuple[str, Any]]:
    return sorted((f".{name}", v) for name, v in node.gi_frame.f_locals.items()) if node.gi_frame else []


_OF_CALLABLES: dict[type, Callable[[Any], list[tuple[str, Any]]]] = {
    types.MethodType: lambda node: [(".__func__", node.__func__), (".__self__", node.__self__)],
    types.BuiltinMethodType: lambda node: [(".__self__", node.__self__)],
    types.FunctionType: _of_function,
    functools.partial: _of_partial,
    types.GeneratorType: _of_generator,
}
_QUIET = frozenset(sys.stdlib_module_names) | {"builtins", "torch", "numpy", "optbench"}


_SERVICES = (
    "logging",
    "threading",
    "_thread",
    "io",
    "_io",
    "re",
    "asyncio",
    "concurrent",
    "socket",
    "subprocess",
)
_HEAP_TYPE = 1 << 9  # flag of classes defined in Python


def _is_of_extension(node: Any) -> bool:
    """Return whether some of the object's data are outside of Python, as in Cython classes."""
    return any(
        not cls.__flags__ & _HEAP_TYPE and cls.__module__.partition(".")[0] not in _QUIET
        for cls in type(node).__mro__
    )


def _is_internal(node: Any) -> bool:
    """Return whether `node` belongs to torch or optbench and is no optimizer, module or scheduler: its content is not state."""
    if isinstance(node, (torch.optim.Optimizer, nn.Module)) or hasattr(type(node), "param_groups"):
        return False
    module = node.__module__ if isinstance(node, types.FunctionType) else type(node).__module__
    if not isinstance(module, str) or module.startswith(("torch.optim", "optbench.catalog")):
        return False
    return module.partition(".")[0] in ("torch", "optbench", *_SERVICES)


def _of_referents(node: Any) -> list[tuple[str, Any]]:
    """Return the objects that an object of an extension module refers to, from the garbage collector."""
    referents = [item for item in gc.get_referents(node) if not isinstance(item, (*_NEVER, *_DESCRIPTORS))]
    return [(f".<{index}>", item) for index, item in enumerate(referents)]


def is_opaque(node: Any) -> bool:
    """Return whether `node` is an object of a library whose data cannot be reached from Python."""
    if type(node).__module__.partition(".")[0] in _QUIET or isinstance(node, _NEVER):
        return False
    return _is_of_extension(node) and not _of_referents(node) and not _attributes(node)
