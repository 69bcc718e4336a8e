"""Published rows beside what was measured, cell by cell, each with its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from optbench.analysis import verdicts
from optbench.analysis.censoring import median, median_interval
from optbench.analysis.compare import FEW_SEEDS
from optbench.analysis.frames import is_worst, passages_frame
from optbench.analysis.intervals import EXACT_TEST_SEEDS, paired_difference, t_interval
from optbench.analysis.rows import TableRow, comparable, higher_is_better, table_rows
from optbench.analysis.table import final_values, memory_multiple
from optbench.analysis.verdicts import Measured, Verdict
from optbench.store import Results, SuiteResults
from optbench.suite.published import DETERMINISTIC_MARGIN, Claim, Published, Scope

COLUMNS = (
    *(
        "suite",
        "workload",
        "source",
        "url",
        "optimizer",
        "entry",
        "column",
        "kind",
        "published",
        "value",
        "unit",
    ),
    *("margin", "scope", "protocol", "measured", "measured_low", "measured_high", "n", "measured_on"),
    *("verdict", "reason"),
)
_RUNGS = {"low": 0, "medium": 1, "high": 2}

#: measured without training: multiples of the parameters' bytes, by workload and label
StateMultiples = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class _Block:
    """One workload's rows of one budget, and what is known of them."""

    suite: SuiteResults
    rows: list[TableRow]
    passages: pd.DataFrame
    metric: str
    higher: bool
    state_multiples: StateMultiples
    narrowness: pd.DataFrame | None  # of the sweep: a row a seed, a column a label; None if there is none

    def row(self, label: str | None) -> TableRow | None:
        return next((row for row in self.rows if row.trial.label == label), None)


def verdicts_frame(results: Results, state_multiples: StateMultiples | None = None) -> pd.DataFrame:
    """One row a workload, published row and column, in the suite's order; empty if nothing is published.

    Columns: suite, workload; source, url, optimizer (the source's name), entry (label here), column, kind, published (text),
    value, unit, margin, scope, protocol (as stated); measured with measured_low, measured_high (95 %; the measured value alone
    for bytes), n (seeds), measured_on; verdict, reason. `state_multiples` stand in where no trial has measured
    the optimizer's state. Of several horizons the longest counts.
    """
    passages = passages_frame(results)
    records: list[dict[str, Any]] = []
    for suite in results.suites:
        rows = table_rows(Results((suite,)))
        published = [Published.model_validate(row) for row in _written(suite)]
        for workload in dict.fromkeys(row.trial.workload_name for row in rows) if published else ():
            own = [row for row in rows if row.trial.workload_name == workload]
            block = _block(suite, own, passages, state_multiples or {})
            records += [record for row in published for record in _records(row, published, block)]
    return pd.DataFrame(records, columns=list(COLUMNS))


def _written(suite: SuiteResults) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = suite.plan.resolved.get("published", []) if suite.plan is not None else []
    return rows


def _block(
    suite: SuiteResults, rows: list[TableRow], passages: pd.DataFrame, state_multiples: StateMultiples
) -> _Block:
    alike = max(comparable(rows), key=lambda block: block[0].trial.workload.budget.value)
    workload = alike[0].trial.workload
    own = passages[passages["config_id"].isin([row.config_id for row in alike])]
    if workload.target:
        own = own[own["target"] == str(workload.target[0])]
    metric = workload.metrics[0]
    return _Block(
        suite, alike, own, metric, higher_is_better(suite, workload, metric), state_multiples, narrowness=None
    )


def _records(row: Published, published: list[Published], block: _Block) -> Iterator[dict[str, Any]]:
    for column, claim in row.values.given.items():
        measured, verdict = _judged(row, column, claim, published, block)
        trial = block.rows[0].trial
        yield {
            "suite": block.suite.name,
            "workload": trial.workload_name,
            "source": row.source.text,
            "url": row.source.url,
            "optimizer": row.name,
            "entry": row.optimizer or "",
            "column": column,
            "kind": claim.kind,
            "published": str(claim),
            "value": math.nan if claim.value is None else claim.value,
            "unit": claim.unit or "",
            "margin": math.nan if claim.margin is None else claim.margin,
            "scope": _scope_text(row.scope),
            "protocol": row.protocol,
            "measured": measured.value,
            "measured_low": measured.low,
            "measured_high": measured.high,
            "n": measured.n,
            "measured_on": f"{trial.workload.model.name} on {trial.workload.data.name}",
            "verdict": verdict.word,
            "reason": verdict.reason,
        }


