"""Statements of a source, each decided by tests of measured quantities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from optbench.analysis import verdicts
from optbench.analysis.compare import ALPHA, FEW_SEEDS
from optbench.analysis.frames import counts
from optbench.analysis.intervals import t_interval
from optbench.analysis.rows import TableRow
from optbench.analysis.scope import elsewhere, on_proxy, scope_text
from optbench.analysis.statement_rows import WORST_METRICS, StatementRows, failed_rows, workload_of
from optbench.analysis.time_claims import earlier, measured_time
from optbench.analysis.trial_quantities import TIMES, TrialQuantity, quantity_of
from optbench.analysis.tuning import SEPARATE, UNKNOWN_VARIATION, TuningVariation
from optbench.analysis.verdicts import Measured, Verdict
from optbench.plurals import counted
from optbench.store import Results
from optbench.suite.metric_facts import FRACTION, facts_by_name
from optbench.suite.published import Published
from optbench.suite.quantities import NEEDS, unit_of
from optbench.suite.statements import ORDERS, ClaimTest, Selection, selection_text
from optbench.suite.value_formatting import as_text

Judged = tuple[Measured, Verdict]

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
        "metric",
        "measurement",
        "unit",
        "trials",
        "comparison",
        "against",
        "margin",
        "expected",
        "expected_low",
        "expected_high",
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


def statements_frame(results: Results) -> pd.DataFrame:
    """Return one row per test of a statement and workload, in the order of the suite; empty if a suite has none.

    Columns: suite, workload; source, url, claim (short name), says (words of the source), when (condition); quantity, metric (first of
    the workload's; "" if nothing was run), measurement (value, difference, ratio, slope, ...), unit (a key of `suite.quantities.UNITS`,
    "points" for differences of shares, "x" for ratios, "" for numbers without a unit), trials (what was measured), comparison, against
    (trials that it is compared with; "" for a number), margin, expected (all of these as text) with expected_low and expected_high (the
    claim holds between them); measured with measured_low and measured_high (95 %), n (seeds; of shares: trials), scope, protocol,
    measured_on; verdict, reason.
    """
    records: list[dict[str, Any]] = []
    for suite in results.suites:
        published = suite.plan.resolved.get("published", []) if suite.plan is not None else []
        statements = [row for row in map(Published.model_validate, published) if row.tests]
        if statements:
            known = StatementRows.of(suite)
            records += [record for row in statements for record in _records(row, known)]
    return pd.DataFrame(records, columns=list(COLUMNS))


def _records(row: Published, known: StatementRows) -> Iterator[dict[str, Any]]:
    for test in row.tests:
        names = [test.of["workload"]] if "workload" in test.of else list(known.workloads)
        for workload in [counted(len(names), "workload")] if test.across else names:
            selections = [{"workload": name, **test.of} for name in (names if test.across else [workload])]
            first, measured, verdict = _tested(row, test, selections, known)
            here = first.trial.workload if first is not None and not test.across else None
            metric = first.trial.workload.metrics[0] if first is not None else ""
            yield {
                "suite": known.suite.name,
                "workload": workload,
                "source": row.source.text,
                "url": row.source.url,
                "claim": row.id,
                "says": row.says,
                "when": test.when,
                "quantity": test.quantity,
                "metric": metric,
                "measurement": _measurement(test),
                "unit": _unit(test, metric, first),
                "trials": _trials_text(test),
                "comparison": test.comparison,
                "against": selection_text(test.other) if test.comparison in ORDERS and test.other else "",
                "margin": math.nan if test.margin is None else test.margin,
                "expected": test.expected,
                "expected_low": test.region[0],
                "expected_high": test.region[1],
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
        return f"slope over {_last(test.slope_over)}"
    if test.range_over is not None:
        return f"largest difference between values of {_last(test.range_over)}"
    if test.predicts is not None:
        kind = "AUROC" if test.threshold is None else f"share above {test.threshold:g}"
        return f"{kind} for {test.predicts.replace('_', ' ')}"
    largest = "" if test.largest_over is None else f", largest {_last(test.largest_over)}"
    if test.divided_by is not None:
        return f"ratio{largest}"
    if test.per_seed:
        return "largest difference of a seed"
    return ("value" if test.other is None else "difference") + largest


def _unit(test: ClaimTest, metric: str, row: TableRow | None) -> str:
    if test.divided_by is not None:
        return "x"
    if test.slope_over is not None or test.largest_over is not None:
        return ""
    if test.predicts is not None:
        return "fraction" if test.threshold is not None else ""
    name = metric if test.quantity in WORST_METRICS else test.quantity.partition(".")[2]
    unit = unit_of(test.quantity)
    if name:
        facts = row.facts(name) if row is not None else facts_by_name(name)
        unit = FRACTION if facts.is_fraction else ""
    is_difference = test.other is not None or test.range_over is not None
    return "points" if unit == "fraction" and is_difference else unit


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _trials_text(test: ClaimTest) -> str:
    text = selection_text(test.of)
    return text if test.divided_by is None else f"{text} / {selection_text(test.divided_by)}"


def _tested(
    statement: Published, test: ClaimTest, selections: list[Selection], known: StatementRows
) -> tuple[TableRow | None, Measured, Verdict]:
    """Return a row that was measured (None if there is none), the measured value and the verdict. One selection per workload."""
    notes: list[str] = []

    def one(selection: Selection) -> TableRow:
        row, note = known.one(selection)
        notes.extend([note] if note and note not in notes else [])
        return row

    try:
        selection = selections[0]
        if test.predicts is not None:
            rows = known.every(selection)
            row, judged = rows[0], _judged_prediction(rows, test)
        elif test.slope_over is not None or test.range_over is not None:
            by_value = known.by_value(selection, test.slope_over or test.range_over or "")
            row = next(iter(by_value.values()))
            judged = (_judged_slope if test.slope_over is not None else _judged_range)(by_value, test, known)
        elif test.largest_over is not None:
            row, judged = _judged_largest(selection, test, known)
        else:
            pairs = [
                (one(each), None if test.other is None else one({**each, **test.other}))
                for each in selections
            ]
            row = pairs[0][0]
            judged = _judged_across(pairs, test, known) if test.across else _judged(*pairs[0], test, known)
    except LookupError as error:
        return None, Measured(), Verdict("not tested here", str(error.args[0]))
    measured, verdict = judged
    if notes and not test.across:
        verdict = Verdict(verdict.word, "; ".join([*notes, *filter(None, [verdict.reason])]))
    return row, measured, on_proxy(verdict, elsewhere(statement.scope, row, test.quantity))


def _judged(row: TableRow, other: TableRow | None, test: ClaimTest, known: StatementRows) -> Judged:
    if test.quantity in TIMES:
        return _judged_time(row, other, test, known)
    rows = [row] if other is None else [row, other]
    quantity, values = known.values(rows, test.quantity)
    if len(values) and values.isna().all(axis=None):
        raise LookupError(f"not recorded by these trials{NEEDS.get(test.quantity, '')}")
    variation = known.variation(rows)
    if quantity.share and variation.labels & {each.trial.label for each in rows}:
        return Measured(int(values.count().min()), reason=UNKNOWN_VARIATION), Verdict(
            "inconclusive", UNKNOWN_VARIATION
        )
    own = values[row.config_id].dropna()
    if other is None:
        measured = _value(quantity, values[row.config_id], variation, row.trial.label)
    elif test.per_seed:
        measured = _largest_difference(values[row.config_id], values[other.config_id])
    elif quantity.share and test.divided_by is None:
        return _judged_shares(own.tolist(), values[other.config_id].dropna().tolist(), test)
    else:
        combine = _ratio if test.divided_by is not None else _difference
        labels = (row.trial.label, other.trial.label)
        measured = combine(quantity, values[[row.config_id, other.config_id]], variation, labels)
    is_metric = test.quantity in WORST_METRICS or "." in test.quantity
    if is_metric and failed_rows(rows):
        measured = measured.without_interval("no interval: some trials diverged or failed")
    return measured, _verdict(test, measured)


def _judged_across(
    pairs: list[tuple[TableRow, TableRow | None]], test: ClaimTest, known: StatementRows
) -> Judged:
    """Judge the mean over workloads of each workload's mean, difference or ratio, by its t interval."""
    found: list[float] = []
    missing: list[str] = []
    for row, other in pairs:
        value = _of_workload(row, other, test, known)
        if math.isfinite(value):
            found.append(value)
        else:
            missing.append(workload_of(row))
    estimate = t_interval(found)
    measured = Measured(estimate.n, estimate.mean, estimate.low, estimate.high)
    if test.divided_by is not None and found:
        value, low, high = (math.exp(end) for end in (measured.value, measured.low, measured.high))
        measured = Measured(measured.n, value, low, high)
    if missing:
        return measured, Verdict("inconclusive", f"no value for {', '.join(missing)}")
    if measured.n < FEW_SEEDS:
        few = f"{counted(measured.n, 'workload')}; a verdict over workloads requires at least {FEW_SEEDS}"
        return measured, Verdict("inconclusive", few)
    return measured, _verdict(test, measured)


