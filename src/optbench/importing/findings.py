"""Count what was left out or worked around in logs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Findings:
    """How often each kind of trouble occurred, and the first file that had it."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def note(self, kind: str, example: str, times: int = 1) -> None:
        if times:
            self.counts[kind] += times
            self.examples.setdefault(kind, example)

    def lines(self) -> list[str]:
        return [f"{kind} ({count}; first: {self.examples[kind]})" for kind, count in self.counts.items()]


def short(path: Path, root: Path) -> str:
    """How findings name a file: from where the logs are."""
    return str(path.relative_to(root))
