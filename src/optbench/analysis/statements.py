"""Statements of a source, each decided by tests of measured quantities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, fisher_exact

from optbench.analysis import verdicts
from optbench.analysis.compare import ALPHA, FEW_SEEDS
from optbench.analysis.frames import counts, is_worst, passages_frame
from optbench.analysis.intervals import paired_difference, t_interval
from optbench.analysis.rows import TableRow, all_rows, higher_is_better
from optbench.analysis.scope import elsewhere, on_proxy, scope_text
from optbench.analysis.table import final_values
from optbench.analysis.time_claims import earlier, measured_time
from optbench.analysis.trial_quantities import QUANTITIES, TIMES, TrialQuantity, metric_of
from optbench.analysis.verdicts import Measured, Verdict
from optbench.plurals import counted
from optbench.store import Results, SuiteResults
from optbench.suite.axes import cell_name
from optbench.suite.grids import Grid
from optbench.suite.published import Published
from optbench.suite.statements import Candidate, ClaimTest, Selection, matching, problem_of, selection_text
from optbench.suite.sweep import own_point

COLUMNS = (
    *(
        "suite",
        "workload",
        "source",
        "url",
        "claim",
        "says",
        "when",
        "quantity",
        "measurement",
        "trials",
        "expected",
    ),
    *(
        "measured",
        "measured_low",
        "measured_high",
        "n",
        "scope",
        "protocol",
        "measured_on",
        "verdict",
        "reason",
    ),
)
_REACHED = TrialQuantity(lambda log: None, share=True)


@dataclass(frozen=True)
class _Rows:
    """The rows of trials of one suite that a selection can match, and their times to target."""

    suite: SuiteResults
    rows: list[TableRow]
    candidates: list[Candidate]
    passages: pd.DataFrame

    def one(self, selection: Selection) -> TableRow:
        """Return the selected row. Raises `LookupError` with the reason if there is not exactly one."""
        if problem := problem_of(selection, self.candidates):
            raise LookupError(problem)
        return self.rows[matching(selection, self.candidates)[0]]

    def by_value(self, selection: Selection, path: str) -> dict[float, TableRow]:
        """Return the selected rows by the value of an axis, in increasing order. Raises `LookupError` if it has no two numbers."""
        names = [each.names for each in self.candidates if path in each.names]
        values = {each[path] for each in names if isinstance(each[path], (int, float)) and each[path] > 0}
        if len(values) < 2:
            raise LookupError(f"'{path}' has no two positive numbers")
        return {float(value): self.one({**selection, path: value}) for value in sorted(values)}


def statements_frame(results: Results) -> pd.DataFrame:
    """Return one row per test of a statement and workload, in the order of the suite; empty if a suite has none.

    Columns: suite, workload; source, url, claim (short name), says (words of the source), when (condition); quantity,
    measurement (value, difference, ratio or slope), trials (what was measured), expected (text); measured with measured_low and
    measured_high (95 %), n (seeds; of shares: trials), scope, protocol, measured_on; verdict, reason.
    """
    records: list[dict[str, Any]] = []
    for suite in results.suites:
        published = suite.plan.resolved.get("published", []) if suite.plan is not None else []
        statements = [row for row in map(Published.model_validate, published) if row.tests]
        if statements:
            known = _rows_of(suite)
            records += [record for row in statements for record in _records(row, known)]
    return pd.DataFrame(records, columns=list(COLUMNS))


def workload_of(row: TableRow) -> str:
    """Return the name of a row's workload in the suite, without the values of axes."""
    return row.trial.workload_name.removesuffix(cell_name("", row.trial.axes)) or row.trial.workload_name


def _rows_of(suite: SuiteResults) -> _Rows:
    rows = all_rows(Results((suite,)))
    written = (suite.plan.resolved.get("sensitivity") or {}) if suite.plan is not None else {}
    swept = {name: Grid.model_validate(grid) for name, grid in written.items()}
    candidates = [
        Candidate.of(
            row.trial.label,
            workload_of(row),
            row.horizon,
            row.trial.axes,
            row.trial.point,
            own_point(swept, row.trial.entry),
        )
        for row in rows
    ]
    return _Rows(suite, rows, candidates, passages_frame(Results((suite,))))


def _records(row: Published, known: _Rows) -> Iterator[dict[str, Any]]:
    for test in row.tests:
        names = (
            [test.of["workload"]]
            if "workload" in test.of
            else list(dict.fromkeys(map(workload_of, known.rows)))
        )
        for workload in names:
            selection = {"workload": workload, **test.of}
            first, measured, verdict = _tested(row, test, selection, known)
            here = first.trial.workload if first is not None else None
            yield {
                "suite": known.suite.name,
                "workload": workload,
                "source": row.source.text,
                "url": row.source.url,
                "claim": row.id,
                "says": row.says,
                "when": test.when,
                "quantity": test.quantity,
                "measurement": _measurement(test),
                "trials": _trials_text(test),
                "expected": test.expected,
                "measured": measured.value,
                "measured_low": measured.low,
                "measured_high": measured.high,
                "n": measured.n,
                "scope": scope_text(row.scope),
                "protocol": row.protocol,
                "measured_on": f"{here.model.name} on {here.data.name}" if here is not None else "",
                "verdict": verdict.word,
                "reason": verdict.reason,
            }


