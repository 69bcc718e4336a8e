"""Pairs of matching entries in two sets of results, and the entries that only one of them contains."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from optbench.analysis.lengths import same_length
from optbench.analysis.rows import TableRow, table_rows
from optbench.store import Results, SuiteResults, TrialLog

_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class EntryPair:
    """One optimizer entry of one workload and horizon, as it was measured before and after."""

    suite: str
    workload: str
    horizon: str
    optimizer: str
    before: TableRow
    after: TableRow


@dataclass(frozen=True)
class SuitePair:
    """`only_before`, `only_after`: rows without a counterpart of the same workload, horizon and label."""

    name: str
    before: SuiteResults
    after: SuiteResults
    entries: tuple[EntryPair, ...]
    only_before: tuple[TableRow, ...]
    only_after: tuple[TableRow, ...]


@dataclass(frozen=True)
class Matched:
    suites: tuple[SuitePair, ...]
    only_before: tuple[SuiteResults, ...]
    only_after: tuple[SuiteResults, ...]


def match(before: Results, after: Results) -> Matched:
    """Pair entries by suite, workload, horizon and label. If one suite (or workload) is left on each side, these are paired too:
    it may have been renamed."""
    pairs, left, right = _matched({s.name: s for s in before.suites}, {s.name: s for s in after.suites})
    return Matched(tuple(_suite_pair(a, b) for a, b in pairs), tuple(left), tuple(right))


def common_logs(pair: EntryPair) -> list[tuple[TrialLog, TrialLog]]:
    """Return the trials of seeds that ran on both sides."""
    after = {log.trial["seed"]: log for log in pair.after.logs}
    return [(log, after[log.trial["seed"]]) for log in pair.before.logs if log.trial["seed"] in after]


def starts_alike(pair: EntryPair) -> bool:
    """Return whether seeds ran on both sides from the same initial weights, so that they can be paired."""
    starts = [(a.started, b.started) for a, b in common_logs(pair) if a.started and b.started]
    known = all(a.initial_weights for a, _ in starts)  # imported logs do not record them
    return bool(starts) and known and all(a.initial_weights == b.initial_weights for a, b in starts)


def same_records(pair: EntryPair) -> bool:
    """Return whether both sides contain copies of the same run, not independent measurements."""
    common = common_logs(pair)
    return bool(common) and all(_is_copy(a, b) for a, b in common)


def _is_copy(a: TrialLog, b: TrialLog) -> bool:
    # as text, because NaN != NaN; the ends first, as they nearly always differ
    if repr((a.started, a.finished)) != repr((b.started, b.finished)):
        return False
    return a.evaluations.is_copy_of(b.evaluations)


def _suite_pair(before: SuiteResults, after: SuiteResults) -> SuitePair:
    first, second = table_rows(Results((before,))), table_rows(Results((after,)))
    names = _matched(_by_workload(first), _by_workload(second))[0]
    entries: list[EntryPair] = []
    for own, other in names:
        alike, left, right = _matched(_by_entry(own), _by_entry(other), single=False)
        alike += _equally_long(left, right)
        entries += [
            EntryPair(before.name, a.trial.workload_name, a.horizon, a.trial.label, a, b) for a, b in alike
        ]
    paired = {id(row) for entry in entries for row in (entry.before, entry.after)}
    return SuitePair(
        before.name,
        before,
        after,
        tuple(entries),
        tuple(row for row in first if id(row) not in paired),
        tuple(row for row in second if id(row) not in paired),
    )


def _by_workload(rows: Iterable[TableRow]) -> dict[str, list[TableRow]]:
    found: dict[str, list[TableRow]] = {}
    for row in rows:
        found.setdefault(row.trial.workload_name, []).append(row)
    return found


def _by_entry(rows: Iterable[TableRow]) -> dict[tuple[str, str, int], TableRow]:
    """Return the rows by entry. Rows of one name, as in imported logs, are numbered in their order."""
    found: dict[tuple[str, str, int], TableRow] = {}
    for row in rows:
        nth = sum(key[:2] == (row.horizon, row.trial.label) for key in found)
        found[row.horizon, row.trial.label, nth] = row
    return found


def _equally_long(left: list[TableRow], right: list[TableRow]) -> list[tuple[TableRow, TableRow]]:
    """Pair rows of one label whose horizons are equal in steps, though written in different units."""
    pairs, free = [], list(right)
    for row in left:
        other = next((other for other in free if _same_entry(row, other)), None)
        if other is not None:
            free = [each for each in free if each is not other]
            pairs.append((row, other))
    return pairs


def _same_entry(a: TableRow, b: TableRow) -> bool:
    known = a.steps_per_epoch if a.steps_per_epoch == b.steps_per_epoch else None
    return a.trial.label == b.trial.label and same_length(a.length, b.length, known)


def _matched(
    before: dict[_Key, _Item], after: dict[_Key, _Item], *, single: bool = True
) -> tuple[list[tuple[_Item, _Item]], list[_Item], list[_Item]]:
    pairs = [(item, after[key]) for key, item in before.items() if key in after]
    left = [item for key, item in before.items() if key not in after]
    right = [item for key, item in after.items() if key not in before]
    if single and len(left) == len(right) == 1:
        return [*pairs, (left[0], right[0])], [], []
    return pairs, left, right