def _of_workload(row: TableRow, other: TableRow | None, test: ClaimTest, known: StatementRows) -> float:
    """Return the mean of a workload, or its mean difference, or the logarithm of its ratio; NaN if unknown."""
    if test.quantity in TIMES:
        return _time_of_workload(row, other, test, known)
    rows = [row] if other is None else [row, other]
    _, values = known.values(rows, test.quantity)
    own = values[row.config_id]
    if other is None:
        return float(own.mean())
    pairs = pd.concat([own, values[other.config_id]], axis=1).dropna()
    if test.divided_by is None:
        return float((pairs.iloc[:, 0] - pairs.iloc[:, 1]).mean())
    positive = len(pairs) > 0 and bool((pairs > 0).all(axis=None))
    return float(np.log(pairs.iloc[:, 0] / pairs.iloc[:, 1]).mean()) if positive else math.nan


def _time_of_workload(row: TableRow, other: TableRow | None, test: ClaimTest, known: StatementRows) -> float:
    """Return a median time to target, or the difference of two, or the logarithm of their ratio.

    If the slower side of the claim did not reach the target in half of its trials, the end of its budget replaces its time: the
    advantage of the other side is then understated. If the faster side did not, the value is unknown.
    """
    passages = _first_target(row, known)
    own = measured_time(row, test.quantity, passages).value
    if other is None:
        return own
    theirs = measured_time(other, test.quantity, passages).value
    unit = test.quantity.removesuffix("_to_target")
    own_is_slower = test.above is not None or test.at_least is not None
    if own_is_slower and math.isnan(own):
        own = float(passages.loc[passages["config_id"] == row.config_id, unit].max())
    if not own_is_slower and test.same_as is None and math.isnan(theirs):
        theirs = float(passages.loc[passages["config_id"] == other.config_id, unit].max())
    if test.divided_by is None:
        return own - theirs
    return math.log(own / theirs) if own > 0 and theirs > 0 else math.nan


