"""Saving and reading of state without executing code: torch's `weights_only` reader with a list of further types.

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
#: classes whose objects NumPy's own functions make, so that a checkpoint sets them up without naming them
_MADE_BY_NUMPY = [
    value
    for module in (np.dtypes, np.random)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, _OF_NUMPY)
]
_OF_TORCH = (Tensor, nn.Module, torch.optim.Optimizer, torch.Generator)


class NotAllowed(pickle.UnpicklingError):
    """The content refers to functions or classes that are not read from a checkpoint."""


def write(content: Any, file: Any, references: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Save as `torch.save` does; deques and default dicts in a form that the reader takes.

    Of the objects of `references` only the name is saved. Raises what pickling raises.
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
    """Read what `write` wrote. Classes of `packages` (names of modules) are allowed too if they are imported already.

    `place` is torch's `map_location`. `references` has the objects that were saved by name. Raises `NotAllowed`, and whatever
    torch raises for damaged content.
    """
    wanted = torch.serialization.get_unsafe_globals_in_checkpoint(_rewound(file))
    known = {name: _resolved(name, packages) for name in wanted if name != _REFERENCE}
    if refused := sorted(name for name, value in known.items() if value is None):
        raise NotAllowed(f"it contains {', '.join(refused[:3])}")
    allowed: list[Any] = [*_MADE_BY_NUMPY, *((value, name) for name, value in known.items())]
    allowed.append((references.__getitem__, _REFERENCE))
    with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Validating sparse tensor")
        return torch.load(_rewound(file), map_location=place, weights_only=True)


def packages_of(objects: Iterable[Any]) -> frozenset[str]:
    """Return the packages and files that the classes of `objects` come from, and classes that these import from others."""
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
    """Return whether classes of this package are allowed one by one only."""
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
            found: Any = module
            for part in parts[cut:]:
                found = getattr(found, part, None)
            return found if _is_allowed(name, found, packages) else None
    return None


def _is_allowed(name: str, found: Any, packages: Collection[str]) -> bool:
    package = _top(name)
    if not isinstance(found, type):
        return package == "numpy" and name.endswith(_FUNCTIONS_OF_NUMPY)
    if package in packages:
        return True
    if package == "numpy":
        return issubclass(found, _OF_NUMPY) and found is not np.memmap
    if package == "torch":
        return issubclass(found, _OF_TORCH)
    return package in _VALUES or found in (*_BUILTINS, random.Random, SimpleNamespace)


def reference(name: str) -> Any:
    """Stand for an object that `write` saved by name only; `read` puts the object itself there."""
    raise NotAllowed(f"'{name}' can be read with its object only")


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
