"""Sweeps: what a suite plans for them, the measures over them, and what a report makes of them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from optbench import report
from optbench.analysis.basins import basin_bracket, basin_width
from optbench.analysis.frames import evaluations_frame
from optbench.analysis.order_statistics import expected_best, tunability
from optbench.analysis.published import verdicts_frame
from optbench.analysis.sensitivity import (
    extension,
    level,
    rate_sensitivity,
    sensitivity_frame,
)
from optbench.analysis.table import comparison
from optbench.errors import OptbenchError
from optbench.exporting._runs import runs_of
from optbench.store import Results, read
from optbench.suite.grids import Grid
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.sweep import points
from optbench.suite.types import Optimizer, Rule, Trial
from program import optbench
from results_builder import a_suite, curve, diverged, write_trials

# --- grids and points


def entry(**arguments: Any) -> Optimizer:
    return Optimizer(rules=(Rule(use="sgd", arguments=arguments),))


def rates(grid: Any, own: Optimizer, **more: Any) -> list[float]:
    return [point["lr"] for point in points({"lr": Grid.model_validate(grid)}, own, **more)]


def test_factors_lie_around_the_entrys_own_value_which_is_not_run_twice() -> None:
    assert rates([0.01, 0.1, 1, 10, 100], entry(lr=0.1)) == [0.001, 0.01, 1.0, 10.0]
    assert rates([0.1, 1, 10], entry(lr=0.3), with_point_of_entry=True) == [0.03, 0.3, 3.0]


def test_absolute_grids_are_the_same_for_all() -> None:
    assert rates({"values": [0.3, 0.1]}, entry(lr=0.3)) == [0.1]
    assert rates({"log": [1e-4, 1], "points": 5}, entry()) == [1e-4, 1e-3, 1e-2, 0.1, 1.0]


def test_several_hyperparameters_make_a_cross_product_around_one_centre() -> None:
    grids = {"lr": Grid(factors=(0.1, 1)), "momentum": Grid(values=(0.0, 0.9))}
    found = points(grids, entry(lr=1.0, momentum=0.9))
    assert found == [{"lr": 0.1, "momentum": 0.0}, {"lr": 0.1, "momentum": 0.9}, {"lr": 1.0, "momentum": 0.0}]


def test_all_rules_of_an_entry_are_scaled_together() -> None:
    both = Optimizer(
        rules=(Rule(use="muon", arguments={"lr": 0.02}), Rule(use="adamw", arguments={"lr": 1e-3}))
    )
    assert points({"lr": Grid(factors=(1, 10))}, both) == [{"0.lr": 0.2, "1.lr": 0.01}]
    with pytest.raises(ValueError, match="an entry with several rules has several values of 'lr'"):
        points({"lr": Grid(values=(1, 10))}, both)


def test_factors_need_a_value_to_start_from() -> None:
    with pytest.raises(ValueError, match="set 'lr' in this entry"):
        rates([0.1, 10], entry())
    with pytest.raises(ValueError, match="found 0 for 'lr' in this entry"):
        rates([0.1, 10], entry(lr=0))


def test_a_sweep_stays_within_what_can_be_held_and_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exceed the range of numbers"):
        rates([1, 1e200], entry(lr=1e200))
    with pytest.raises(
        OptbenchError, match=r"s.yaml:2:1: sensitivity: expected at most 100,000 trials per entry"
    ):
        sweep(tmp_path, "{log: [1e-9, 1], points: 9000}", seeds=20)


def test_an_extension_covers_a_decade_in_the_grids_own_steps() -> None:
    assert Grid(factors=(0.1, 1, 10)).numbers(below=1) == (0.01, 0.1, 1.0, 10.0)
    assert Grid(log=(0.01, 1), points=7).numbers(above=1)[-3:] == pytest.approx(
        [2.15443, 4.64159, 10], rel=1e-5
    )
    assert Grid(values=(0, 0.9)).numbers(below=1) == (0.0, 0.9)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("{log: [1, 2]}", "expected both 'log' and 'points'"),
        ("{values: [1, 2], factors: [1, 2]}", "exactly one of 'factors', 'values' and 'log'"),
        ("[1, 1]", "found a duplicate"),
        ("[1]", "at least two numbers"),
        ("[-1, 1]", "above 0; found -1"),
        ("{vales: [1, 2]}", "did you mean 'values'"),
        ("3", r"s.yaml:2:19: sensitivity.lr: expected factors, as in \[0.1, 1, 10\]"),
    ],
)
def test_mistakes_in_grids_are_reported(tmp_path: Path, grid: str, message: str) -> None:
    with pytest.raises(OptbenchError, match=message):
        sweep(tmp_path, grid)


def sweep(folder: Path, grid: str, rest: str = "", seeds: int = 2) -> tuple[Trial, ...]:
    (folder / "s.yaml").write_text(
        "workload: {model: mlp, data: digits, batch_size: 8, budget: 4 epochs}\n"
        f"sensitivity: {{lr: {grid}}}\nseeds: {seeds}\n{rest}\n"
        "optimizers: {A: {use: sgd, lr: 0.1}, B: {use: sgd, lr: 1}}\n"
    )
    return plan(load(folder / "s.yaml"))


def test_sweeps_come_after_the_timed_trials_which_keep_their_ids(tmp_path: Path) -> None:
    trials = sweep(tmp_path, "[0.1, 1, 10]")
    assert [bool(trial.point) for trial in trials] == [False] * 4 + [True] * 8
    assert len({trial.id for trial in trials}) == 12
    plain = sweep(tmp_path, "[0.1, 1, 10]")[:4]
    assert [trial.id for trial in plain] == [trial.id for trial in trials[:4]]
    assert [trial.point["lr"] for trial in trials[4:8]] == [0.01, 1.0, 0.1, 10.0]


def test_with_horizons_elsewhere_the_centre_is_a_point_of_its_own(tmp_path: Path) -> None:
    trials = sweep(tmp_path, "[0.1, 1, 10]", "horizons: [1 epoch, 2 epochs]")
    assert [
        trial.point["lr"] for trial in trials if trial.label == "A" and trial.point and not trial.seed
    ] == [0.01, 0.1, 1.0]
    trials = sweep(tmp_path, "[0.1, 1, 10]", "horizons: [1 epoch, 4 epochs]")
    assert [
        trial.point["lr"] for trial in trials if trial.label == "A" and trial.point and not trial.seed
    ] == [0.01, 1.0]


# --- measures


def test_the_basin_is_interpolated_on_a_logarithmic_scale() -> None:
    tent = np.array([-2.0, -1.0, 0.0, 1.0]), np.array([0.0, 0.98, 1.0, 0.96])
    assert basin_width(*tent, 0.02) == pytest.approx(
        1.0 + 0.5
    )  # whole to the left, half the way down to the right
    assert basin_width(*tent, 0.01) == pytest.approx(0.5 + 0.25)


def test_a_second_hill_is_no_part_of_the_basin() -> None:
    assert basin_width(np.arange(5.0), np.array([1.0, 0.0, 0.999, 0.0, 0.0]), 0.01) == pytest.approx(0.01)


def test_a_sparse_grid_gives_a_bracket() -> None:
    positions = np.arange(5.0)
    assert basin_bracket(positions, np.array([0.0, 0.99, 1.0, 0.0, 0.0]), 0.02) == (1.0, 3.0, False)
    assert basin_bracket(positions, np.array([1.0, 0.99, 0.5, 0.0, 0.0]), 0.02) == (1.0, math.inf, True)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_expected_best_is_the_mean_over_all_draws(k: int) -> None:
    scores = np.array([0.3, 0.9, 0.1, 0.5, 0.5])
    draws = [max(draw) for draw in itertools.combinations(scores, k)]
    assert expected_best(scores, k) == pytest.approx(np.mean(draws))


def test_tunability_weighs_the_incumbents_of_all_orders() -> None:
    scores = np.array([0.2, 0.8, 0.5])
    orders = [np.maximum.accumulate(order) for order in itertools.permutations(scores)]
    expected = np.array([expected_best(scores, k) for k in (1, 2, 3)])
    assert tunability(expected) == pytest.approx(np.mean([np.dot([3, 2, 1], order) / 6 for order in orders]))


def test_rate_sensitivity_is_the_mean_shortfall_over_three_decades() -> None:
    positions = np.linspace(-3, 3, 61)
    shortfall, decades = rate_sensitivity(positions, 1 - np.abs(positions) / 10)
    assert (shortfall, decades) == (pytest.approx(0.075), 3.0)
    assert rate_sensitivity(positions[:31], 1 - np.abs(positions[:31]) / 10) == (pytest.approx(0.075), 1.5)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (1.1, 1.5, "low"),
        (0.6, 0.9, "medium"),
        (0.0, 0.2, "high"),
        (0.9, 1.2, "low or medium"),
        (0.4, 0.6, "medium or high"),
        (0.0, math.inf, "undecided"),
        (1.0, math.inf, "low"),
    ],
)
def test_the_words_follow_a_stated_rule(low: float, high: float, word: str) -> None:
    assert level(low, high) == word


# --- from records

FACTORS = tuple(float(f"{10 ** (step / 3):.6g}") for step in range(-6, 7))  # 3 points a decade over 4 decades


def results(
    root: Path,
    score: Callable[[str, float, int], float | None],
    seeds: int = 5,
    factors: tuple[float, ...] = FACTORS,
    without: Callable[[Trial], bool] = lambda trial: False,
    extend: bool = True,
    **changes: Any,
) -> Results:
    """`score(label, factor, seed)` is the accuracy; None diverges."""
    optimizers = {label: {"use": "sgd", "lr": lr} for label, lr in (("SGD", 0.1), ("Adam", 0.001))}
    grid = {"factors": list(factors), "extend": extend}
    suite = a_suite((), seeds, optimizers=optimizers, sensitivity={"lr": grid}, **changes)
    (root / "digits.yaml").parent.mkdir(parents=True, exist_ok=True)
    from optbench.suite.dump import dump_text

    (root / "digits.yaml").write_text(dump_text(suite))
    trials = plan(load(root / "digits.yaml"))
    events = {}
    for trial in trials:
        own = suite.optimizers[trial.label].rules[0].arguments["lr"]
        accuracy = score(trial.label, trial.point.get("lr", own) / own, trial.seed)
        if not without(trial):
            events[trial.id] = diverged() if accuracy is None else curve([0.5, accuracy])
    write_trials(root / "results", suite, trials, events)
    return read([root / "results"])


def hill(width: float, jitter: float = 1e-4) -> Callable[[str, float, int], float | None]:
    """0.95 at the entry's own rate, one point less `width` / 2 decades away."""

    def score(label: str, factor: float, seed: int) -> float:
        return max(0.05, 0.95 - 0.02 * abs(math.log10(factor)) / width + jitter * seed)

    return score


