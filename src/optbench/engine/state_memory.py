"""Measure the bytes that optimizers keep between steps: everything reachable from them, not only their `state_dict` (rule 7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optbench.engine.reachable import (
    BUFFERS,
    PLAIN,
    Path,
    TooManyObjects,
    format_path,
    is_opaque,
    is_plain_sequence,
    parts_of,
    reachable,
    roots,
)
from optbench.errors import first_line

_STORAGES = (torch.UntypedStorage, torch.TypedStorage)
_IGNORED_NUMBERS = 100  # Python numbers besides the tensors, such as counts and norms per layer


@dataclass(frozen=True)
class StateMemory:
    """Size of optimizer state. `bytes` is a lower bound if `note` states what was not counted; None if nothing could be counted."""

    bytes: int | None
    note: str = ""

    def maximum(self, other: StateMemory) -> StateMemory:
        """Return the larger of two measurements of one run, with the note of either."""
        note = self.note or other.note
        known = [measured.bytes for measured in (self, other) if measured.bytes is not None]
        return StateMemory(max(known, default=None), note)


NOT_MEASURED = StateMemory(None)


def state_memory(
    optimizers: Iterable[Any],
    parameters: Sequence[Tensor],
    model: nn.Module | None = None,
    *,
    rows: bool = False,
) -> StateMemory:
    """Return the bytes of the distinct storages of all tensors and arrays reachable from the optimizers.

    Excludes scalars (0-d tensors, such as step counts) and what shares storage with parameters, their gradients or `model`, the
    trained model. `rows`: tensors are rows of larger ones, as in a stack, and only the rows are counted.
    Never raises an Exception: the note states what cannot be read.
    """
    try:
        return _measured(list(optimizers), parameters, model, rows)
    except Exception as error:
        # attributes and tensors of plug-ins may raise anything; a measurement must not end a trial
        return StateMemory(
            None, f"its size could not be read ({type(error).__name__}: {first_line(error)[:160]})"
        )


@dataclass
class _Count:
    """Sizes of storages by address, and what could not be counted."""

    rows: bool
    excluded: set[Any]  # addresses of parameters, gradients and the model's buffers
    sizes: dict[Any, int] = field(default_factory=dict)
    numbers: int = 0
    unknown: list[str] = field(default_factory=list)

    def add(self, path: Path, node: Any) -> None:
        """Count an object, found at `path`, without the objects that it contains."""
        if isinstance(node, Tensor):
            self._tensor(path, node)
        elif isinstance(node, _STORAGES):
            self._keep(node.data_ptr(), node.nbytes())
        elif isinstance(node, np.ndarray):
            if node.ndim and not node.dtype.hasobject:
                base = node
                while isinstance(base.base, np.ndarray):
                    base = base.base
                self._keep(base.__array_interface__["data"][0], base.nbytes)
        elif isinstance(node, BUFFERS):
            self._keep(id(node), memoryview(node).nbytes)
        elif is_plain_sequence(node):
            self.numbers += len(node)
        elif isinstance(node, dict):
            self.numbers += sum(isinstance(value, (int, float, complex)) for value in dict.values(node))
        elif not isinstance(node, PLAIN) and is_opaque(node):
            self._opaque(path, node)

    def _tensor(self, path: Path, tensor: Tensor) -> None:
        parts = parts_of(tensor)  # of a sparse tensor or a subclass: they are visited separately
        if tensor.dim() == 0 or parts:
            return
        try:
            if self.rows:
                self._keep(tensor.data_ptr(), tensor.numel() * tensor.element_size())
            else:
                storage = tensor.untyped_storage()
                self._keep(storage.data_ptr(), storage.nbytes())
        except Exception as error:
            self.unknown.append(
                f"a {type(tensor).__name__} at {format_path(path)} ({first_line(error)[:160]})"
            )

    def _opaque(self, path: Path, node: Any) -> None:
        size = getattr(node, "nbytes", None)
        if isinstance(size, int):
            self._keep(id(node), size)
        else:
            self.unknown.append(f"a {type(node).__qualname__} at {format_path(path)}")

    def _keep(self, address: Any, size: int) -> None:
        if address not in self.excluded:
            self.sizes[address] = max(size, self.sizes.get(address, 0))


def _measured(
    optimizers: list[Any], parameters: Sequence[Tensor], model: nn.Module | None, rows: bool
) -> StateMemory:
    models = list(model.modules()) if model is not None else []
    tensors = [*parameters, *(model.parameters() if model is not None else ())]
    not_state = [*tensors, *(p.grad for p in tensors if p.grad is not None)]
    not_state += model.buffers() if model is not None else ()
    count = _Count(rows, {address for tensor in not_state for address in _addresses(tensor, rows)})
    excluded = {id(item) for item in (*models, *not_state)}
    try:
        for path, node in reachable(roots(optimizers, tensors), excluded):
            count.add(path, node)
    except TooManyObjects:
        count.unknown.append("more objects than can be counted")
    ignored = max(_IGNORED_NUMBERS, sum(p.numel() for p in parameters) // 10)
    if count.numbers > ignored:
        count.unknown.append(f"{count.numbers} Python numbers")
    total = sum(count.sizes.values())
    result = StateMemory(total, f"not counted: {', '.join(count.unknown[:3])}" if count.unknown else "")
    return replace(result, bytes=None) if count.unknown and not total else result


def _addresses(tensor: Tensor, rows: bool) -> list[int]:
    inner = [part for _, part in parts_of(tensor)]
    if inner:
        return [address for part in inner for address in _addresses(part, rows)]
    return [tensor.data_ptr() if rows else tensor.untyped_storage().data_ptr()]
