"""Gates for continuous integration: thresholds on changes. A gate never passes because nothing was compared.

An entry fails a gate if the data show that its change is past the threshold: the near bound of the 95 % interval lies beyond it
(one-sided p below 0.025, Holm-adjusted over the entries that the gate judges). It is inconclusive if the estimate is past the
threshold and the interval is not; it is not judged where there is nothing to judge by, which counts as failing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from optbench.analysis.changes import Compared
from optbench.analysis.intervals import holm

#: one-sided level: that of the near bound of a two-sided 95 % interval
LEVEL = 0.025
Outcome = Literal["passed", "inconclusive", "failed", "not judged"]
Kind = Literal["slower", "worse", "more memory"]

#: the quantities of each gate: the first that an entry has is compared (all of them for memory)
_QUANTITIES: dict[Kind, tuple[str, ...]] = {
    "slower": ("seconds_per_epoch", "seconds_per_step"),
    "worse": ("final_metric",),
    "more memory": ("state_bytes", "step_peak_bytes", "peak_memory_bytes"),
}


@dataclass(frozen=True)
class Gate:
    """`threshold`: a ratio minus 1 (0.05: 5 %) for time and memory, in the metric's own unit for the final metric."""

    kind: Kind
    threshold: float


@dataclass(frozen=True)
class Judgement:
    """`why` is the reason why nothing was judged; `quantity` is empty where no value exists."""

    gate: Gate
    outcome: Outcome
    compared: Compared | None = None
    why: str = ""


def judge(items: Sequence[Compared], gate: Gate, difference: str = "") -> list[Judgement]:
    """Return one judgement per entry (and size, for memory), in order; one "not judged" if there is nothing in common.

    `difference`: the settings that keep the entries of both sides from matching, for the message.
    """
    looked_at = _limited_changes(items, gate.kind)
    if not looked_at:
        return [Judgement(gate, "not judged", None, _why_nothing_checked(items, gate.kind, difference))]
    limits = [_limit(item, gate) for item in looked_at]
    p = [
        math.nan if item.unjudged else item.evidence.evidence_above(limit, _sign(item))
        for item, limit in zip(looked_at, limits, strict=True)
    ]
    return [
        _judgement(gate, item, limit, adjusted)
        for item, limit, adjusted in zip(looked_at, limits, holm(p), strict=True)
    ]


def judgements_frame(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """Return one row per judgement: gate, threshold, outcome, why, and the entry and quantity judged."""
    names = ("suite", "workload", "horizon", "optimizer", "quantity", "change", "low", "high")
    records = [
        {"gate": of.gate.kind, "threshold": of.gate.threshold, "outcome": of.outcome, "why": of.why}
        | {name: getattr(of.compared.change, name) if of.compared else None for name in names}
        for of in judgements
    ]
    return pd.DataFrame(records, columns=["gate", "threshold", "outcome", "why", *names])


def fails(judgements: Sequence[Judgement], *, strict: bool) -> bool:
    """Return whether any gate is not met; with `strict`, inconclusive ones count as not met."""
    bad = {"failed", "not judged"} | ({"inconclusive"} if strict else set())
    return any(of.outcome in bad for of in judgements)


def _judgement(gate: Gate, item: Compared, limit: float, p: float) -> Judgement:
    if item.unjudged or math.isnan(p):
        return Judgement(gate, "not judged", item, item.unjudged or "no interval")
    if p < LEVEL:
        return Judgement(gate, "failed", item)
    past = _sign(item) * item.evidence.change > limit + 1e-12
    return Judgement(gate, "inconclusive" if past else "passed", item)


def _limited_changes(items: Sequence[Compared], kind: Kind) -> list[Compared]:
    names = _QUANTITIES[kind]
    entries: dict[tuple[str, ...], list[Compared]] = {}
    for item in items:
        of = item.change
        key = (of.suite, of.workload, of.horizon, of.optimizer)
        entries.setdefault(key, [])
        if of.quantity in names:
            entries[key].append(item)
    found: list[Compared] = []
    for own in entries.values():
        own = sorted(own, key=lambda item: names.index(item.change.quantity))
        if kind == "more memory":
            found += [item for item in own if not item.unjudged] or own[:1]
        else:
            found += [item for item in own if not item.unjudged][:1] or own[:1]
    return found


def _why_nothing_checked(items: Sequence[Compared], kind: Kind, difference: str) -> str:
    if not items:
        needed = "suite, workload, horizon and label must match"
        return f"BEFORE and AFTER have no entry in common: {needed}" + (
            f" ({difference})" if difference else ""
        )
    return {
        "slower": "no trial recorded its training time",
        "worse": "no trial recorded a final metric",
        "more memory": "no trial recorded its memory",
    }[kind]


def _limit(item: Compared, gate: Gate) -> float:
    return math.log1p(gate.threshold) if item.change.ratio else gate.threshold


def _sign(item: Compared) -> int:
    return 1 if item.change.more_is_worse else -1
