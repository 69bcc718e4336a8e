"""Text for the outcomes of a row's trials, shared by tables, figures and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optbench.report.text import is_share

#: words for the outcomes that count as the worst (decision 9), including out of memory
WORST = "diverged or failed"
_WORDS = {
    "diverged": "diverged",
    "out_of_memory": "out of memory",
    "failed": "failed",
    "stopped": "stopped",
    "missing": "missing",
}


def status_text(row: Mapping[Any, Any]) -> str:
    """Return `completed`, `diverged` or `1 of 5 diverged, 1 of 5 missing`, of a row of `analysis.table.comparison`."""
    counts = {words: int(row[name]) for name, words in _WORDS.items() if row[name]}
    if not counts:
        return "completed"
    if counts == {"missing": row["planned"]}:
        return "not run"
    return _counted(counts, row["planned"])


def worst_text(row: Mapping[Any, Any]) -> str:
    """Return the same text for the trials that count as the worst outcome only; "" if there are none."""
    counts = {_WORDS[name]: int(row[name]) for name in ("diverged", "out_of_memory")}
    counts["failed"] = int(row["imputed"]) - sum(counts.values())  # others failed through the infrastructure
    return _counted({words: n for words, n in counts.items() if n}, row["planned"])


def worst_value_text(metric: str) -> str:
    """Return the value that a trial with the worst outcome counts as."""
    return (
        "0"
        if is_share(metric)
        else "the worst value that is possible, or that was measured if there is no limit"
    )


def _counted(counts: Mapping[str, int], planned: int) -> str:
    if len(counts) == 1 and planned in counts.values():
        return next(iter(counts))
    return ", ".join(f"{n} of {planned} {words}" for words, n in counts.items())