def _measurement(test: ClaimTest) -> str:
    if test.slope_over is not None:
        return f"slope over {test.slope_over.rpartition('.')[2]}"
    if test.divided_by is not None:
        return "ratio"
    return "value" if test.other is None else "difference"


def _trials_text(test: ClaimTest) -> str:
    text = selection_text(test.of)
    return text if test.divided_by is None else f"{text} / {selection_text(test.divided_by)}"


def _tested(
    statement: Published, test: ClaimTest, selection: Selection, known: _Rows
) -> tuple[TableRow | None, Measured, Verdict]:
    """Return a row that was measured (None if there is none), the measured value and the verdict."""
    try:
        if test.slope_over is not None:
            by_value = known.by_value(selection, test.slope_over)
            row, judged = next(iter(by_value.values())), _judged_slope(by_value, test, known)
        else:
            row = known.one(selection)
            other = None if test.other is None else known.one({**selection, **test.other})
            judged = _judged(row, other, test, known)
    except LookupError as error:
        return None, Measured(), Verdict("not tested here", str(error.args[0]))
    measured, verdict = judged
    return row, measured, on_proxy(verdict, elsewhere(statement.scope, row, test.quantity))


def _judged(row: TableRow, other: TableRow | None, test: ClaimTest, known: _Rows) -> tuple[Measured, Verdict]:
    if test.quantity in TIMES:
        return _judged_time(row, other, test, known)
    rows = [row] if other is None else [row, other]
    quantity, values = _values(rows, test.quantity, known)
    own = values[row.config_id].dropna()
    if other is None:
        measured = _value(quantity, own.tolist())
    elif test.divided_by is not None:
        measured = _ratio(quantity, values[row.config_id], values[other.config_id])
    elif quantity.share:
        return _judged_shares(own.tolist(), values[other.config_id].dropna().tolist(), test)
    else:
        measured = _difference(quantity, values[row.config_id], values[other.config_id])
    if test.quantity == "final_metric" and any(is_worst(log) for each in rows for log in each.logs):
        measured = Measured(measured.n, measured.value, reason="no interval: some trials diverged or failed")
    return measured, _verdict(test, measured)


def _judged_time(
    row: TableRow, other: TableRow | None, test: ClaimTest, known: _Rows
) -> tuple[Measured, Verdict]:
    """Judge a time to target: medians and orders with their censoring; ratios and equality only if every trial reached the target."""
    unit = test.quantity.removesuffix("_to_target")
    targets = row.trial.workload.target
    passages = known.passages[known.passages["target"] == str(targets[0])] if targets else known.passages[:0]
    if other is None:
        measured = measured_time(row, test.quantity, passages)
        return measured, _verdict(test, measured)
    pair = passages[passages["config_id"].isin([row.config_id, other.config_id])].dropna(subset=[unit])
    if pair["config_id"].nunique() < 2:
        return Measured(), Verdict("not tested here", "not run")
    if test.divided_by is None and test.same_as is None:
        first, second = (row, other) if test.below is not None else (other, row)
        return measured_time(row, test.quantity, passages), earlier(
            first, second, unit, test.margin or 0.0, pair
        )
    if missed := int((~pair["reached"].astype(bool)).sum()):
        reason = f"{missed} of {counted(len(pair), 'trial')} did not reach the target"
        return Measured(pair["seed"].nunique(), reason=reason), Verdict("inconclusive", reason)
    values = pair.pivot(index="seed", columns="config_id", values=unit).astype(float)
    combine = _ratio if test.divided_by is not None else _difference
    measured = combine(TrialQuantity(lambda log: None), values[row.config_id], values[other.config_id])
    return measured, _verdict(test, measured)


def _judged_slope(by_value: dict[float, TableRow], test: ClaimTest, known: _Rows) -> tuple[Measured, Verdict]:
    """Judge the least-squares slope of log(quantity) over log(value), one slope per seed."""
    _, values = _values(list(by_value.values()), test.quantity, known)
    values = values[[row.config_id for row in by_value.values()]].dropna()
    positive = values[(values > 0).all(axis=1)]
    slopes = [
        float(np.polyfit(np.log(list(by_value)), np.log(row), 1)[0]) for row in positive.to_numpy(float)
    ]
    found = t_interval(slopes)
    measured = Measured(found.n, found.mean, found.low, found.high)
    return measured, _verdict(test, measured)


