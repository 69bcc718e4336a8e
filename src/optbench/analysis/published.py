"""Published claims compared with the measurements, each with its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from optbench.analysis import verdicts
from optbench.analysis.compare import FEW_SEEDS
from optbench.analysis.costs import costs_frame, per_trial
from optbench.analysis.frames import is_worst, passages_frame
from optbench.analysis.rows import (
    TableRow,
    all_rows,
    comparable,
    lengths_in_one_unit,
    metric_facts,
)
from optbench.analysis.scope import elsewhere, on_proxy, scope_text
from optbench.analysis.sensitivity_claims import by_sensitivity, measured_sensitivity
from optbench.analysis.sweeps import Sweep, sweeps
from optbench.analysis.table import final_values, memory_multiple, memory_note
from optbench.analysis.time_claims import earlier, measured_time, paired_gain
from optbench.analysis.tuning import (
    SEPARATE,
    TuningVariation,
    tuned_labels,
    variation_between_studies,
)
from optbench.analysis.verdicts import Measured, Verdict
from optbench.store import Results, SuiteResults
from optbench.suite.metric_facts import FRACTION, MetricFacts
from optbench.suite.published import DETERMINISTIC_MARGIN, Claim, Published
from optbench.suite.types import Trial

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
    *(
        "margin",
        "measure",
        "scope",
        "protocol",
        "measured",
        "measured_low",
        "measured_high",
        "n",
        "measured_on",
    ),
    *("verdict", "reason"),
)
#: judged by what each trial cost
_COSTS = ("training_bytes", "seconds_per_update", "loss_rises")
_RUNGS = {"low": 0, "medium": 1, "high": 2}

#: measured without training: multiples of the parameters' bytes, by workload and label
StateMultiples = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class _Block:
    """One workload's rows of one budget, and what is known of them."""

    suite: SuiteResults
    trial: Trial  # of any row of the workload
    rows: list[TableRow]
    passages: pd.DataFrame
    metric: str
    facts: MetricFacts  # of the metric
    state_multiples: StateMultiples
    uses: dict[str, str]  # best use derived here, by config_id; empty where no claim asks for it
    sweeps: dict[str, Sweep]  # by label

    def variation(self, column: str) -> TuningVariation:
        """Return how a column varies between tuning studies. Bytes and seconds of an update do not depend on the selected numbers."""
        if column in ("training_bytes", "seconds_per_update"):
            return SEPARATE
        return variation_between_studies(self.suite, self.trial.workload_name)

    def row(self, label: str | None) -> TableRow | None:
        return next((row for row in self.rows if row.trial.label == label), None)


def verdicts_frame(results: Results, state_multiples: StateMultiples | None = None) -> pd.DataFrame:
    """Return one row per workload, published row and column, in the order of the suite; empty if nothing is published.

    Columns: suite, workload; source, url, optimizer (the source's name), entry (label here), column, kind, published (text),
    value, unit, margin, measure (of sensitivity: `basin_width` in decades, `rate_sensitivity` in the unit of the metric), scope,
    protocol (as stated); measured with measured_low, measured_high (95 %; the measured value alone for bytes), n (seeds), measured_on;
    verdict, reason. `state_multiples` stand in where no trial has measured
    the optimizer's state. Of several horizons the longest counts.
    """
    records: list[dict[str, Any]] = []
    for suite in results.suites:
        written = [Published.model_validate(row) for row in _written(suite)]
        published = [row for row in written if row.values.given]
        rows = all_rows(Results((suite,))) if published else []
        passages = passages_frame(Results((suite,) if published else ()))
        for workload in dict.fromkeys(row.trial.workload_name for row in rows):
            own = [row for row in rows if row.trial.workload_name == workload]
            uses = _uses(suite) if any(row.values.best_use for row in published) else {}
            block = _block(suite, own, passages, state_multiples or {}, uses)
            records += [record for row in published for record in _records(row, published, block)]
    return pd.DataFrame(records, columns=list(COLUMNS))


def _written(suite: SuiteResults) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = suite.plan.resolved.get("published", []) if suite.plan is not None else []
    return rows


