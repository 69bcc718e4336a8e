from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from optbench.analysis.profiles import area_score, profiles
from optbench.report import render
from optbench.store import read
from results_builder import a_suite, curve, reaching, write


def passages(times: dict[tuple[str, str], list[float]], budget: float = 100.0) -> pd.DataFrame:
    """(workload, optimizer) -> epochs to target of each seed; inf = not reached within the budget."""
    return pd.DataFrame(
        [
            {
                "workload": workload,
                "optimizer": optimizer,
                "reached": math.isfinite(value),
                "epochs": min(value, budget),
            }
            for (workload, optimizer), values in times.items()
            for value in values
        ]
    )


def summary(times: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    found = profiles(passages(times), "epochs", "SGD")
    assert found is not None
    return found.summary.set_index("optimizer")


TWO = {("a", "SGD"): [10.0], ("b", "SGD"): [40.0], ("a", "Adam"): [20.0], ("b", "Adam"): [10.0]}


def test_the_score_is_the_area_below_the_profile_from_one_to_four():
    # SGD: ratios 1 and 4; Adam: ratios 2 and 1, and (4 - 2) / 3 of the width lies below.
    assert summary(TWO)["score"].to_dict() == pytest.approx({"SGD": 0.5, "Adam": (2 / 3 + 1) / 2})


def test_the_area_is_what_a_fine_sum_below_the_profile_gives():
    times = np.random.default_rng(0).uniform(1, 10, size=(3, 7))
    ratios = times / times.min(axis=0)
    taus = np.linspace(1, 4, 30_001)
    summed = [np.mean([(row <= tau).mean() for tau in taus]) for row in ratios]
    assert area_score(times) == pytest.approx(summed, abs=1e-3)


def test_the_speedup_is_the_geometric_mean_of_the_baselines_time_over_the_entrys():
    rows = summary(TWO)
    assert rows["speedup"].to_dict() == pytest.approx({"SGD": 1.0, "Adam": math.sqrt(10 / 20 * 40 / 10)})
    assert rows["speedup_bound"].tolist() == ["", ""]


def test_a_time_is_the_kaplan_meier_median_over_seeds():
    times = TWO | {("a", "Adam"): [30.0, 20.0, math.inf], ("b", "Adam"): [10.0, 10.0, math.inf, math.inf]}
    rows = summary(times)
    assert rows.loc["Adam", "reached"] == 1  # half of the seeds are not enough on b
    assert rows.loc["Adam", "score"] == pytest.approx((4 - 30 / 10) / 3 / 2)


def test_the_median_of_an_even_number_of_seeds_is_the_middle_of_two():
    rows = summary(TWO | {("a", "Adam"): [30.0, 20.0]})
    assert rows.loc["Adam", "score"] == pytest.approx(((4 - 25 / 10) / 3 + 1) / 2)


def test_where_an_entry_never_arrived_its_speedup_is_at_most_what_its_budget_gives():
    rows = summary(TWO | {("b", "Adam"): [math.inf]})
    assert rows.loc["Adam", "speedup"] == pytest.approx(math.sqrt(10 / 20 * 40 / 100))
    assert rows.loc["Adam", "speedup_bound"] == "at most"
    assert math.isnan(rows.loc["Adam", "speedup_low"])


def test_where_the_baseline_never_arrived_the_speedup_is_at_least_what_its_budget_gives():
    rows = summary(TWO | {("b", "SGD"): [math.inf]})
    assert rows.loc["Adam", ["speedup", "speedup_bound"]].tolist() == [
        pytest.approx(math.sqrt(10 / 20 * 100 / 10)),
        "at least",
    ]


def test_where_each_missed_another_workload_no_speedup_is_stated():
    rows = summary(TWO | {("a", "Adam"): [math.inf], ("b", "SGD"): [math.inf]})
    assert math.isnan(rows.loc["Adam", "speedup"])


def test_the_speedup_is_unknown_where_both_missed_a_workload():
    rows = summary(TWO | {("a", "Adam"): [math.inf], ("a", "SGD"): [math.inf]})
    assert rows.loc["Adam", "speedup"] == pytest.approx(4.0)
    assert rows.loc["Adam", "speedup_workloads"] == 1


def test_equal_seeds_leave_no_band_and_different_ones_do():
    assert summary(TWO)[["score_low", "score_high"]].loc["Adam"].nunique() == 1
    spread = summary(TWO | {("a", "Adam"): [10.0, 20.0, 40.0]})
    low, high = spread.loc["Adam", ["speedup_low", "speedup_high"]]
    assert (low, high) == pytest.approx((1.0, 2.0))  # medians of three draws range over all three


def test_workloads_that_some_entry_has_not_run_are_left_out_by_name():
    times = TWO | {("c", "SGD"): [1.0]}
    found = profiles(passages(times), "epochs", "SGD")
    assert found.left_out == ("c",)
    assert found.summary["workloads"].tolist() == [2, 2]


@pytest.mark.parametrize("keep", ["a", "SGD"])
def test_one_workload_or_one_entry_makes_no_profile(keep):
    assert (
        profiles(passages({key: value for key, value in TWO.items() if keep in key}), "epochs", "SGD") is None
    )


def several(tmp_path, workloads=("easy", "hard")):
    target = {"metric": "accuracy", "at_least": 0.9}
    common = {
        "model": "small_cnn",
        "data": "digits",
        "batch_size": 64,
        "budget": {"epochs": 10},
        "target": target,
    }
    suite = a_suite(workloads=dict.fromkeys(workloads, common))
    for workload, epochs in zip(workloads, (2, 4), strict=False):
        events = {("SGD", seed): reaching(2 * epochs) for seed in range(3)}
        events |= {("Adam", seed): reaching(epochs) for seed in range(3)}
        write(tmp_path, suite, events, workload=workload)
    return read([tmp_path])


@pytest.mark.parametrize("format", ["terminal", "markdown"])
def test_a_report_over_two_workloads_ends_with_profiles_and_speedups(tmp_path, format):
    text = " ".join(render(several(tmp_path), format).split())
    for part in (
        "All workloads",
        "By epochs to target",
        "By seconds to target",
        "2.00x (2.00–2.00)",
        "preliminary",
    ):
        assert part in text, part


def test_json_has_the_numbers_of_the_profiles(tmp_path):
    (suite,) = json.loads(render(several(tmp_path), "json"))["suites"]
    found = {(row["optimizer"], row["unit"]): row["speedup"] for row in suite["workloads"][-1]["summary"]}
    assert found == pytest.approx(
        {("SGD", "epochs"): 1, ("Adam", "epochs"): 2, ("SGD", "seconds"): 1, ("Adam", "seconds"): 2}
    )


def test_a_report_over_one_workload_has_none(tmp_path):
    write(tmp_path, a_suite(), {("SGD", 0): curve([0.95]), ("Adam", 0): curve([0.95])})
    assert "All workloads" not in render(read([tmp_path]))
