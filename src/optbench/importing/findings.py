"""Counts of problems in logs that were skipped or repaired."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Findings:
    """Count of each kind of problem, with the first file that had it."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def note(self, kind: str, example: str, times: int = 1) -> None:
        if times:
            self.counts[kind] += times
            self.examples.setdefault(kind, example)

    def lines(self) -> list[str]:
        return [f"{kind} ({count}; first: {self.examples[kind]})" for kind, count in self.counts.items()]


def short(path: Path, root: Path) -> str:
    """Return a path relative to the folder of the logs."""
    return str(path.relative_to(root))