def test_every_measure_has_an_interval_over_seeds(tmp_path: Path) -> None:
    found = sensitivity_frame(results(tmp_path, hill(0.7, jitter=0.001))).set_index("optimizer").loc["SGD"]
    assert (found["seeds"], found["points"], found["failures"]) == (5, 13, 0)
    assert found["width_1"] == pytest.approx(0.7, abs=0.01)
    assert found["width_2"] == pytest.approx(1.4, abs=0.01)
    assert found["best_at"] == pytest.approx(0.1)
    assert found["default_regret"] == pytest.approx(0)
    assert found["expected_best_2_low"] < found["expected_best_2"] < found["expected_best_2_high"]
    assert "expected_best_4" not in found  # k is at most a quarter of the 13 points
    assert found["level"] == "medium"
    assert found["edge"] == ""
    assert found["target_share"] == pytest.approx(11 / 13, abs=0.1)


def test_points_that_diverge_count_as_failures(tmp_path: Path) -> None:
    def score(label: str, factor: float, seed: int) -> float | None:
        return None if factor > 9 else 0.95

    found = sensitivity_frame(results(tmp_path, score)).set_index("optimizer").loc["SGD"]
    assert found["failures"] == 5 * 4
    assert found["expected_best_1"] == pytest.approx(0.95 * 9 / 13)
    assert found["width_1_open"]