def _block(
    suite: SuiteResults,
    rows: list[TableRow],
    passages: pd.DataFrame,
    state_multiples: StateMultiples,
    uses: dict[str, str],
) -> _Block:
    blocks = comparable([row for row in rows if not row.trial.point and row.trial.study is None])
    lengths = lengths_in_one_unit([block[0] for block in blocks])
    longest = max(zip(lengths, blocks, strict=True), key=lambda pair: pair[0], default=(0.0, []))
    alike, trial = longest[1], (longest[1] or rows)[0].trial
    workload = trial.workload
    own = passages[passages["config_id"].isin([row.config_id for row in alike])]
    if workload.target:
        own = own[own["target"] == str(workload.target[0])]
    metric = workload.metrics[0]
    name = trial.workload_name
    found = {sweep.optimizer: sweep for sweep in sweeps(Results((suite,))) if sweep.workload == name}
    return _Block(
        suite, trial, alike, own, metric, metric_facts(suite, workload, metric), state_multiples, uses, found
    )


def _uses(suite: SuiteResults) -> dict[str, str]:
    costs = costs_frame(Results((suite,)))
    return dict(zip(costs["config_id"], costs["best_use"], strict=True))


def _records(row: Published, published: list[Published], block: _Block) -> Iterator[dict[str, Any]]:
    for column, claim in row.values.given.items():
        measured, verdict = _judged(row, column, claim, published, block)
        trial = block.trial
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
            "unit": claim.unit or _unit(claim, block.facts),
            "margin": math.nan if claim.margin is None else claim.margin,
            "measure": claim.sensitivity_measure if column == "sensitivity" else "",
            "scope": scope_text(row.scope),
            "protocol": row.protocol,
            "measured": measured.value,
            "measured_low": measured.low,
            "measured_high": measured.high,
            "n": measured.n,
            "measured_on": f"{trial.workload.model.name} on {trial.workload.data.name}",
            "verdict": verdict.word,
            "reason": verdict.reason,
        }


def _unit(claim: Claim, facts: MetricFacts) -> str:
    """Return the unit of a loss of score; other claims state their unit, or have none."""
    return FRACTION if claim.sensitivity_measure == "rate_sensitivity" and facts.is_fraction else ""


def _judged(
    row: Published, column: str, claim: Claim, published: list[Published], block: _Block
) -> tuple[Measured, Verdict]:
    own = block.row(row.optimizer)
    if own is None:
        is_tuned = row.optimizer in tuned_labels(block.suite)
        reason = "its tuning is not complete" if is_tuned else "the suite has no such entry"
        return Measured(), Verdict("not tested here", reason)
    if claim.over is not None and claim.over == row.optimizer:
        return Measured(), Verdict("inconclusive", "the claim compares the entry with itself")
    if claim.kind == "words":
        return Measured(), _no_quantity(column, block.uses.get(own.config_id))
    there = elsewhere(row.scope, own, column)
    if there and claim.kind in ("numeric", "deterministic"):
        return Measured(), Verdict("not tested here", f"the claim applies to {there}")
    if claim.kind == "ladder":
        return _ladder(row, column, claim, published, block, own, there)
    measured = _measured(own, column, block)
    if claim.kind == "deterministic":
        margin = DETERMINISTIC_MARGIN if claim.margin is None else claim.margin
        return measured, verdicts.deterministic(claim.value or 0.0, margin, measured.value)
    if claim.kind == "numeric":
        return measured, verdicts.numeric(claim.value or 0.0, claim.margin or 0.0, measured)
    other = block.row(claim.over)
    if other is None:
        is_tuned = claim.over in tuned_labels(block.suite)
        reason = f"the suite has no entry '{claim.over}'"
        reason = f"the tuning of {claim.over} is not complete" if is_tuned else reason
        return measured, Verdict("not tested here", reason)
    return measured, on_proxy(_ordered(own, other, column, claim, block), there)


def _measured(row: TableRow, column: str, block: _Block) -> Measured:
    if column == "memory_overhead":
        if note := memory_note(row):
            return Measured(reason=f"the memory overhead is only a lower bound ({note})")
        value = memory_multiple(row)
        if math.isnan(value):
            value = block.state_multiples.get((row.trial.workload_name, row.trial.label), math.nan)
        return Measured(0 if math.isnan(value) else 1, value, value, value)
    variation = block.variation(column)
    if column in _COSTS:
        return variation.measured(row.trial.label, per_trial(column, [row])[row.config_id], (0.0, math.inf))
    if column == "final_metric":
        return _final(row, block)
    return measured_time(row, column, block.passages, variation)


def _final(row: TableRow, block: _Block) -> Measured:
    values = final_values(block.rows, block.metric)[row.config_id]
    found = block.variation("final_metric").measured(row.trial.label, values, block.facts.range)
    return _without_interval(found) if any(is_worst(log) for log in row.logs) else found