def _judged(
    row: Published, column: str, claim: Claim, published: list[Published], block: _Block
) -> tuple[Measured, Verdict]:
    own = block.row(row.optimizer)
    if own is None:
        return Measured(), Verdict("not tested here", "no entry of this suite")
    elsewhere = _elsewhere(row.scope, own, column)
    if elsewhere and claim.kind in ("numeric", "deterministic"):
        return Measured(), Verdict("not tested here", f"it speaks of {elsewhere}")
    if claim.kind == "ladder":
        return _ladder(row, column, claim, published, block, own, elsewhere)
    measured = _measured(own, column, block)
    if claim.kind == "deterministic":
        margin = DETERMINISTIC_MARGIN if claim.margin is None else claim.margin
        return measured, verdicts.deterministic(claim.value or 0.0, margin, measured.value)
    if claim.kind == "numeric":
        return measured, verdicts.numeric(claim.value or 0.0, claim.margin or 0.0, measured)
    other = block.row(claim.over)
    if other is None:
        return measured, Verdict("not tested here", f"'{claim.over}' is no entry of this suite")
    return measured, _on_proxy(_ordered(own, other, column, claim, block), elsewhere)


def _measured(row: TableRow, column: str, block: _Block) -> Measured:
    if column == "memory_overhead":
        value = memory_multiple(row)
        if math.isnan(value):
            value = block.state_multiples.get((row.trial.workload_name, row.trial.label), math.nan)
        return Measured(0 if math.isnan(value) else 1, value, value, value)
    return _final(row, block) if column == "final_metric" else _time(row, column, block)


def _final(row: TableRow, block: _Block) -> Measured:
    values = final_values(block.rows, block.metric, higher=block.higher)[row.config_id].dropna().tolist()
    found = t_interval(values)
    if any(is_worst(log) for log in row.logs):
        return Measured(found.n, found.mean, reason="some trials diverged or failed: no interval holds")
    return Measured(found.n, found.mean, found.low, found.high)


def _time(row: TableRow, column: str, block: _Block) -> Measured:
    unit = column.removesuffix("_to_target")
    own = block.passages[block.passages["config_id"] == row.config_id].dropna(subset=[unit])
    reached = own["reached"].astype(bool).tolist()
    if not reached:
        return Measured(reason="" if row.trial.workload.target else "the workload has no target")
    middle = median(own[unit].tolist(), reached)
    interval = median_interval(own[f"{unit}_low"].tolist(), own[unit].tolist(), reached)
    return Measured(len(own), middle, interval.low, interval.high, interval.reason)


def _ordered(row: TableRow, other: TableRow, column: str, claim: Claim, block: _Block) -> Verdict:
    """Whether `row` is better than `other`: more of a metric where more is better, else less."""
    margin = claim.margin or 0.0
    if column == "memory_overhead":
        gain = _measured(other, column, block).value - _measured(row, column, block).value
        least = margin or DETERMINISTIC_MARGIN
        n = 0 if math.isnan(gain) else FEW_SEEDS  # bytes need no seeds
        return verdicts.ordering(Measured(n, gain, gain, gain), least, least)
    if column == "sensitivity":
        return _less_sensitive(row, other, block)
    if column == "final_metric":
        values = final_values(block.rows, block.metric, higher=block.higher)
        sign, resolution = (1.0 if block.higher else -1.0), 0.0
        whole = not any(is_worst(log) for each in (row, other) for log in each.logs)
    else:
        values, resolution = _restricted(column.removesuffix("_to_target"), block)
        sign, whole = -1.0, True
    if row.config_id not in values or other.config_id not in values:
        return Verdict("not tested here", "not run")
    common = values[[row.config_id, other.config_id]].dropna()
    found = paired_difference(
        (sign * common[row.config_id]).tolist(), (sign * common[other.config_id]).tolist()
    )
    if not whole:
        return verdicts.ordering(
            Measured(found.n, reason="some trials diverged or failed: no interval holds"), margin
        )
    if column != "final_metric" and 0 < found.n < EXACT_TEST_SEEDS:
        return Verdict("inconclusive", f"{found.n} seeds; restricted times need {EXACT_TEST_SEEDS}")
    return verdicts.ordering(Measured(found.n, found.mean, found.low, found.high), margin, resolution)