def test_a_sweep_is_no_part_of_the_timed_table(tmp_path: Path) -> None:
    found = results(tmp_path, hill(1), seeds=2)
    assert comparison(found)["optimizer"].tolist() == ["SGD", "Adam"]
    assert comparison(found)["trials"].tolist() == [2, 2]
    points_told = evaluations_frame(found)["point_lr"]
    assert points_told.notna().sum() == 2 * 2 * 12 * 2
    assert points_told.isna().sum() == 2 * 2 * 2


def test_records_and_exports_of_a_sweep_leave_the_test_split_out(tmp_path: Path) -> None:
    found = results(tmp_path, hill(1), seeds=2)
    records = evaluations_frame(found)
    assert records.loc[records["point_lr"].notna(), "test_accuracy"].isna().all()
    assert records.loc[records["point_lr"].isna(), "test_accuracy"].notna().any()
    for run in runs_of(found):
        shown = {*run.final, *(name for point in run.points for name in point.values)}
        is_swept = any(setting.startswith("point.") for setting in run.settings)
        assert is_swept != any(name.startswith(("test/", "last/")) for name in shown)


def test_seeds_without_every_point_are_left_out_and_reported(tmp_path: Path) -> None:
    found = results(tmp_path, hill(1), without=lambda trial: bool(trial.point) and trial.seed == 4)
    frame = sensitivity_frame(found)
    assert frame["seeds"].tolist() == [4, 4]
    assert not frame["complete"].any()
    assert "incomplete sweep for SGD, Adam" in report.render(found, "markdown")


