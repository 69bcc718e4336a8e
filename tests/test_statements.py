"""Published statements: the tests that decide them, and the verdict of each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace

from optbench import report
from optbench.analysis.statement_rows import WORST_METRICS
from optbench.analysis.statements import statements_frame
from optbench.analysis.table import comparison
from optbench.analysis.trial_quantities import QUANTITIES as COMPUTED
from optbench.analysis.trial_quantities import TIMES
from optbench.catalog.check import problems
from optbench.errors import OptbenchError
from optbench.events import Evaluated, Event, Finished, Started
from optbench.report.figures import drawings
from optbench.report.plots import Interval, Points
from optbench.report.statements import conditions, measurement
from optbench.report.text import amount
from optbench.store import read
from optbench.suite.dump import dump_text
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.quantities import QUANTITIES
from optbench.suite.types import Trial
from results_builder import curve, diverged, reaching, write_trials

SUITE = """\
workload: {model: {name: mlp, hidden: [8]}, data: digits, batch_size: 8, budget: 10 epochs, target: {at_least: 0.9}}
optimizers: {SGD: {use: sgd, lr: 0.1}, Adam: adam}
seeds: SEEDS
axes: {workload.batch_size: [8, 16, 32], clip: [null, {norm: 1}]}
published:
  - source: An article
    id: P3
    says: clipping is essential
    tests:
      - TEST
"""


def _judged(
    tmp_path: Path, test: str, events: Callable[[Trial], list[Event]], seeds: int = 6, suite: str = SUITE
) -> pd.Series[Any]:
    """Return the only test's row of the statements of a suite whose trials have these events."""
    file = tmp_path / "s.yaml"
    file.write_text(suite.replace("TEST", test).replace("SEEDS", str(seeds)))
    loaded = load(file)
    assert not problems(loaded, tmp_path)
    trials = plan(loaded)
    write_trials(
        tmp_path / "results", loaded.suite, trials, {trial.id: events(trial) for trial in trials}, name="s"
    )
    frame = statements_frame(read([tmp_path / "results"]))
    assert len(frame) == 1
    return frame.iloc[0]


def _size(trial: Trial) -> int:
    return int(trial.axes["workload.batch_size"])


def _with(events: list[Event], **changes: Any) -> list[Event]:
    """Set fields of the start or the end of a trial."""
    return [
        replace(event, **{k: v for k, v in changes.items() if hasattr(event, k)})
        if isinstance(event, (Started, Finished))
        else event
        for event in events
    ]


def test_every_quantity_that_a_suite_can_name_is_computed() -> None:
    assert set(QUANTITIES) == {*COMPUTED, *TIMES, *WORST_METRICS, "reached"}


def test_a_share_of_diverged_trials_is_compared_by_fishers_test(tmp_path: Path) -> None:
    test = "{quantity: diverged, of: {optimizer: SGD, batch_size: 8, clip: null}, above: {clip: {norm: 1}}, when: at 0.1}"
    row = _judged(tmp_path, test, lambda trial: diverged() if trial.axes["clip"] is None else curve([0.95]))
    assert (row["verdict"], row["measured"], row["when"]) == ("reproduced", 1.0, "at 0.1")
    assert "6 of 6 against 0 of 6 trials, Fisher's exact test p = 0.0022" in row["reason"]


def test_few_diverged_trials_are_inconclusive(tmp_path: Path) -> None:
    test = "{quantity: diverged, of: {optimizer: SGD, batch_size: 8, clip: null}, above: {clip: {norm: 1}}}"
    lost = (0, 1, 2)
    row = _judged(
        tmp_path,
        test,
        lambda trial: diverged() if trial.axes["clip"] is None and trial.seed in lost else curve([0.95]),
    )
    assert row["verdict"] == "inconclusive"  # 3 of 6 against 0 of 6: p = 0.18


