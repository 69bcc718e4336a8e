"""What differs between two sets of results besides what was measured: suites key by key, environments, entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from optbench.analysis.matching import EntryPair, Matched, SuitePair, same_records
from optbench.analysis.quantities import missing_seeds, worst_seeds
from optbench.analysis.rows import TableRow, seeds_not_shown_text, table_rows
from optbench.plurals import counted
from optbench.store import Results, SuiteResults, TrialLog
from optbench.suite.field_types import length_text

#: facts of a start about its time and command, not about the machine
_OF_THE_MOMENT = {"started_at", "command"}
_ABSENT = "–"
_NO_SUITE = "suite: not on the other side"


def suite_changes_frame(matched: Matched) -> pd.DataFrame:
    """Return the columns suite, key (dotted path in the resolved suite), before, after: text, "–" if a side has no such key.

    An optimizer or a workload that only one side has is one row, "present" and "–".
    """
    records = []
    for pair in matched.suites:
        before, after = _resolved(pair.before, pair.after), _resolved(pair.after, pair.before)
        if not before or not after:
            continue
        before, after = {"name": pair.before.name, **before}, {"name": pair.after.name, **after}
        keys = [*before, *(key for key in after if key not in before)]
        records += [
            {"suite": pair.name, "key": key, "before": _text(before, key), "after": _text(after, key)}
            for key in keys
            if before.get(key, _ABSENT) != after.get(key, _ABSENT)
        ]
    return pd.DataFrame(records, columns=["suite", "key", "before", "after"])


def environment_changes_frame(matched: Matched) -> pd.DataFrame:
    """Return the columns suite, key, before, after: facts of machines and versions that differ; several values separated by commas."""
    records = []
    for pair in matched.suites:
        before, after = _environment(pair.before), _environment(pair.after)
        records += [
            {
                "suite": pair.name,
                "key": key,
                "before": ", ".join(before.get(key, [])) or _ABSENT,
                "after": ", ".join(after.get(key, [])) or _ABSENT,
            }
            for key in dict.fromkeys([*before, *after])
            if before.get(key) != after.get(key)
        ]
    return pd.DataFrame(records, columns=["suite", "key", "before", "after"])


def one_sided_frame(matched: Matched) -> pd.DataFrame:
    """Return the entries without a counterpart: suite, workload, horizon, optimizer, only_in ("before" or "after"), difference.

    `difference` names the setting that keeps an entry from its counterpart, as in "workload.budget: 20 epochs vs 30 epochs".
    """
    unpaired = {
        id(row): (row, own, other)
        for pair in matched.suites
        for rows, own, other in (
            (pair.only_before, pair.before, pair.after),
            (pair.only_after, pair.after, pair.before),
        )
        for row in rows
    }
    sides = [
        ("before", [row for pair in matched.suites for row in pair.only_before], matched.only_before),
        ("after", [row for pair in matched.suites for row in pair.only_after], matched.only_after),
    ]
    records = [
        {
            **row.names,
            "only_in": side,
            "difference": _difference(*unpaired[id(row)], side) if id(row) in unpaired else _NO_SUITE,
        }
        for side, rows, suites in sides
        for row in [*rows, *_rows_of(suites)]
    ]
    columns = ["suite", "workload", "horizon", "optimizer", "only_in", "difference"]
    return pd.DataFrame(records, columns=columns)


def differences(one_sided: pd.DataFrame, most: int = 3) -> str:
    """Return the settings that keep entries from matching, as one text; the first `most` of them."""
    texts = list(dict.fromkeys(one_sided["difference"]))
    return "; ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _difference(row: TableRow, own: SuiteResults, other: SuiteResults, side: str) -> str:
    """Return the first setting on which the entry and those of `other` do not match."""
    rows, label, workload = _rows_of((other,)), row.trial.label, row.trial.workload_name
    mine, their = ({each.trial.workload_name for each in of} for of in (_rows_of((own,)), rows))
    if workload not in their and (len(mine - their), len(their - mine)) != (1, 1):
        return f"workload: no '{workload}' on the other side"
    counterpart = workload if workload in their else next(iter(their - mine))
    of_workload = [each for each in rows if each.trial.workload_name == counterpart]
    alike = [each for each in of_workload if each.trial.label == label]
    if not alike:
        return f"optimizers: no '{label}' on the other side"
    horizons = dict.fromkeys(each.horizon for each in alike)
    if row.horizon in horizons:
        return f"optimizers.{label}: fewer entries with this label on the other side"
    ends = row.horizon, ", ".join(horizons)
    before, after = ends if side == "before" else ends[::-1]
    key = "workload.budget" if len(mine) == len(their) == 1 else f"workloads.{workload}.budget"
    if any(each.trial.entry.horizon for each in (row, *alike)):
        key = f"optimizers.{label}.horizon"
    return f"{key}: {before} vs {after}"


def cautions_frame(matched: Matched) -> pd.DataFrame:
    """Return one row per warning about the comparison: suite, workload, kind, message (the columns of `warnings_frame`)."""
    records = [
        {"suite": pair.name, "workload": workload, "kind": kind, "message": message}
        for pair in matched.suites
        for workload, kind, message in _cautions(pair)
    ]
    return pd.DataFrame(records, columns=["suite", "workload", "kind", "message"])


def _cautions(pair: SuitePair) -> Iterator[tuple[str, str, str]]:
    for side, suite in (("before", pair.before), ("after", pair.after)):
        if further := seeds_not_shown_text(suite):
            yield "", "unplanned", f"{side}: {further}"
        for problem in suite.warnings:
            yield "", "file", f"{side}: {problem}"
    for workload in dict.fromkeys(entry.workload for entry in pair.entries):
        own = [entry for entry in pair.entries if entry.workload == workload]
        yield from ((workload, kind, message) for kind, message in _of_workload(own))
    devices = [_environment(suite).get("device_name", []) for suite in (pair.before, pair.after)]
    if devices[0] != devices[1] and all(devices):
        message = "measured on different devices: differences in time also reflect the hardware"
        yield "", "device", message


def _of_workload(entries: list[EntryPair]) -> Iterator[tuple[str, str]]:
    copies = [entry.optimizer for entry in entries if same_records(entry)]
    if copies:
        yield "copy", f"both sides contain identical records, not independent measurements: {_named(copies)}"
    for side, rows in (("before", [e.before for e in entries]), ("after", [e.after for e in entries])):
        logs = [log for row in rows for log in row.logs]
        resumed = sum(log.timings_interrupted for log in logs)
        if resumed:
            message = f"{side}: training times of {counted(resumed, 'trial')} excluded: the trials were interrupted and resumed"
            yield "resumed", message
        noisy = [log for log in logs if log.disturbed]
        if noisy:
            message = f"{side}: training times of {counted(len(noisy), 'trial')} were disturbed by other load: {_named(map(_name, noisy))}"
            yield "disturbed", message
        missing = [f"{row.trial.label} ({len(missing_seeds(row))})" for row in rows if missing_seeds(row)]
        if missing:
            yield "missing", f"{side}: missing or unfinished trials: {_named(missing)}"
        worst = [f"{row.trial.label} ({len(worst_seeds(row))})" for row in rows if worst_seeds(row)]
        if worst:
            yield "worst", f"{side}: trials that diverged, ran out of memory or failed: {_named(worst)}"


def _environment(suite: SuiteResults) -> dict[str, list[str]]:
    facts: dict[str, list[str]] = {}
    for log in (log for row in _rows_of((suite,)) for log in row.logs):
        if log.started is None:
            continue
        begun = [log.started.environment | {"precision": log.started.precision}]
        for environment in [*begun, *(event.environment for event in log.resumed)]:
            for key, value in environment.items():
                if key not in _OF_THE_MOMENT and value is not None and not isinstance(value, dict):
                    known = facts.setdefault(key, [])
                    known += [str(value)] if str(value) not in known else []
    return {key: sorted(values) for key, values in facts.items()}


def _rows_of(suites: Iterable[SuiteResults]) -> list[TableRow]:
    return [row for suite in suites for row in table_rows(Results((suite,)))]


def _resolved(suite: SuiteResults, other: SuiteResults) -> dict[str, Any]:
    """Return the flat settings; the only workload of a suite without its name, which may be that of the suite."""
    resolved, beside = _written(suite), _written(other)
    for family in ("optimizers", "workloads"):
        if family in resolved and family in beside:
            resolved[family] = {
                name: value if name in beside[family] else "present"
                for name, value in resolved[family].items()
            }
    return dict(_flat("", resolved)) if resolved else {}


def _written(suite: SuiteResults) -> dict[str, Any]:
    resolved = dict(suite.plan.resolved) if suite.plan is not None else {}
    workloads = resolved.get("workloads")
    if isinstance(workloads, dict) and len(workloads) == 1:
        resolved["workload"] = next(iter(workloads.values()))
        del resolved["workloads"]
    return resolved


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if (
        isinstance(value, dict)
        and value.keys() == {"value", "unit"}
        and isinstance(value["value"], (int, float))
    ):
        yield path, length_text(value["value"], str(value["unit"]))
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _flat(f"{path}.{index}", item)
    else:
        yield path, value


def _text(side: dict[str, Any], key: str) -> str:
    if key not in side:
        return _ABSENT
    value = side[key]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _name(log: TrialLog) -> str:
    return f"{log.trial['label']} seed {log.trial['seed']}"


def _named(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:4]) + (f" and {len(every) - 4} more" if len(every) > 4 else "")