def _first_target(row: TableRow, known: StatementRows) -> pd.DataFrame:
    """Return the times to the first target of a row's workload."""
    targets = row.trial.workload.target
    return known.passages[known.passages["target"] == str(targets[0])] if targets else known.passages[:0]


def _judged_prediction(rows: list[TableRow], test: ClaimTest) -> Judged:
    """Judge how well a quantity predicts an outcome: AUROC with the interval of Hanley and McNeil (1982, Radiology 143), or a share."""
    assert test.predicts is not None
    outcome, negated = test.predicts.removeprefix("not_"), test.predicts.startswith("not_")
    trials = [
        (quantity_of(test.quantity, row).of_trial(log), quantity_of(outcome, row).of_trial(log))
        for row in rows
        for log in row.logs
        if counts(log)
    ]
    known = [
        (x, bool(y) is not negated)
        for x, y in trials
        if x is not None and y is not None and not math.isnan(x)
    ]
    reason = f"{counted(len(trials) - len(known), 'trial')} ended before the value was recorded"
    note = reason if len(known) < len(trials) else ""
    if test.threshold is not None:
        warned = [float(y) for x, y in known if x > test.threshold]
        if not warned:
            return Measured(), Verdict("inconclusive", f"no trial has a value above {test.threshold:g}")
        measured = _share(warned)
    else:
        measured = _auroc([x for x, y in known if y], [x for x, y in known if not y])
    verdict = _verdict(test, measured)
    return measured, Verdict(verdict.word, "; ".join(filter(None, [verdict.reason, note])))