def test_a_slope_is_fitted_per_seed_on_logarithms(tmp_path: Path) -> None:
    test = "{quantity: gradient_noise_start, of: {optimizer: SGD, clip: null}, slope_over: workload.batch_size, equals: -1, margin: 0.1}"

    def events(trial: Trial) -> list[Event]:
        return _with(curve([0.95]), gradient_noise=(3 + trial.seed) / _size(trial))

    row = _judged(tmp_path, test, events)
    assert row["measured"] == pytest.approx(-1)
    assert row["verdict"] == "reproduced"


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        ("{quantity: state_multiple, of: ADAM, equals: 2, margin: 0.05}", "reproduced"),
        ("{quantity: state_multiple, of: ADAM, equals: 1.5, margin: 0.05}", "contradicted"),
        ("{quantity: state_bytes, of: ADAM, divided_by: {optimizer: SGD}, at_least: 1.9}", "reproduced"),
        ("{quantity: state_bytes, of: ADAM, divided_by: {optimizer: SGD}, at_most: 1.5}", "contradicted"),
    ],
)
def test_bytes_are_counted_and_need_no_seeds(tmp_path: Path, test: str, verdict: str) -> None:
    def events(trial: Trial) -> list[Event]:
        return _with(curve([0.95]), state_bytes=8000 if trial.label == "Adam" else 4000)

    adam = "{optimizer: Adam, batch_size: 8, clip: null}"
    assert _judged(tmp_path, test.replace("ADAM", adam), events, seeds=1)["verdict"] == verdict


@pytest.mark.parametrize(
    ("comparison", "verdict"),
    [
        ("above: {clip: {norm: 1}}", "reproduced"),
        ("below: {clip: {norm: 1}}", "contradicted"),
        ("same_as: {clip: {norm: 1}}, margin: 0.2", "reproduced"),
        ("same_as: {clip: {norm: 1}}, margin: 0.01", "contradicted"),
        ("at_least: 0.85", "reproduced"),
        ("equals: 0.9, margin: 0.002", "inconclusive"),
        ("at_most: 0.85", "contradicted"),
    ],
)
def test_one_rule_decides_all_comparisons_of_a_metric(tmp_path: Path, comparison: str, verdict: str) -> None:
    """0.9 with a spread of 0.01 without clipping, 0.1 less with clipping."""

    def events(trial: Trial) -> list[Event]:
        noise = 0.01 * ((trial.seed % 3) - 1)
        return curve([0.9 + noise - (0.1 if trial.axes["clip"] else 0.0)])

    test = f"{{quantity: final_metric, of: {{optimizer: SGD, batch_size: 8, clip: null}}, {comparison}}}"
    assert _judged(tmp_path, test, events)["verdict"] == verdict


def test_times_to_target_are_compared_with_their_censoring(tmp_path: Path) -> None:
    test = "{quantity: epochs_to_target, of: {optimizer: SGD, batch_size: 8, clip: null}, below: {optimizer: Adam}}"
    row = _judged(tmp_path, test, lambda trial: reaching(3 if trial.label == "SGD" else 8))
    assert (row["verdict"], row["measured"], row["unit"]) == ("reproduced", -5, "epochs")


@pytest.mark.parametrize(
    ("comparison", "adam", "verdict"),
    [
        ("divided_by: {optimizer: Adam}, at_most: 0.5", 8, "reproduced"),
        ("divided_by: {optimizer: Adam}, at_least: 0.5", 8, "contradicted"),
        ("same_as: {optimizer: Adam}, margin: 1", 3, "reproduced"),
        ("divided_by: {optimizer: Adam}, at_most: 0.5", 11, "inconclusive"),  # never reached
    ],
)
def test_times_have_ratios_only_if_all_trials_reached_the_target(
    tmp_path: Path, comparison: str, adam: int, verdict: str
) -> None:
    test = f"{{quantity: epochs_to_target, of: {{optimizer: SGD, batch_size: 8, clip: null}}, {comparison}}}"
    row = _judged(tmp_path, test, lambda trial: reaching(3 if trial.label == "SGD" else adam))
    assert row["verdict"] == verdict