def _without_interval(found: Measured) -> Measured:
    return found.without_interval("no interval: some trials diverged or failed")


def _ordered(row: TableRow, other: TableRow, column: str, claim: Claim, block: _Block) -> Verdict:
    """Judge whether `row` is better than `other`: more of a metric of which more is better, otherwise less."""
    margin = claim.margin or 0.0
    if column == "memory_overhead":
        gain = _measured(other, column, block).value - _measured(row, column, block).value
        least = margin or DETERMINISTIC_MARGIN
        n = 0 if math.isnan(gain) else FEW_SEEDS  # bytes need no seeds
        return verdicts.ordering(Measured(n, gain, gain, gain), least, least)
    if column == "sensitivity":
        rungs = {other.trial.label: 1, row.trial.label: 0}
        return by_sensitivity(rungs, row.trial.label, block.sweeps, claim.sensitivity_measure)
    if column.endswith("_to_target"):
        unit = column.removesuffix("_to_target")
        return earlier(row, other, unit, margin, block.passages, block.variation(column))[1]
    if column == "final_metric":
        values = final_values(block.rows, block.metric)
        sign = 1.0 if block.facts.higher_is_better else -1.0
        whole = not any(is_worst(log) for each in (row, other) for log in each.logs)
    else:
        values, sign, whole = per_trial(column, block.rows), -1.0, True
    found = paired_gain((row, other), sign * values, block.variation(column))
    if found is None:
        return Verdict("not tested here", "not run")
    return verdicts.ordering(found if whole else _without_interval(found), margin)


def _ladder(
    row: Published,
    column: str,
    claim: Claim,
    published: list[Published],
    block: _Block,
    own: TableRow,
    there: str,
) -> tuple[Measured, Verdict]:
    if column in _COSTS:
        return _measured(own, column, block), on_proxy(_by_rungs(row, column, published, block), there)
    if column != "sensitivity":
        measured = _measured(own, column, block)
        return measured, _level_without_unit(claim, measured.value)
    rungs = {
        other.optimizer: _RUNGS[other.values.sensitivity.level]
        for other in published
        if other.source == row.source and other.optimizer is not None and other.optimizer in block.sweeps
        if other.values.sensitivity is not None and other.values.sensitivity.level is not None
        if other.values.sensitivity.sensitivity_measure == claim.sensitivity_measure
    }
    measure = claim.sensitivity_measure
    verdict = by_sensitivity(rungs, own.trial.label, block.sweeps, measure)
    return measured_sensitivity(block.sweeps.get(own.trial.label), measure), on_proxy(verdict, there)


def _by_rungs(row: Published, column: str, published: list[Published], block: _Block) -> Verdict:
    """Judge all levels that one source states in a column."""
    rungs = {}
    for other in published:
        claim, entry = other.values.given.get(column), block.row(other.optimizer)
        if other.source == row.source and claim is not None and claim.level is not None and entry is not None:
            rungs[entry.config_id] = _RUNGS[claim.level]
    values = per_trial(column, block.rows)
    if not set(rungs) <= set(values):
        return Verdict("not tested here", "not run")
    if column == "training_bytes":
        return verdicts.counted_ladder(rungs, {key: float(values[key].mean()) for key in rungs})
    variation = block.variation(column)
    of_studies = [row for row in block.rows if row.trial.label in variation.labels and row.config_id in rungs]
    if of_studies:
        return verdicts.ladder(rungs, variation.independent(values), unit="study")
    return verdicts.ladder(rungs, values)


def _level_without_unit(claim: Claim, value: float) -> Verdict:
    """Judge a level without a unit: never testable as stated; the reason gives the interpretation and its result."""
    if claim.means is None:
        return Verdict("not testable as stated", f"'{claim}' has no unit")
    because = f" ({claim.means.because})" if claim.means.because else ""
    holds = f"{'holds' if claim.means.holds(value) else 'does not hold'}, measured {value:.4g}"
    outcome = "not measured" if math.isnan(value) else holds
    return Verdict(
        "not testable as stated", f"'{claim}' has no unit; read as {claim.means}{because}: {outcome}"
    )


def _no_quantity(column: str, use: str | None) -> Verdict:
    derived = f"; derived from the measurements: {use or 'no clear recommendation'}"
    return Verdict(
        "not testable as stated", "the claim names no quantity" + (derived if column == "best_use" else "")
    )