def _auroc(positive: list[float], negative: list[float]) -> Measured:
    from scipy.stats import mannwhitneyu

    if not positive or not negative:
        return Measured(
            len(positive) + len(negative),
            reason="all trials have the same outcome" if positive or negative else "",
        )
    m, n = len(positive), len(negative)
    a = float(mannwhitneyu(positive, negative).statistic) / (m * n)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (m - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (m * n)
    half = 1.959964 * math.sqrt(max(0.0, variance))
    return Measured(m + n, a, max(0.0, a - half), min(1.0, a + half))


def _judged_range(by_value: dict[Any, TableRow], test: ClaimTest, known: StatementRows) -> Judged:
    """Judge the largest of all paired mean differences, with Bonferroni's simultaneous intervals.

    The largest difference lies between the largest lower and the largest upper end of the intervals of all absolute differences.
    """
    rows = list(by_value.values())
    if test.quantity in TIMES:
        raise LookupError("a largest difference of times to target is not available")
    _, values = known.values(rows, test.quantity)
    pairs = list(itertools.combinations(by_value.items(), 2))
    variation, level = known.variation(rows), 1 - 0.05 / len(pairs)
    found = []
    for (a, first), (b, second) in pairs:
        both = values[[first.config_id, second.config_id]]
        labels = (first.trial.label, second.trial.label)
        found.append((variation.difference(labels, both, level), a, b))
    fewest = min((each for each, _, _ in found), key=lambda each: each.n)
    if fewest.n == 0:
        return Measured(), Verdict("not tested here", "not run")
    largest, a, b = max(found, key=lambda each: abs(each[0].value))
    low = high = math.nan
    if not any(math.isnan(each.low) for each, _, _ in found):  # with one seed
        low = max(max(0.0, each.low, -each.high) for each, _, _ in found)
        high = max(max(abs(each.low), abs(each.high)) for each, _, _ in found)
    measured = Measured(fewest.n, abs(largest.value), low, high, unit=fewest.unit)
    if failed := failed_rows(rows):
        measured = measured.without_interval(f"no interval: {counted(failed, 'trial')} diverged or failed")
    verdict = _verdict(test, measured)
    pair = f"between {as_text(a)} and {as_text(b)}"
    return measured, Verdict(verdict.word, "; ".join(filter(None, [pair, verdict.reason])))


def _judged_largest(selection: Selection, test: ClaimTest, known: StatementRows) -> tuple[TableRow, Judged]:
    """Judge the largest value of a path at which a trial has the quantity, one value per seed. Return a measured row too."""
    assert test.largest_over is not None
    sides = [selection] if test.other is None else [selection, {**selection, **test.other}]
    found, missed, row = [], 0, None
    for side in sides:
        by_value = known.by_value(side, test.largest_over)
        row = row or next(iter(by_value.values()))
        _, values = known.values(list(by_value.values()), test.quantity)
        by_column = {config.config_id: float(value) for value, config in by_value.items()}
        held = values.dropna().mul(pd.Series(by_column)).where(values.dropna() > 0)
        missed += int(held.isna().all(axis=1).sum())
        found.append(held.max(axis=1))
    assert row is not None
    plain = TrialQuantity(lambda log: None)
    if test.other is None:
        measured = _value(plain, found[0])
    else:
        combine = _ratio if test.divided_by is not None else _difference
        measured = combine(plain, pd.concat(found, axis=1))
    if missed and not measured.n:
        return row, (
            Measured(),
            Verdict("inconclusive", "no trial of one side has the quantity at any value"),
        )
    if missed:
        reason = f"in {counted(missed, 'series', 'series')} of trials no value has the quantity"
        measured = measured.without_interval(reason)
    return row, (measured, _verdict(test, measured))


def _judged_time(row: TableRow, other: TableRow | None, test: ClaimTest, known: StatementRows) -> Judged:
    """Judge a time to target: medians and orders with their censoring; ratios and equality only if every trial reached the target."""
    unit = test.quantity.removesuffix("_to_target")
    passages = _first_target(row, known)
    variation = known.variation([row] if other is None else [row, other])
    measured = measured_time(row, test.quantity, passages, variation)
    if other is None:
        return measured, _verdict(test, measured)
    pair = passages[passages["config_id"].isin([row.config_id, other.config_id])].dropna(subset=[unit])
    if pair["config_id"].nunique() < 2:
        return Measured(), Verdict("not tested here", "not run")
    if test.divided_by is None and test.same_as is None:
        if test.above is not None:
            return earlier(other, row, unit, test.margin or 0.0, pair, variation)
        gain, verdict = earlier(row, other, unit, test.margin or 0.0, pair, variation)
        return gain.negated(), verdict
    if missed := int((~pair["reached"].astype(bool)).sum()):
        reason = f"{missed} of {counted(len(pair), 'trial')} did not reach the target"
        return Measured(pair["seed"].nunique(), reason=reason), Verdict("inconclusive", reason)
    values = pair.pivot(index="seed", columns="config_id", values=unit).astype(float)
    combine = _ratio if test.divided_by is not None else _difference
    labels = (row.trial.label, other.trial.label)
    columns = values[[row.config_id, other.config_id]]
    measured = combine(TrialQuantity(lambda log: None), columns, variation, labels)
    return measured, _verdict(test, measured)


def _judged_slope(by_value: dict[Any, TableRow], test: ClaimTest, known: StatementRows) -> Judged:
    """Judge the least-squares slope of log(quantity) over log(value), one slope per seed."""
    if not all(isinstance(value, (int, float)) and value > 0 for value in by_value):
        raise LookupError(f"'{test.slope_over}' has values that are not positive numbers")
    _, values = known.values(list(by_value.values()), test.quantity)
    values = values[[row.config_id for row in by_value.values()]].dropna()
    positive = values[(values > 0).all(axis=1)]
    slopes = [
        float(np.polyfit(np.log(list(by_value)), np.log(row), 1)[0]) for row in positive.to_numpy(float)
    ]
    rows = list(by_value.values())
    variation = known.variation(rows)
    if variation.labels & {row.trial.label for row in rows}:
        measured = Measured(len(slopes), float(np.mean(slopes)), reason=UNKNOWN_VARIATION)
        return measured, _verdict(test, measured)
    found = t_interval(slopes)
    measured = Measured(found.n, found.mean, found.low, found.high)
    return measured, _verdict(test, measured)


def _value(
    quantity: TrialQuantity, values: pd.Series, variation: TuningVariation = SEPARATE, label: str = ""
) -> Measured:
    if quantity.share:
        return _share(values.dropna().tolist())
    if quantity.exact:
        return _exact(values.dropna().tolist())
    return variation.measured(label, values, quantity.within)


def _exact(values: list[float]) -> Measured:
    """Return a counted value: no seeds are needed, and its interval is the range that was counted."""
    if not values:
        return Measured()
    return Measured(max(len(values), FEW_SEEDS), float(np.mean(values)), min(values), max(values))


def _share(values: list[float]) -> Measured:
    """Return the share of ones with its Clopper-Pearson interval."""
    from scipy.stats import binomtest

    if not values:
        return Measured()
    interval = binomtest(round(sum(values)), len(values)).proportion_ci(0.95, method="exact")
    return Measured(len(values), sum(values) / len(values), float(interval.low), float(interval.high))


def _largest_difference(own: pd.Series[float], other: pd.Series[float]) -> Measured:
    """Return the largest absolute difference of a seed; there is no interval."""
    sizes = (own - other).dropna().abs()
    largest = float(sizes.max())
    return Measured(len(sizes), largest, largest, largest)


def _difference(
    quantity: TrialQuantity,
    columns: pd.DataFrame,
    variation: TuningVariation = SEPARATE,
    labels: tuple[str, ...] = (),
) -> Measured:
    """Return the mean paired difference of two columns, of exact values as counted. `labels`: of the rows of the columns."""
    pairs = columns.dropna()
    if quantity.exact:
        return _exact((pairs.iloc[:, 0] - pairs.iloc[:, 1]).tolist())
    return variation.difference(labels, pairs)


def _ratio(
    quantity: TrialQuantity,
    columns: pd.DataFrame,
    variation: TuningVariation = SEPARATE,
    labels: tuple[str, ...] = (),
) -> Measured:
    """Return the ratio: of exact values as counted, otherwise the geometric mean over seeds with the interval of its logarithm."""
    pairs = columns.dropna()
    if quantity.share:
        return Measured(
            len(pairs), reason="a share has no ratio per seed: compare shares by 'above' or 'below'"
        )
    pairs = pairs[(pairs > 0).all(axis=1)]
    if quantity.exact:
        return _exact((pairs.iloc[:, 0] / pairs.iloc[:, 1]).tolist())
    logarithms = pd.DataFrame(np.log(pairs.to_numpy(float)), index=pairs.index)
    found = variation.difference(labels, logarithms)
    value, low, high = (math.exp(end) for end in (found.value, found.low, found.high))
    return replace(found, value=value, low=low, high=high)


def _judged_shares(own: list[float], other: list[float], test: ClaimTest) -> Judged:
    """Judge the difference of two shares of trials: Newcombe's interval (1998, method 10), orders by Fisher's exact test."""
    from scipy.stats import binomtest, fisher_exact

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
    counted_ones = f"{ones[0]} of {sizes[0]} against {ones[1]} of {sizes[1]} trials"
    details = f"{counted_ones}, Fisher's exact test p {f'= {p:.2g}' if p >= 0.001 else '< 0.001'}"
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
            return verdicts.ordering(measured.negated(), margin)