def test_diverged_trials_leave_a_metric_without_interval(tmp_path: Path) -> None:
    test = "{quantity: final_metric, of: {optimizer: SGD, batch_size: 8, clip: null}, at_least: 0.5}"
    row = _judged(tmp_path, test, lambda trial: diverged() if trial.seed == 0 else curve([0.95]))
    assert row["verdict"] == "inconclusive"
    assert row["reason"] == "no interval: some trials diverged or failed"


def test_fewer_than_five_seeds_are_inconclusive(tmp_path: Path) -> None:
    test = "{quantity: final_metric, of: {optimizer: SGD, batch_size: 8, clip: null}, at_least: 0.5}"
    assert _judged(tmp_path, test, lambda trial: curve([0.95]), seeds=4)["verdict"] == "inconclusive"


def test_a_point_of_a_sweep_is_selected_by_its_hyperparameter(tmp_path: Path) -> None:
    suite = SUITE.replace(
        "axes: {workload.batch_size: [8, 16, 32], clip: [null, {norm: 1}]}", "sensitivity: {lr: [0.1, 1, 10]}"
    )
    test = "{quantity: validation.accuracy, of: {optimizer: SGD, lr: 1.0}, below: {lr: 0.1}}"

    def events(trial: Trial) -> list[Event]:
        return curve([0.5 if trial.point.get("lr") == 1.0 else 0.9 + trial.seed / 1000])

    assert (
        _judged(tmp_path, test, events, suite=suite.replace("adam}", "{use: adam, lr: 0.001}}"))["verdict"]
        == "reproduced"
    )


def test_best_selects_by_validation_and_the_verdict_states_what_it_selected(tmp_path: Path) -> None:
    """At batch size 32 the validation accuracy is the best, and the final metric is 0.8."""
    test = "{quantity: final_metric, of: {optimizer: SGD, clip: null, batch_size: {best: all}}, equals: 0.8, margin: 0.01}"

    def events(trial: Trial) -> list[Event]:
        return curve([0.5 + _size(trial) / 100], final=0.8 if _size(trial) == 32 else 0.95)

    row = _judged(tmp_path, test, events)
    assert row["verdict"] == "reproduced"
    assert row["reason"] == "selected by validation: batch_size=32 (the largest value tried)"
    assert "batch_size=best" in row["trials"]


def test_best_of_a_list_selects_among_its_values_only(tmp_path: Path) -> None:
    test = (
        "{quantity: final_metric, of: {optimizer: SGD, clip: null, batch_size: {best: [8, 16]}}, "
        "above: {batch_size: 32}}"
    )
    row = _judged(tmp_path, test, lambda trial: curve([0.5 + (_size(trial) % 32) / 100 + trial.seed / 1000]))
    assert (row["verdict"], row["reason"]) == ("reproduced", "selected by validation: batch_size=16")


@pytest.mark.parametrize(("bound", "verdict"), [(0.15, "reproduced"), (0.25, "contradicted")])
def test_the_largest_difference_has_simultaneous_intervals(
    tmp_path: Path, bound: float, verdict: str
) -> None:
    """Means 0.5, 0.6 and 0.7 at the three batch sizes."""
    test = f"{{quantity: final_metric, of: {{optimizer: SGD, clip: null}}, range_over: batch_size, at_least: {bound}}}"

    def events(trial: Trial) -> list[Event]:
        return curve(
            [0.4 + {8: 0.1, 16: 0.2, 32: 0.3}[_size(trial)] + 0.001 * ((trial.seed * _size(trial)) % 5)]
        )

    row = _judged(tmp_path, test, events)
    assert row["verdict"] == verdict
    assert row["measured"] == pytest.approx(0.2, abs=0.01)
    assert row["measured_low"] < row["measured"] < row["measured_high"]
    assert "between 8 and 32" in row["reason"]


