"""Notes below the comparison table: one sentence per definition, only for what the table shows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from optbench.report.cells import (
    has_memory_range,
    none_worse,
    separates_entries,
    shown_units,
    shows_gradients,
    shows_interval,
    shows_memory,
)
from optbench.report.outcomes import WORST, worst_value_text
from optbench.report.text import clean, with_unit

_WEIGHTS = {"last": "the last weights", "best_validation": "the weights with the best validation metric"}


def notes(table: pd.DataFrame, *, imported: bool = False, tuned: str = "") -> Iterator[str]:
    """Yield the notes of `table`, the rows of the comparison of one block and target. `tuned`: how its entries were tuned."""
    if table["target"].iloc[0]:
        yield from _of_times(table)
    if shows_gradients(table):
        yield "Gradients: gradient evaluations, each a forward and a backward pass over the batch of a step."
    yield from _of_final(table)
    if shows_memory(table):
        over_seeds = "; the range over seeds where they differ" if has_memory_range(table) else ""
        yield f"Memory overhead: optimizer state as a multiple of the parameters' bytes{over_seeds}."
        yield from _of_unknown_memory(table)
    yield from _of_groups(table)
    if not imported:
        yield tuned or "Hyperparameters as configured: no entry was tuned."


def _of_times(table: pd.DataFrame) -> Iterator[str]:
    text = "To target: the first evaluation at which the target is met; Kaplan-Meier median over seeds"
    text += (
        " (midpoint of the middle two if their number is even)" if table["trials"].mod(2).eq(0).any() else ""
    )
    if shows_interval(table):
        text += "; in brackets its 95 % interval, extended to the previous evaluation"
    elif (table["reached"] > 1).any():
        text += "; in brackets the range over seeds (an interval needs 6 seeds)"
    yield text + "."
    if (table["reached"].gt(0) & table[f"{shown_units(table)[0]}_to_target"].isna()).any():
        yield "'>': at most half of the seeds reached the target within the budget."


def _of_final(table: pd.DataFrame) -> Iterator[str]:
    metric = with_unit(str(table["metric"].iloc[0]), str(table["metric_unit"].iloc[0]))
    estimand = str(table["estimand"].iloc[0])
    text = f"Final {metric}: on the test split, with {_WEIGHTS.get(estimand, estimand)}"
    if estimand == "last_validation":
        text = f"Final {metric}: on the validation split, at the last evaluation (the log has no test split)"
    if estimand == "last_train":
        text = f"Final {metric}: on the training split, at the last evaluation (the log has no other split)"
    several = table["final_metric_low"].notna().any()
    yield text + ("; mean over seeds ± half the 95 % t interval." if several else ".")
    if (table["imputed"].gt(0) & table["final_metric"].notna()).any():
        worst = worst_value_text(table)
        yield (
            f"†: trials that {WORST} count as {worst}, in means and in differences; such a mean has no interval "
            "and is not marked."
        )


def _of_unknown_memory(table: pd.DataFrame) -> Iterator[str]:
    columns = (table[name].tolist() for name in ("optimizer", "memory_overhead", "memory_note"))
    for optimizer, overhead, note in zip(*columns, strict=True):
        if note and note == note:
            known = "–" if math.isnan(overhead) else ">="
            yield f"{known}: the state of {clean(str(optimizer))} is only partly counted ({clean(note)})."


def _of_groups(table: pd.DataFrame) -> Iterator[str]:
    if len(table) < 2:
        return
    final, times = separates_entries(table, "best_group"), separates_entries(table, "fastest_group")
    if final or times:
        tests = [
            "paired t tests of the final metric" if final else "",
            "sign-flip tests of the times" if times else "",
        ]
        which = " and ".join(test for test in tests if test)
        yield (
            f"{{mark}}: not significantly worse than any other entry ({which}, Holm-adjusted over all pairs of entries at 5 %)."
        )
    if none_worse(table):
        yield (
            "No entry's final metric is significantly worse than another's (paired t tests, Holm-adjusted over all pairs of "
            "entries at 5 %)."
        )