def test_a_sparse_grid_is_bracketed_not_interpolated(tmp_path: Path) -> None:
    found = sensitivity_frame(results(tmp_path, hill(0.7), factors=(0.01, 0.1, 1, 10, 100))).iloc[0]
    assert math.isnan(found["width_1"])
    assert (found["width_1_low"], found["width_1_high"]) == (0.0, 2.0)


def test_an_optimum_at_the_edge_widens_the_grid_for_all_entries_at_most_twice(tmp_path: Path) -> None:
    def rising(label: str, factor: float, seed: int) -> float:
        return 0.5 + 0.05 * math.log10(factor) if label == "Adam" else hill(1)(label, factor, seed) or 0.0

    found = results(tmp_path, rising)
    once = extension(found, {})
    assert once == {"lr": (0, 1)}
    assert "best at the edge of the grid: Adam (high end of lr)" in report.render(found, "terminal").replace(
        "\n", " "
    )
    wider = plan(load(tmp_path / "digits.yaml"), once)
    assert len(wider) == len(plan(load(tmp_path / "digits.yaml"))) + 2 * 5 * 3
    assert extension(found, {"lr": (0, 2)}) is None
    assert extension(results(tmp_path / "b", hill(1)), {}) is None


def test_a_grid_that_must_not_be_extended_stays_as_written(tmp_path: Path) -> None:
    def rising(label: str, factor: float, seed: int) -> float:
        return 0.5 + 0.05 * math.log10(factor)

    assert extension(results(tmp_path / "a", rising), {}) == {"lr": (0, 1)}
    assert extension(results(tmp_path / "b", rising, extend=False), {}) is None


def test_a_flat_grid_has_no_optimum_at_its_edge(tmp_path: Path) -> None:
    assert extension(results(tmp_path, lambda label, factor, seed: 0.9), {}) is None


def test_a_grid_is_not_widened_before_every_point_has_run(tmp_path: Path) -> None:
    found = results(
        tmp_path,
        lambda label, factor, seed: 0.5 + 0.05 * math.log10(factor),
        without=lambda trial: trial.seed == 0,
    )
    assert extension(found, {}) is None


def test_two_hyperparameters_are_measured_along_the_rate(tmp_path: Path) -> None:
    optimizers = {"SGD": {"use": "sgd", "lr": 0.1, "momentum": 0.9}}
    grids = {"momentum": {"values": [0.0, 0.9]}, "lr": [0.1, 1, 10]}
    suite = a_suite((), 2, optimizers=optimizers, sensitivity=grids)
    from optbench.suite.dump import dump_text

    (tmp_path / "digits.yaml").write_text(dump_text(suite))
    trials = plan(load(tmp_path / "digits.yaml"))
    better = {trial.id: curve([0.9 if trial.point.get("momentum", 0.9) else 0.8]) for trial in trials}
    write_trials(tmp_path / "results", suite, trials, better)
    found = sensitivity_frame(read([tmp_path / "results"])).iloc[0]
    assert (found["points"], found["hyperparameters"]) == (6, "lr, momentum")
    assert found["expected_best_1"] == pytest.approx(0.85)
    assert found["lr_sensitivity"] == pytest.approx(0)  # at each rate the best over the other