def test_the_largest_value_at_which_trials_reach_the_target_is_compared_as_a_ratio(tmp_path: Path) -> None:
    """With clipping at every batch size, without only at 8."""
    test = (
        "{quantity: reached, largest_over: batch_size, of: {optimizer: SGD, clip: {norm: 1}}, divided_by: {clip: null}, "
        "at_least: 2}"
    )

    def events(trial: Trial) -> list[Event]:
        return reaching(3 if trial.axes["clip"] or _size(trial) == 8 else 11)

    row = _judged(tmp_path, test, events)
    assert (row["verdict"], row["measured"]) == ("reproduced", pytest.approx(4))


def test_without_any_value_that_reaches_the_target_there_is_no_interval(tmp_path: Path) -> None:
    test = "{quantity: reached, largest_over: batch_size, of: {optimizer: SGD, clip: null}, at_least: 2}"
    row = _judged(tmp_path, test, lambda trial: reaching(11 if trial.seed == 0 else 3))
    assert (row["verdict"], row["reason"]) == (
        "inconclusive",
        "in 1 series of trials no value has the quantity",
    )
    assert measurement(row)[0] == "largest batch_size at which runs reach the target"


def _of_workloads(tmp_path: Path, test: str, times: dict[str, tuple[int, int]]) -> pd.Series[Any]:
    """`times`: epochs to the target of SGD and Adam by workload; 11 is never."""
    names = "".join(f"  {name}: *one\n" for name in list(times)[1:])
    workload = "{model: {name: mlp, hidden: [8]}, data: digits, batch_size: 8, budget: 10 epochs, target: {at_least: 0.9}}"
    suite = f"workloads:\n  {next(iter(times))}: &one {workload}\n{names}" + SUITE.partition("\n")[2].replace(
        "axes: {workload.batch_size: [8, 16, 32], clip: [null, {norm: 1}]}\n", ""
    )
    return _judged(
        tmp_path,
        test,
        lambda trial: reaching(times[trial.workload_name][trial.label != "SGD"]),
        suite=suite,
        seeds=1,
    )


def test_one_verdict_over_all_workloads_has_the_interval_of_their_mean(tmp_path: Path) -> None:
    test = "{quantity: epochs_to_target, of: SGD, divided_by: {optimizer: Adam}, at_most: 0.6, across: workloads}"
    row = _of_workloads(tmp_path, test, {"a": (1, 2), "b": (2, 4), "c": (3, 6), "d": (4, 8), "e": (5, 10)})
    assert (row["verdict"], row["n"], row["workload"]) == ("reproduced", 5, "5 workloads")
    assert row["measured"] == pytest.approx(0.5)


def test_a_budget_replaces_the_time_of_the_slower_side_only(tmp_path: Path) -> None:
    test = "{quantity: epochs_to_target, of: SGD, divided_by: {optimizer: Adam}, at_most: 0.6, across: workloads}"
    rest = dict.fromkeys("abcd", (1, 2))
    assert _of_workloads(tmp_path, test, {**rest, "e": (5, 11)})["verdict"] == "reproduced"
    row = _of_workloads(tmp_path, test, {**rest, "e": (11, 5)})
    assert (row["verdict"], row["reason"]) == ("inconclusive", "no value for e")


@pytest.mark.parametrize(
    ("key", "verdict", "measured"),
    [("at_least: 0.8", "reproduced", 1.0), ("threshold: 3, at_least: 0.9", "inconclusive", 1.0)],
)
def test_a_quantity_predicts_an_outcome(tmp_path: Path, key: str, verdict: str, measured: float) -> None:
    """Trials with a large norm in the first interval do not reach the target; six of them are above 3."""
    test = (
        f"{{quantity: gradient_norm_first, of: {{optimizer: SGD, clip: null}}, predicts: not_reached, {key}}}"
    )

    def events(trial: Trial) -> list[Event]:
        size = _size(trial)
        told = reaching(11 if size == 32 else 3)
        return [
            replace(event, gradient_norm_max=size / 8 + trial.seed / 100)
            if isinstance(event, Evaluated)
            else event
            for event in told
        ]

    row = _judged(tmp_path, test, events)
    assert (row["verdict"], row["measured"]) == (verdict, pytest.approx(measured))
    assert row["n"] == (6 if "threshold" in key else 18)