def _restricted(unit: str, block: _Block) -> tuple[pd.DataFrame, float]:
    """Times to target within the common budget, a row a seed and a column a config_id; and the evaluation interval."""
    times = block.passages
    restricted = times.assign(time=times[unit].where(times["reached"], times[unit].max()))
    values = restricted.pivot(index="seed", columns="config_id", values="time").astype(float)
    steps = (times[unit] - times[f"{unit}_low"])[times["reached"].astype(bool)]
    return values, float(steps.max()) if len(steps) else 0.0


def _ladder(
    row: Published,
    column: str,
    claim: Claim,
    published: list[Published],
    block: _Block,
    own: TableRow,
    elsewhere: str,
) -> tuple[Measured, Verdict]:
    if column != "sensitivity":
        measured = _measured(own, column, block)
        return measured, _reading(claim, measured.value)
    if block.narrowness is None:
        return Measured(), Verdict("not tested here", "the suite has no sensitivity sweep")
    rungs = {
        other.optimizer: _RUNGS[level]
        for other in published
        if other.source == row.source and other.optimizer in block.narrowness
        for level in [other.values.sensitivity.level if other.values.sensitivity else None]
        if level is not None and other.optimizer is not None
    }
    widths = (
        -block.narrowness[row.optimizer].dropna()
        if row.optimizer in block.narrowness
        else pd.Series(dtype=float)
    )
    found = t_interval(widths.tolist())
    verdict = verdicts.ladder(rungs, block.narrowness)
    read = "read as: the narrower the basin of the learning rate, the more sensitive"
    reason = f"{verdict.reason}; {read}" if verdict.reason else read
    return Measured(found.n, found.mean, found.low, found.high), _on_proxy(
        Verdict(verdict.word, reason), elsewhere
    )


def _less_sensitive(row: TableRow, other: TableRow, block: _Block) -> Verdict:
    narrow, labels = block.narrowness, [row.trial.label, other.trial.label]
    if narrow is None or any(label not in narrow for label in labels):
        return Verdict("not tested here", "the suite has no sensitivity sweep")
    return verdicts.ladder({labels[1]: 1, labels[0]: 0}, narrow)


def _reading(claim: Claim, value: float) -> Verdict:
    """A word without a unit is never reproduced; how it is read, and what that gives, is told."""
    if claim.means is None:
        return Verdict("not testable as stated", f"'{claim}' has no unit")
    because = f" ({claim.means.because})" if claim.means.because else ""
    holds = f"{'holds' if claim.means.holds(value) else 'does not hold'}, measured {value:.4g}"
    outcome = "not measured" if math.isnan(value) else holds
    return Verdict(
        "not testable as stated", f"'{claim}' has no unit; read as {claim.means}{because}: {outcome}"
    )


def _on_proxy(verdict: Verdict, elsewhere: str) -> Verdict:
    if not elsewhere or verdict.word in ("not tested here", "not testable as stated"):
        return verdict
    here = f"here only: the source speaks of {elsewhere}"
    return Verdict(verdict.word, f"{verdict.reason}; {here}" if verdict.reason else here)


def _elsewhere(scope: Scope, row: TableRow, column: str) -> str:
    """What the source measured on that this workload is not; empty if nothing. State bytes depend on the model alone."""
    workload = row.trial.workload
    here: list[tuple[Any, Any]] = [(scope.model, workload.model.name)]
    if column != "memory_overhead":
        budget = None if scope.budget is None else str(scope.budget)
        here += [(scope.data, workload.data.name), (budget, str(workload.budget))]
        size = None if scope.batch_size is None else f"batch size {scope.batch_size}"
        here.append((size, f"batch size {row.trial.batch_size}"))
    if column == "seconds_to_target":
        devices = {log.started.environment.get("device_name") for log in row.logs if log.started is not None}
        hardware = scope.hardware or "hardware that it does not name"
        here.append((hardware, ", ".join(sorted(filter(None, devices))) or "other hardware"))
    unlike = [(there, found) for there, found in here if there is not None and there != found]
    if not unlike:
        return ""
    theirs, ours = (", ".join(str(pair[index]) for pair in unlike) for index in (0, 1))
    return f"{theirs}; this is {ours}"


def _scope_text(scope: Scope) -> str:
    parts = [scope.model, scope.data, f"batch size {scope.batch_size}" if scope.batch_size else None]
    parts += [str(scope.budget) if scope.budget else None, scope.hardware]
    return ", ".join(part for part in parts if part)
