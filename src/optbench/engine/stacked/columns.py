"""Hyperparameters of stacked trials as columns, a row a trial, computed once a step and kept on the device while they don't change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

#: a number where all rows agree, else (rows,)
Column = float | Tensor


class Uploads:
    """Rows of numbers on the device, for as long as they don't change: a learning rate that is constant goes there once."""

    def __init__(self) -> None:
        self._before: dict[tuple[Any, ...], Tensor] = {}
        self._now: dict[tuple[Any, ...], Tensor] = {}

    def next_step(self) -> None:
        """Forget what the last step did not use."""
        self._before, self._now = self._now, {}

    def get(self, numbers: Sequence[float], like: Tensor) -> Tensor:
        """(rows,); the device is not waited for."""
        key = (like.dtype, like.device, *numbers)
        made = self._now.get(key)
        if made is None:
            made = self._before.get(key)
        if made is None:
            pinned = like.device.type == "cuda"
            host = torch.tensor(numbers, dtype=like.dtype, pin_memory=pinned)
            made = host.to(like.device, non_blocking=True)
        self._now[key] = made
        return made


class Hyper:
    """The rows' hyperparameters of one group in one step, as columns that broadcast over (rows, *shape)."""

    def __init__(self, groups: Sequence[Mapping[str, Any]], uploads: Uploads) -> None:
        self.groups, self.uploads = groups, uploads
        self._known: dict[tuple[str, torch.dtype], Column] = {}

    def flag(self, name: str) -> bool:
        return bool(self.groups[0].get(name))

    def numbers(self, name: str, index: int | None = None) -> list[float]:
        return [float(g[name] if index is None else g[name][index]) for g in self.groups]

    def any(self, name: str) -> bool:
        return any(group[name] for group in self.groups)

    def column(self, name: str, numbers: Callable[[], Sequence[float]], like: Tensor) -> Column:
        """One number if all rows have the same, else (rows, 1, ...) on the device of `like`. `name` stands for these numbers: they
        are computed for the first parameter of the group and used for all."""
        key = (name, like.dtype)
        if key not in self._known:
            found = numbers()
            same = all(number == found[0] for number in found)
            self._known[key] = found[0] if same else self.uploads.get(found, like)
        made = self._known[key]
        return made.view(-1, *[1] * (like.dim() - 1)) if isinstance(made, Tensor) else made