@pytest.mark.parametrize("factors", [FACTORS, (0.01, 0.1, 1, 10, 100)])
@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_no_width_leaves_the_grid(tmp_path: Path, factors: tuple[float, ...], seeds: int) -> None:
    def score(label: str, factor: float, seed: int) -> float | None:
        return hill(0.5 + seed, jitter=0)(label, factor, seed)

    found = sensitivity_frame(results(tmp_path, score, seeds=seeds, factors=factors)).iloc[0]
    for name in ("width_1", "width_2"):
        ends = [found[f"{name}_low"], found[f"{name}_high"]]
        known = [end for end in (*ends, found[name]) if not math.isnan(end)]
        assert all(0 <= end <= 4 + 1e-9 for end in known if math.isfinite(end))
        assert math.isinf(ends[1]) <= found[f"{name}_open"]


def test_a_basin_that_runs_over_the_end_of_the_grid_is_at_least_that_wide(tmp_path: Path) -> None:
    found = results(tmp_path, hill(20))
    row = sensitivity_frame(found).iloc[0]
    assert (row["width_1"], row["width_1_high"], row["width_1_open"]) == (pytest.approx(4), math.inf, True)
    assert r"| SGD | \>= 4.00 |" in report.render(found, "markdown")


def test_an_entry_that_trained_at_no_rate_has_no_basin(tmp_path: Path) -> None:
    found = results(tmp_path, lambda label, factor, seed: None if label == "SGD" else 0.9)
    row = sensitivity_frame(found).set_index("optimizer").loc["SGD"]
    assert math.isnan(row["width_1"])
    assert row["level"] == "undecided"
    assert "| SGD | – | – |" in report.render(found, "markdown")


def test_values_without_a_logarithm_have_no_decades(tmp_path: Path) -> None:
    optimizers = {"SGD": {"use": "sgd", "lr": 0.1, "momentum": 0.9}}
    grids = {"momentum": {"values": [0.0, 0.5, 0.9]}}
    suite = a_suite((), 2, optimizers=optimizers, sensitivity=grids)
    from optbench.suite.dump import dump_text

    (tmp_path / "digits.yaml").write_text(dump_text(suite))
    trials = plan(load(tmp_path / "digits.yaml"))
    scores = {trial.id: curve([0.9 - 0.1 * trial.point.get("momentum", 0.9)]) for trial in trials}
    write_trials(tmp_path / "results", suite, trials, scores)
    row = sensitivity_frame(read([tmp_path / "results"])).iloc[0]
    assert (row["grid_low"], row["grid_high"], row["level"]) == (0.0, 0.9, "undecided")
    assert math.isnan(row["width_1_low"])
    assert math.isnan(row["lr_sensitivity"])


# --- what people read


def test_an_open_basin_never_shows_that_an_entry_is_more_sensitive(tmp_path: Path) -> None:
    def claims(sgd: str, adam: str) -> list[dict[str, Any]]:
        return [
            {"source": "A", "optimizer": label, "values": {"sensitivity": {"kind": "ladder", "level": rung}}}
            for label, rung in (("SGD", sgd), ("Adam", adam))
        ]

    def score(label: str, factor: float, seed: int) -> float | None:
        """SGD: half a decade. Adam: open, at least the two decades below its best."""
        away = math.log10(factor * (1 + seed / 100))
        return 0.95 - 0.02 * abs(away) / 0.5 if label == "SGD" else 0.95 - (0.001 if away < 0.01 else 0.5)

    right = verdicts_frame(results(tmp_path / "a", score, published=claims("high", "low")))
    assert set(right["verdict"]) == {"reproduced"}
    assert math.isinf(right["measured_high"].tolist()[1])

    def both(label: str, factor: float, seed: int) -> float | None:
        return 0.95 if label == "Adam" or math.log10(factor * (1 + seed / 100)) < 1.5 else 0.5

    open_too = verdicts_frame(results(tmp_path / "b", both, published=claims("high", "low")))
    assert set(open_too["verdict"]) == {"inconclusive"}