def test_a_prediction_without_both_outcomes_is_inconclusive(tmp_path: Path) -> None:
    test = "{quantity: state_multiple, of: {optimizer: SGD, clip: null}, predicts: diverged, at_least: 0.8}"
    row = _judged(tmp_path, test, lambda trial: reaching(3))
    assert (row["verdict"], row["reason"]) == ("inconclusive", "all trials have the same outcome")


def test_diverged_trials_count_as_the_worst_validation_metric(tmp_path: Path) -> None:
    test = "{quantity: validation_metric, of: {optimizer: SGD, batch_size: 8, clip: null}, below: {clip: {norm: 1}}}"
    row = _judged(tmp_path, test, lambda trial: diverged() if trial.axes["clip"] is None else curve([0.9]))
    assert (row["verdict"], row["measured"]) == ("inconclusive", pytest.approx(-0.9))
    assert row["reason"] == "no interval: some trials diverged or failed"


def test_the_mean_of_a_metric_over_evaluations_is_a_quantity(tmp_path: Path) -> None:
    test = "{quantity: mean_validation.accuracy, of: {optimizer: SGD, batch_size: 8, clip: null}, equals: 0.6, margin: 0.001}"
    assert _judged(tmp_path, test, lambda trial: curve([0.4, 0.6, 0.8]))["verdict"] == "reproduced"


@pytest.mark.parametrize(("margin", "verdict"), [(0.03, "reproduced"), (0.01, "contradicted")])
def test_identity_is_judged_by_the_largest_difference_of_a_seed(
    tmp_path: Path, margin: float, verdict: str
) -> None:
    """Differences of 0.02 with alternating sign: their mean is 0."""
    test = (
        "{quantity: validation.loss, of: {optimizer: SGD, batch_size: 8, clip: {norm: 1}}, same_as: {clip: null}, "
        f"margin: {margin}, per_seed: true}}"
    )

    def events(trial: Trial) -> list[Event]:
        return curve([0.5 + (0.02 * (-1) ** trial.seed if trial.axes["clip"] else 0)])

    row = _judged(tmp_path, test, events)
    assert (row["verdict"], row["measured"]) == (verdict, pytest.approx(0.02))
    assert row["expected_low"] == 0


def test_drops_of_the_learning_rate_are_counted(tmp_path: Path) -> None:
    test = "{quantity: rate_drops, of: {optimizer: SGD, batch_size: 8, clip: null}, equals: 2, margin: 0.1}"

    def events(trial: Trial) -> list[Event]:
        rates = iter((1.0, math.nan, 0.5, 0.5, 0.25))
        return [
            replace(event, learning_rate=next(rates)) if isinstance(event, Evaluated) else event
            for event in curve([0.9] * 5)
        ]

    row = _judged(tmp_path, test, events)
    assert (row["verdict"], row["measured"]) == ("reproduced", 2)


def test_a_report_shows_units_and_differences_in_points(tmp_path: Path) -> None:
    test = "{quantity: final_metric, of: {optimizer: SGD, batch_size: 8, clip: null}, above: {clip: {norm: 1}}, margin: 0.01}"
    _judged(
        tmp_path, test, lambda trial: curve([0.9 + trial.seed / 1000 - (0.05 if trial.axes["clip"] else 0)])
    )
    text = report.render(read([tmp_path / "results"]), format="markdown")
    assert "| final accuracy, difference (SGD, batch_size=8, clip=none) |" in text
    assert "| above clip=norm 1 (no difference: ± 1 point) | +5 points | reproduced |" in text


