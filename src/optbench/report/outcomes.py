"""Text for the outcomes of a row's trials, shared by tables, figures and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optbench.report.text import in_percent, number

if TYPE_CHECKING:
    import pandas as pd

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


def worst_value_text(table: pd.DataFrame) -> str:
    """Return the value that trials with the worst outcome count as, from the columns of a frame."""
    values = set(table["worst_value"].dropna())
    if len(values) == 1 and table["worst_value"].notna().all():
        value = values.pop()
        return f"{100 * value:g} %" if value and in_percent(table.iloc[0]) else number(value)
    return "the worst value that is possible, or that was measured if there is no limit"


def _counted(counts: Mapping[str, int], planned: int) -> str:
    if len(counts) == 1 and planned in counts.values():
        return next(iter(counts))
    return ", ".join(f"{n} of {planned} {words}" for words, n in counts.items())