def test_claimed_ladders_are_judged_by_the_basins(tmp_path: Path) -> None:
    def score(label: str, factor: float, seed: int) -> float | None:
        return hill(2.0 if label == "Adam" else 0.5, jitter=0)(label, factor * (1 + seed / 100), seed)

    def claims(sgd: str, adam: str) -> list[dict[str, Any]]:
        return [
            {"source": "A", "optimizer": label, "values": {"sensitivity": {"kind": "ladder", "level": rung}}}
            for label, rung in (("SGD", sgd), ("Adam", adam))
        ]

    right = verdicts_frame(results(tmp_path / "a", score, published=claims("high", "low")))
    assert set(right["verdict"]) == {"reproduced"}
    assert right["measured"].tolist() == pytest.approx([0.5, 2.0], abs=0.05)
    wrong = verdicts_frame(results(tmp_path / "b", score, published=claims("low", "medium")))
    assert set(wrong["verdict"]) == {"contradicted"}
    few = verdicts_frame(results(tmp_path / "c", score, seeds=4, published=claims("high", "low")))
    assert set(few["verdict"]) == {"inconclusive"}


def test_a_claim_that_states_the_default_measure_is_on_the_ladder_of_those_that_do_not(
    tmp_path: Path,
) -> None:
    values = [
        {"kind": "ladder", "level": "high"},
        {"kind": "ladder", "level": "low", "measure": "basin_width"},
    ]
    claims = [
        {"source": "A", "optimizer": label, "values": {"sensitivity": value}}
        for label, value in zip(("SGD", "Adam"), values, strict=True)
    ]
    frame = verdicts_frame(results(tmp_path, hill(0.5, jitter=0), published=claims))
    assert frame["reason"].str.contains("of 1 implied pairs hold").all()


def test_claimed_ladders_are_judged_by_the_loss_of_score_too(tmp_path: Path) -> None:
    """SGD loses more around its best rate, on a grid of four decades around each entry's own rate."""

    def score(label: str, factor: float, seed: int) -> float:
        return 0.95 - (0.1 if label == "SGD" else 0.05) * abs(math.log10(factor)) * (1 + seed / 100)

    def claims(sgd: str, adam: str) -> list[dict[str, Any]]:
        return [
            {
                "source": "A",
                "optimizer": label,
                "values": {"sensitivity": {"kind": "ladder", "level": rung} | more},
            }
            for more in ({}, {"measure": "rate_sensitivity"})
            for label, rung in (("SGD", sgd), ("Adam", adam))
        ]

    right = verdicts_frame(results(tmp_path / "a", score, published=claims("high", "low")))
    rates = right[right["measure"] == "rate_sensitivity"]
    assert set(right["verdict"]) == {"reproduced"}
    assert rates["measured"].tolist() == pytest.approx([0.1 * 0.75 * 1.02, 0.05 * 0.75 * 1.02], rel=1e-6)
    assert rates["unit"].tolist() == ["fraction", "fraction"]
    text = report.render(read([tmp_path / "a" / "results"]), "markdown")
    assert "| SGD | sensitivity (loss of score) % | High | 7.65 (7.50–7.80) | reproduced (2) |" in text
    assert "three decades around the best learning rate" in text
    wrong = verdicts_frame(results(tmp_path / "b", score, published=claims("low", "medium")))
    assert set(wrong["verdict"]) == {"contradicted"}


def test_the_interval_of_a_loss_of_score_has_no_negative_values(tmp_path: Path) -> None:
    def score(label: str, factor: float, seed: int) -> float:
        return 0.95 - (0.1 if seed else 0.001) * abs(math.log10(factor))

    value = {"kind": "ladder", "level": "high", "measure": "rate_sensitivity"}
    claims = [{"source": "A", "optimizer": "SGD", "values": {"sensitivity": value}}]
    frame = verdicts_frame(results(tmp_path, score, seeds=2, published=claims))
    assert frame["measured_low"].tolist() == [0]