@pytest.mark.parametrize(
    ("value", "unit", "ends", "text"),
    [
        (-0.00474, "points", (-0.00953, 5.89e-05), "-0.47 points (-0.95 to +0.01)"),
        (0.5, "fraction", (0.363, 0.623), "50 % (36 to 62)"),
        (2.0, "x", (), "2x"),
        (0.305123, "x", (0.305123, 0.305123), "0.305x"),
        (0.178, "x", (0.106, 0.307), "0.18x (0.11 to 0.31)"),
        (0.00201, "seconds", (0.00174, 0.00228), "2.01 ms (1.74 to 2.28)"),
        (1_440_000, "bytes", (), "1.44 MB"),
        (0.01, "points", (), "+1 point"),
        (1e-6, "", (), "0.000001"),
        (1.77e-5, "", (), "0.00002"),
        (0.0, "points", (-0.001, 0.001), "0.00 points (-0.10 to +0.10)"),
        (float("nan"), "points", (), "–"),
    ],
)
def test_amounts_have_a_unit_and_as_many_decimals_as_their_interval(
    value: float, unit: str, ends: tuple[float, ...], text: str
) -> None:
    assert amount(value, unit, *ends, is_signed=unit == "points") == text


def test_a_report_shows_statements_with_condition_result_and_verdict(tmp_path: Path) -> None:
    test = "{quantity: diverged, of: {optimizer: SGD, batch_size: 8, clip: null}, above: {clip: {norm: 1}}, when: at 0.1}"
    _judged(tmp_path, test, lambda trial: diverged() if trial.axes["clip"] is None else curve([0.95]))
    text = report.render(read([tmp_path / "results"]), format="markdown")
    assert (
        "| P3: clipping is essential | at 0.1 | share of runs that diverge, difference (SGD, batch_size=8, clip=none) | above clip=norm 1 |"
        in text
    )
    assert "| reproduced (1) |" in text


def test_conditions_of_equal_tests_have_the_trials_that_they_are_compared_with() -> None:
    rows = [
        {"claim": "P", "when": "late", "workload": "w", "trials": "SGD", "against": against}
        for against in ("", "Adam")
    ]
    assert conditions(pd.DataFrame(rows)) == ["late", "Adam, late"]


def test_a_figure_shows_each_test_on_the_region_in_which_the_statement_holds(tmp_path: Path) -> None:
    test = "{quantity: final_metric, of: {optimizer: SGD, batch_size: 8, clip: null}, above: {clip: {norm: 1}}, when: at 0.1}"
    _judged(
        tmp_path, test, lambda trial: curve([0.9 + trial.seed / 1000 - (0.1 if trial.axes["clip"] else 0)])
    )
    results = read([tmp_path / "results"])
    found = {drawing.name: drawing for drawing in drawings(results, comparison(results), None)}
    (panel,) = found["statements"].plot.panels
    assert (panel.title, panel.x.format) == ("final accuracy, difference", "points")
    assert panel.rows[0].name == "at 0.1"
    (shade, *_), points = (
        [mark for mark in panel.marks if isinstance(mark, kind)] for kind in (Interval, Points)
    )
    assert (shade.look, shade.low) == ("shade", 0.0)
    assert points[0].x == (pytest.approx(0.1),)
    assert ("verdict", "reproduced", "") in panel.rows[0].facts


