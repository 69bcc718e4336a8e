"""Hyperparameters of stacked trials as columns, one row per trial: computed once per step, uploaded only when they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

#: a number if all rows have the same value, else a tensor (rows,)
Column = float | Tensor


class Uploads:
    """Cache of columns on the device: a constant learning rate is uploaded once."""

    def __init__(self) -> None:
        self._last_step: dict[tuple[Any, ...], Tensor] = {}
        self._this_step: dict[tuple[Any, ...], Tensor] = {}

    def next_step(self) -> None:
        """Start a step; drop the columns that the last step did not use."""
        self._last_step, self._this_step = self._this_step, {}

    def get(self, numbers: Sequence[float], like: Tensor) -> Tensor:
        """Return the numbers as a tensor (rows,) with the type and device of `like`, without synchronising the device."""
        key = (like.dtype, like.device, *numbers)
        column = self._this_step.get(key)
        if column is None:
            column = self._last_step.get(key)
        if column is None:
            pinned = like.device.type == "cuda"
            host = torch.tensor(numbers, dtype=like.dtype, pin_memory=pinned)
            column = host.to(like.device, non_blocking=True)
        self._this_step[key] = column
        return column


class GroupHyperparameters:
    """Hyperparameters of one parameter group in one step, as columns that broadcast over (rows, *shape)."""

    def __init__(self, groups: Sequence[Mapping[str, Any]], uploads: Uploads) -> None:
        self.groups, self.uploads = groups, uploads
        self._columns: dict[tuple[str, torch.dtype], Column] = {}

    def flag(self, name: str) -> bool:
        """Return a hyperparameter that selects equations, which is equal for all rows."""
        return bool(self.groups[0].get(name))

    def numbers(self, name: str, index: int | None = None) -> list[float]:
        """Return a hyperparameter of each row, or one item of it, such as the second of `betas`."""
        return [float(g[name] if index is None else g[name][index]) for g in self.groups]

    def any(self, name: str) -> bool:
        """Return whether a hyperparameter differs from 0 in some row."""
        return any(group[name] for group in self.groups)

    def value(self, name: str, like: Tensor) -> Column:
        """Return a hyperparameter as a column; see `column`."""
        return self.column(name, lambda: self.numbers(name), like)

    def column(self, name: str, numbers: Callable[[], Sequence[float]], like: Tensor) -> Column:
        """Return one number if all rows have the same, else a tensor (rows, 1, ...) on the device of `like`.

        `name` is the cache key: `numbers` is called for the first parameter of the group only.
        """
        key = (name, like.dtype)
        if key not in self._columns:
            values = numbers()
            same = all(value == values[0] for value in values)
            self._columns[key] = values[0] if same else self.uploads.get(values, like)
        column = self._columns[key]
        return column.view(-1, *[1] * (like.dim() - 1)) if isinstance(column, Tensor) else column