def test_losses_of_score_are_not_compared_if_the_grid_cuts_the_window(tmp_path: Path) -> None:
    def score(label: str, factor: float, seed: int) -> float:
        return 0.9 + 0.01 * math.log10(factor) * (label == "SGD")

    claims = [
        {
            "source": "A",
            "optimizer": label,
            "values": {"sensitivity": {"kind": "ladder", "level": rung, "measure": "rate_sensitivity"}},
        }
        for label, rung in (("SGD", "high"), ("Adam", "low"))
    ]
    frame = verdicts_frame(results(tmp_path, score, published=claims))
    assert set(frame["verdict"]) == {"inconclusive"}
    assert (
        "the grid does not cover 3 decades around the best learning rate: Adam, SGD"
        in frame["reason"].iloc[0]
    )


def test_every_format_has_the_sweep_in_a_table_of_its_own(tmp_path: Path) -> None:
    found = results(tmp_path, hill(0.7, jitter=0.001))
    markdown = report.render(found, "markdown")
    assert "## Sensitivity" in markdown
    assert "| SGD | 0.70 | 1.40 | 0.1 |" in markdown
    assert "default regret" in markdown
    assert json.loads(report.render(found, "json"))["sensitivity"][0]["width_1"] == pytest.approx(
        0.7, abs=0.01
    )
    report.save(found, tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "sensitivity.csv")["optimizer"].tolist() == ["SGD", "Adam"]
    terminal = report.render(found, "terminal")
    assert max(map(len, terminal.splitlines())) <= 80


@pytest.mark.parametrize("format", ["terminal", "markdown", "csv", "json", "latex", "html"])
def test_a_sweep_of_which_no_seed_is_complete_yet_is_reported(format: str, tmp_path: Path) -> None:
    own = {"SGD": 0.1, "Adam": 0.001}
    found = results(
        tmp_path, hill(0.7), seeds=2, without=lambda trial: trial.point.get("lr", 0) > 5 * own[trial.label]
    )
    assert sensitivity_frame(found)["seeds"].tolist() == [0, 0]
    assert report.render(found, format)


def test_the_engine_trains_at_the_point(tmp_path: Path) -> None:
    import torch

    from optbench.engine.optimizers import build

    model = torch.nn.Linear(3, 2)
    single = next(trial for trial in sweep(tmp_path, "[0.1, 1]") if trial.point)
    assert build(single, model, 10).rate == single.point["lr"]
    both = Optimizer(
        rules=(
            Rule(parameters="matrices", use="sgd", arguments={"lr": 1.0}),
            Rule(parameters="rest", use="sgd", arguments={"lr": 2.0}),
        )
    )
    trial = single.model_copy(update={"entry": both, "point": {"0.lr": 0.5, "1.lr": 0.25}})
    groups = [member.param_groups[0]["lr"] for member in build(trial, model, 10).members]
    assert groups == [0.5, 0.25]


def test_a_run_sweeps_many_at_once_widens_the_grid_and_continues_where_it_stopped(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "workload:\n"
        "  model: {name: mlp, hidden: [8]}\n"
        "  data: {name: synthetic, shape: [1, 4, 4], classes: 2, train: 64, validation: 32, test: 32}\n"
        "  batch_size: 32\n"
        "  budget: 2 epochs\n"
        "sensitivity: {lr: [0.01, 0.1, 1]}\nseeds: 1\n"
        "optimizers: {SGD: {use: sgd, lr: 0.001}}\n"
    )
    command = ("run", "s.yaml", "--jobs", "2", "--threads", "1")
    first = optbench(*command, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    found = sensitivity_frame(read([tmp_path / "results"])).iloc[0]
    assert found["complete"]
    assert found["points"] >= 3
    logs = read([tmp_path / "results"]).suites[0].logs
    assert {log.started.environment["threads"] for log in logs if log.started is not None} == {1}
    again = optbench(*command, cwd=tmp_path)
    assert "already" in again.stderr
    assert len(read([tmp_path / "results"]).suites[0].logs) == len(logs)