def test_statements_survive_being_written_out(tmp_path: Path) -> None:
    test = "{quantity: diverged, of: SGD, at_most: 0.1, when: always}"
    (tmp_path / "s.yaml").write_text(SUITE.replace("TEST", test).replace("SEEDS", "5"))
    first = load(tmp_path / "s.yaml")
    (tmp_path / "t.yaml").write_text(dump_text(first.suite))
    assert load(tmp_path / "t.yaml").suite == first.suite


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("{quantity: diverged}", r"s.yaml:10:.*expected exactly one of 'equals', 'at_least', .*; found none"),
        (
            "{quantity: diverged, at_least: 0, at_most: 1}",
            r"expected exactly one of .*; found at_least and at_most",
        ),
        (
            "{quantity: diverged, equals: 0}",
            r"'equals' requires a 'margin' above 0, stated before anything runs",
        ),
        (
            "{quantity: diverged, at_least: 0, margin: 1}",
            r"'at_least' is a bound without a margin: remove 'margin'",
        ),
        ("{quantity: diverged, above: SGD, divided_by: Adam}", r"'divided_by' is compared with a number"),
        (
            "{quantity: diverged, above: SGD, range_over: optimizer}",
            r"'range_over' is compared with a number",
        ),
        (
            "{quantity: diverged, at_least: 1, range_over: optimizer, divided_by: Adam}",
            r"expected only one of range_over and divided_by",
        ),
        (
            "{quantity: diverged, at_least: 1, largest_over: lr}",
            r"'largest_over' requires a quantity of reached, ",
        ),
        (
            "{quantity: diverged, above: SGD, per_seed: true}",
            r"'per_seed' requires 'same_as', without 'largest_over', 'across' and times",
        ),
        ("{quantity: diverged, at_least: 1, threshold: 1}", r"'threshold' requires 'predicts'"),
        ("{quantity: diverged, at_least: 1, across: seeds}", r"across"),
        ("{quantity: diverged, abov: SGD}", r"unknown key 'abov'; did you mean 'above'\?"),
    ],
)
def test_invalid_tests_are_reported_with_their_place(tmp_path: Path, test: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(SUITE.replace("TEST", test).replace("SEEDS", "5"))
    with pytest.raises(OptbenchError, match=message):
        load(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("{quantity: divergd, of: ROW, at_most: 1}", r"no quantity 'divergd'; did you mean 'diverged'\?"),
        ("{quantity: test.acc, of: ROW, at_most: 1}", r"no metric 'acc'"),
        (
            "{quantity: diverged, of: SGD, at_most: 1}",
            r"of: matches 6 rows of trials; expected one: add batch_size or clip",
        ),
        (
            "{quantity: diverged, of: {optimizer: SGD, batch_size: 9, clip: null}, at_most: 1}",
            r"no trials with batch_size = 9; expected one of 8, 16, 32",
        ),
        (
            "{quantity: diverged, of: {optimizer: SGD, batch_siz: 8, clip: null}, at_most: 1}",
            r"no axis or swept hyperparameter 'batch_siz'; did you mean 'batch_size'\?",
        ),
        (
            "{quantity: diverged, of: {optimizer: SGD, batch_size: 8, clip: null}, above: {optimizer: Adm}}",
            r"above: no trials with optimizer = 'Adm'; expected one of 'SGD', 'Adam'",
        ),
        (
            "{quantity: diverged, of: {optimizer: SGD, clip: null}, slope_over: lr, equals: 1, margin: 1}",
            r"no axis 'lr'",
        ),
        (
            "{quantity: diverged, of: {optimizer: SGD, clip: null, batch_size: {best: 8}}, at_most: 1}",
            r"batch_size: expected \{best: all\} or \{best: \[value, \.\.\.\]\}; found",
        ),
        (
            "{quantity: diverged, of: {optimizer: SGD, clip: null, batch_size: {best: [8, 9]}}, at_most: 1}",
            r"no trials with batch_size = 9; expected one of 8, 16, 32",
        ),
        (
            "{quantity: diverged, of: {optimizer: SGD, clip: null, batch_siz: {best: all}}, at_most: 1}",
            r"no axis or swept hyperparameter 'batch_siz'; did you mean 'batch_size'\?",
        ),
        (
            "{quantity: diverged, of: {optimizer: SGD}, range_over: workload, at_most: 1}",
            r"of: expected at least two values of 'workload'; found 1",
        ),
        (
            "{quantity: gradient_norm_first, of: {optimizer: Sgd}, predicts: diverged, at_least: 1}",
            r"of: no trials with optimizer = 'Sgd'",
        ),
    ],
)
def test_check_finds_quantities_and_trials_that_do_not_exist(tmp_path: Path, test: str, message: str) -> None:
    test = test.replace("ROW", "{optimizer: SGD, batch_size: 8, clip: null}")
    (tmp_path / "s.yaml").write_text(SUITE.replace("TEST", test).replace("SEEDS", "5"))
    found = problems(load(tmp_path / "s.yaml"), tmp_path)
    assert [problem.line for problem in found] == [10]
    assert re.search(message, f"{found[0].where}: {found[0].message}"), found
