"""Published tuning protocols: one YAML file each, with the keys that it sets and its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from optbench.errors import nearest

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Protocol:
    """A published protocol. `tuning` has the keys of `tuning:` that it sets; the suite may override each."""

    title: str
    source: str
    differs: str
    """How optbench differs from the publication."""
    tuning: dict[str, Any] = field(default_factory=dict)
    seeds: int | None = None
    """Number of seeds of the suite."""
    search_spaces: bool = True
    """Whether entries may have search spaces."""


def names() -> tuple[str, ...]:
    """Return the names of all protocols, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


@cache
def protocol(name: str) -> Protocol:
    """Return a protocol by the name of its file. Raises `ValueError` with the nearest name."""
    if name not in names():
        raise ValueError(f"no protocol '{name}'; {nearest(name, names())}")
    return Protocol(**yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))
