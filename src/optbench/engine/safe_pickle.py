"""Save and read state without executing code: torch's `weights_only` reader with a list of additional types.

Allowed are value types of NumPy and of the standard library, torch's optimizers, modules and tensors, and classes of the
package or file that the optimizer itself comes from. Functions are never allowed.
"""

from __future__ import annotations

import collections
import copyreg
import pickle
import random
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_VALUES = ("collections", "datetime", "decimal", "fractions", "pathlib")
_BUILTINS = (
    int,
    float,
    complex,
    bool,
    str,
    bytes,
    bytearray,
    list,
    tuple,
    dict,
    set,
    frozenset,
    range,
    slice,
)
_OF_NUMPY = (
    *(np.generic, np.ndarray, np.dtype, np.random.Generator, np.random.RandomState),
    *(np.random.BitGenerator, np.random.SeedSequence),
)
#: the functions with which NumPy pickles arrays, scalars and generators
_FUNCTIONS_OF_NUMPY = (
    *("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer"),
    *("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor", "__pyx_unpickle_SeedSequence"),
)
#: classes whose objects are created by NumPy's functions, so that a checkpoint sets their state without naming them
_MADE_BY_NUMPY = [
    value
    for module in (np.dtypes, np.random)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, _OF_NUMPY)
]
_OF_TORCH = (Tensor, nn.Module, torch.optim.Optimizer, torch.Generator)


class NotAllowed(pickle.UnpicklingError):
    """The content refers to functions or classes that are not allowed in a checkpoint."""


def write(content: Any, file: Any, references: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Save as `torch.save` does, with deques and default dicts in a form that the reader accepts.

    For the objects in `references`, only the name is saved. Raises what pickling raises.
    """
    names = {id(item): name for name, item in references.items()}
    pickler = type("_PicklerOfReferences", (_Pickler,), {"names": names})
    torch.save(content, file, pickle_module=SimpleNamespace(**{**vars(pickle), "Pickler": pickler}))


def read(
    file: Path | BytesIO,
    packages: Collection[str] = (),
    place: Any = "cpu",
    references: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """Read what `write` wrote. Classes of `packages` (names of modules) are also allowed if they are already imported.

    `place` is torch's `map_location`. `references` maps the saved names to their objects. Raises `NotAllowed`, and whatever
    torch raises for damaged content.
    """
    required = torch.serialization.get_unsafe_globals_in_checkpoint(_rewound(file))
    resolved = {name: _resolved(name, packages) for name in required if name != _REFERENCE}
    if rejected := sorted(name for name, value in resolved.items() if value is None):
        raise NotAllowed(f"it contains {', '.join(rejected[:3])}")
    allowed: list[Any] = [*_MADE_BY_NUMPY, *((value, name) for name, value in resolved.items())]
    allowed.append((references.__getitem__, _REFERENCE))
    with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Validating sparse tensor")
        return torch.load(_rewound(file), map_location=place, weights_only=True)


def packages_of(objects: Iterable[Any]) -> frozenset[str]:
    """Return the packages that define the classes of `objects`, and those of classes that these packages import."""
    names: set[str] = set()
    for item in objects:
        for cls in type(item).__mro__:
            names |= {_top(cls.__module__), *_imported(cls.__module__)}
    return frozenset(name for name in names if not _is_shared(name))


def _rewound(file: Path | BytesIO) -> Any:
    if isinstance(file, BytesIO):
        file.seek(0)
    return file


def _top(module: str) -> str:
    return module.partition(".")[0]


def _is_shared(package: str) -> bool:
    """Return whether classes of this package are only allowed individually."""
    return package in sys.stdlib_module_names or package in ("builtins", "torch", "numpy", "optbench")


def _imported(module: str) -> set[str]:
    """Return the packages of the classes in the namespace of a plug-in's module."""
    if _is_shared(_top(module)) or module not in sys.modules:
        return set()
    return {_top(value.__module__) for value in vars(sys.modules[module]).values() if isinstance(value, type)}


def _resolved(name: str, packages: Collection[str]) -> Any:
    """Return the object of this dotted name if it may be read, else None."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:cut]))
        if module is not None:
            attribute: Any = module
            for part in parts[cut:]:
                attribute = getattr(attribute, part, None)
            return attribute if _is_allowed(name, attribute, packages) else None
    return None


def _is_allowed(name: str, item: Any, packages: Collection[str]) -> bool:
    package = _top(name)
    if not isinstance(item, type):
        return package == "numpy" and name.endswith(_FUNCTIONS_OF_NUMPY)
    if package in packages:
        return True
    if package == "numpy":
        return issubclass(item, _OF_NUMPY) and item is not np.memmap
    if package == "torch":
        return issubclass(item, _OF_TORCH)
    return package in _VALUES or item in (*_BUILTINS, random.Random, SimpleNamespace)


def reference(name: str) -> Any:
    """Return a placeholder for an object that `write` saved by name; `read` replaces it by the object."""
    raise NotAllowed(f"'{name}' can only be read with its object in `references`")


_REFERENCE = f"{reference.__module__}.{reference.__qualname__}"


class _Pickler(pickle.Pickler):
    names: Mapping[int, str] = MappingProxyType({})

    def reducer_override(self, obj: Any) -> Any:
        if id(obj) in self.names:
            return reference, (self.names[id(obj)],)
        if isinstance(obj, torch.optim.Optimizer):  # with all of its attributes
            return copyreg.__newobj__, (type(obj),), vars(obj)  # type: ignore[attr-defined]
        if type(obj) is collections.deque:
            return collections.deque, (list(obj), obj.maxlen)
        if type(obj) is collections.defaultdict:
            return collections.defaultdict, (obj.default_factory, dict(obj))
        return NotImplemented