def _values(rows: list[TableRow], name: str, known: _Rows) -> tuple[TrialQuantity, pd.DataFrame]:
    """Return the quantity, and its value per seed (index) and row (columns, by config_id)."""
    workload = rows[0].trial.workload
    if name == "final_metric":
        metric = workload.metrics[0]
        higher = higher_is_better(known.suite, workload, metric)
        quantity = TrialQuantity(lambda log: None, within=(-math.inf, math.inf))
        return quantity, final_values(rows, metric, higher=higher)
    if name == "reached":
        own = known.passages[known.passages["config_id"].isin([row.config_id for row in rows])]
        targets = [str(target) for target in workload.target[:1]]
        own = own[own["target"].isin(targets)]
        table = own.pivot(index="seed", columns="config_id", values="reached").astype(float)
        return _REACHED, table.reindex(columns=[row.config_id for row in rows])
    quantity = QUANTITIES.get(name) or TrialQuantity(
        metric_of(name, rows[0].estimand), within=(-math.inf, math.inf)
    )
    columns = {
        row.config_id: pd.Series(
            {log.trial["seed"]: quantity.of_trial(log) for log in row.logs if counts(log)}, dtype=float
        )
        for row in rows
    }
    return quantity, pd.DataFrame(columns).replace([math.inf, -math.inf], math.nan)


def _value(quantity: TrialQuantity, values: list[float]) -> Measured:
    if quantity.share:
        return _share(values)
    if quantity.exact:
        return _exact(values)
    found = t_interval(values, within=quantity.within)
    return Measured(found.n, found.mean, found.low, found.high)


def _exact(values: list[float]) -> Measured:
    """Return a counted value: no seeds are needed, and its interval is the range that was counted."""
    if not values:
        return Measured()
    return Measured(max(len(values), FEW_SEEDS), float(np.mean(values)), min(values), max(values))


def _share(values: list[float]) -> Measured:
    """Return the share of ones with its Clopper-Pearson interval."""
    if not values:
        return Measured()
    interval = binomtest(round(sum(values)), len(values)).proportion_ci(0.95, method="exact")
    return Measured(len(values), sum(values) / len(values), float(interval.low), float(interval.high))


def _difference(quantity: TrialQuantity, own: pd.Series[float], other: pd.Series[float]) -> Measured:
    pairs = pd.concat([own, other], axis=1).dropna()
    found = paired_difference(pairs.iloc[:, 0].tolist(), pairs.iloc[:, 1].tolist())
    if quantity.exact:
        return _exact((pairs.iloc[:, 0] - pairs.iloc[:, 1]).tolist())
    return Measured(found.n, found.mean, found.low, found.high)


def _ratio(quantity: TrialQuantity, own: pd.Series[float], other: pd.Series[float]) -> Measured:
    """Return the ratio: of exact values as counted, otherwise the geometric mean over seeds with the interval of its logarithm."""
    pairs = pd.concat([own, other], axis=1).dropna()
    if quantity.share:
        return Measured(
            len(pairs), reason="a share has no ratio per seed: compare shares by 'above' or 'below'"
        )
    pairs = pairs[(pairs > 0).all(axis=1)]
    ratios = pairs.iloc[:, 0] / pairs.iloc[:, 1]
    if quantity.exact:
        return _exact(ratios.tolist())
    found = t_interval(np.log(ratios).tolist())
    return Measured(found.n, math.exp(found.mean), math.exp(found.low), math.exp(found.high))


def _judged_shares(own: list[float], other: list[float], test: ClaimTest) -> tuple[Measured, Verdict]:
    """Judge the difference of two shares of trials: Newcombe's interval (1998, method 10), orders by Fisher's exact test."""
    if not own or not other:
        return Measured(), Verdict("not tested here", "not run")
    ones = [round(sum(values)) for values in (own, other)]
    sizes = [len(own), len(other)]
    shares = [count / size for count, size in zip(ones, sizes, strict=True)]
    ends = [
        binomtest(count, size).proportion_ci(0.95, method="wilson")
        for count, size in zip(ones, sizes, strict=True)
    ]
    difference = shares[0] - shares[1]
    low = difference - math.hypot(shares[0] - ends[0].low, ends[1].high - shares[1])
    high = difference + math.hypot(ends[0].high - shares[0], shares[1] - ends[1].low)
    measured = Measured(min(sizes), difference, low, high)
    if test.same_as is not None or measured.n < FEW_SEEDS:
        return measured, _verdict(test, measured)
    p = float(fisher_exact([[ones[0], sizes[0] - ones[0]], [ones[1], sizes[1] - ones[1]]]).pvalue)
    details = (
        f"{ones[0]} of {sizes[0]} against {ones[1]} of {sizes[1]} trials, Fisher's exact test p = {p:.2g}"
    )
    if p >= ALPHA:
        return measured, Verdict("inconclusive", details)
    return measured, Verdict(
        "reproduced" if (difference > 0) is (test.above is not None) else "contradicted", details
    )


def _verdict(test: ClaimTest, measured: Measured) -> Verdict:
    margin = test.margin or 0.0
    match test.comparison:
        case "equals":
            return verdicts.numeric(test.equals or 0.0, margin, measured)
        case "at_least":
            return verdicts.inside(test.at_least or 0.0, math.inf, measured)
        case "at_most":
            return verdicts.inside(-math.inf, test.at_most or 0.0, measured)
        case "same_as":
            return verdicts.numeric(0.0, margin, measured)
        case "above":
            return verdicts.ordering(measured, margin)
        case "below":
            negative = replace(measured, value=-measured.value, low=-measured.high, high=-measured.low)
            return verdicts.ordering(negative, margin)
