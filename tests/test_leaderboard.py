from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from algoperf_builder import NEVER, reaching, targets_file, trial
from optbench.analysis.leaderboard import (
    TAUS,
    Rules,
    count,
    leaderboard,
    profile,
    rules_of,
    score,
    study_times,
    trial_times,
)
from optbench.errors import OptbenchError
from optbench.importing.algoperf import import_algoperf
from optbench.report import render, render_report
from optbench.report.leaderboard import build_leaderboard
from optbench.store import read
from program import optbench
from results_builder import a_suite, evaluated, finished, started
from results_builder import reaching as reaching_epoch
from results_builder import write as write_suite

INF = math.inf
ROOT = Path(__file__).parents[1]
LOGS = Path(os.environ.get("OPTBENCH_ALGOPERF_LOGS", ROOT.parent / "shared" / "algoperf_v06"))


def times_of(**rows: list[float]) -> pd.DataFrame:
    """One study, one trial: submission -> times on workloads a, b, c, ..."""
    return pd.DataFrame(
        [
            {"submission": name, "workload": chr(ord("a") + index), "study": 0, "seconds": seconds}
            for name, values in rows.items()
            for index, seconds in enumerate(values)
        ]
    )


def scores(board) -> dict[str, float]:
    return dict(zip(board.scores["submission"], board.scores["score"], strict=True))


# --- the rules, one by one


def test_a_study_takes_its_fastest_trial():
    trials = pd.DataFrame(
        {"submission": "x", "workload": "a", "study": [0, 0, 1, 1], "seconds": [30.0, 20.0, INF, 50.0]}
    )
    assert study_times(trials)["seconds"].tolist() == [20.0, 50.0]


@pytest.mark.parametrize(
    ("studies", "median"),
    [
        ([10.0, 30.0, 20.0], 20.0),
        ([10.0, INF, 20.0], 20.0),
        ([10.0, INF, INF], INF),
        ([10.0, 20.0], 15.0),
        ([10.0, INF], INF),
        ([10.0], 10.0),
        ([5.0, 1.0, INF, 2.0, 3.0], 3.0),
    ],
)
def test_a_submission_takes_the_median_over_its_studies_where_never_is_infinite(studies, median):
    trials = pd.DataFrame(
        {"submission": "x", "workload": "a", "study": range(len(studies)), "seconds": studies}
    )
    assert leaderboard(trials, Rules(("a",), {})).times.loc["x", "a"] == median


def test_a_workload_without_logs_is_infinite_and_still_counts_in_the_share():
    board = leaderboard(times_of(x=[10.0]), Rules(("a", "b"), {}))
    assert board.times.loc["x"].tolist() == [10.0, INF]
    assert scores(board) == {"x": pytest.approx(0.5)}


def test_a_time_over_four_times_the_least_becomes_infinite_and_one_of_exactly_four_does_not():
    rules = Rules(("a", "b", "c"), {})
    counted = count(np.array([[10.0, 10.0, INF], [40.0, 40.1, INF]]), rules)
    assert counted.tolist() == [[10.0, 10.0, INF], [40.0, INF, INF]]


def test_a_variant_becomes_infinite_where_its_base_was_not_reached_before_its_least_time_is_taken():
    # y's variant (1 s) must not set the least time of the variant's column, since y did not reach the base.
    counted = count(np.array([[10.0, 100.0], [INF, 1.0]]), Rules(("a",), {"a_v": "a"}))
    assert counted.tolist() == [[10.0, 100.0], [INF, INF]]


def test_a_base_becomes_infinite_where_its_variant_is_too_slow_or_not_reached():
    times = np.array([[10.0, 10.0], [12.0, 41.0], [14.0, INF]])
    counted = count(times, Rules(("a",), {"a_v": "a"}))
    assert counted[:, 0].tolist() == [10.0, INF, INF]


def test_the_four_times_rule_comes_before_the_base_loses_its_time_so_that_a_lost_base_still_was_the_least():
    # x has the base's least time and loses it through its variant only after y was measured against it.
    counted = count(np.array([[10.0, INF], [41.0, 5.0]]), Rules(("a",), {"a_v": "a"}))
    assert counted.tolist() == [[INF, INF], [INF, 5.0]]


def test_ratios_are_to_the_least_time_that_is_left():
    counted = count(np.array([[10.0, INF], [30.0, 5.0]]), Rules(("a",), {"a_v": "a"}))
    assert profile(counted[:, :1], [1.0])[:, 0].tolist() == [0.0, 1.0]


def test_the_score_is_the_trapezoid_area_over_three():
    # ratio 2.5: the profile is 0 up to the 50th of 100 points and 1 from the 51st on (1 + 3 * 50 / 99 = 2.515).
    assert score(profile(np.array([[10.0], [25.0]]))).tolist() == pytest.approx([1.0, (49 + 0.5) / 99])


def test_a_workload_that_no_submission_reached_adds_to_no_score():
    assert score(profile(np.array([[INF, 1.0], [INF, 1.0]]))).tolist() == pytest.approx([0.5, 0.5])


def test_a_target_met_at_once_is_no_division_by_zero():
    assert profile(np.array([[0.0], [0.0], [5.0]]), [1.0, 4.0]).tolist() == [[1, 1], [1, 1], [0, 0]]


def test_tau_has_a_hundred_equally_spaced_points_from_one_to_four():
    assert (len(TAUS), TAUS[0], TAUS[-1]) == (100, 1.0, 4.0)
    assert np.ptp(np.diff(TAUS)) == pytest.approx(0)


def test_scores_depend_on_the_set_of_submissions():
    rules = Rules(("a",), {})
    assert scores(leaderboard(times_of(x=[20.0]), rules))["x"] == 1
    assert scores(leaderboard(times_of(x=[20.0], y=[10.0]), rules))["x"] < 1


def test_without_a_trial_there_is_nothing_to_score():
    with pytest.raises(OptbenchError, match="has a complete trial"):
        leaderboard(times_of(), Rules(("a",), {}))


# --- what resampling says


def test_equal_studies_leave_no_doubt():
    trials = pd.concat([times_of(x=[10.0], y=[20.0]).assign(study=study) for study in range(3)])
    board = leaderboard(trials, Rules(("a",), {}))
    assert (board.scores["low"] == board.scores["high"]).all()
    assert board.flips[["first", "second", "flipped", "tied"]].values.tolist() == [["x", "y", 0.0, 0.0]]


def test_the_share_of_flips_is_that_of_all_resamples():
    # Medians of 3 draws from 3 studies: x is one of 1, 2, 9 with chances 7, 13, 7 of 27; y is always 3.
    # y is ahead whenever x is 9, as 9 > 3.
    trials = pd.DataFrame(
        {
            "submission": ["x"] * 3 + ["y"] * 3,
            "workload": "a",
            "study": [0, 1, 2] * 2,
            "seconds": [1.0, 2.0, 9.0, 3.0, 3.0, 3.0],
        }
    )
    board = leaderboard(trials, Rules(("a",), {}), resamples=20_000)
    assert board.flips["flipped"].tolist() == pytest.approx([7 / 27], abs=0.01)
    assert board.order_changed == pytest.approx(7 / 27, abs=0.01)


def test_the_band_contains_the_stated_share_of_resamples():
    # x is 1 s (chance 20/27) or never (7/27); alone on the board its score is 1 or 0.
    trials = pd.DataFrame(
        {"submission": "x", "workload": "a", "study": [0, 1, 2], "seconds": [1.0, 1.0, INF]}
    )
    board = leaderboard(trials, Rules(("a",), {}))
    assert board.scores[["score", "low", "high"]].values.tolist() == [[1.0, 0.0, 1.0]]


def test_equal_scores_are_no_order_that_could_flip():
    board = leaderboard(times_of(x=[10.0], y=[10.0]), Rules(("a",), {}))
    assert board.flips.empty
    assert board.order_changed == 0


# --- from logs to a report


def imported(tmp_path: Path, **changes):
    import_algoperf(tmp_path / "logs", targets_file(tmp_path, **changes), tmp_path / "results")
    return read([tmp_path / "results"])


def test_a_leaderboard_from_log_files_by_hand(tmp_path):
    logs = tmp_path / "logs"
    for study, seconds in enumerate([10.0, 30.0, 20.0]):
        trial(logs, "fast", study, "mnist_jax", 1, reaching(seconds + 5))
        trial(logs, "fast", study, "mnist_jax", 2, reaching(seconds))
        trial(logs, "fast", study, "mnist_wide_jax", 1, reaching(100.0))
        trial(logs, "fast", study, "wmt_jax", 1, NEVER)
        trial(logs, "slow", study, "mnist_pytorch", 1, reaching(40.0))
        trial(logs, "slow", study, "mnist_wide_pytorch", 1, reaching(401.0))
        trial(logs, "slow", study, "wmt_pytorch", 1, reaching(50.0))
    (suite,) = imported(tmp_path).suites
    board = leaderboard(trial_times(suite), rules_of(suite))
    assert board.times.loc["fast"].tolist() == [20.0, INF, 100.0]
    assert board.counted.loc["slow"].tolist() == [INF, 50.0, INF]  # the variant is over 4 times slower
    assert scores(board) == {"fast": pytest.approx(0.5), "slow": pytest.approx(0.5)}


def test_workloads_that_are_neither_base_nor_held_out_are_not_scored(tmp_path):
    logs = tmp_path / "logs"
    trial(logs, "x", 0, "mnist_jax", 1, reaching(10.0))
    trial(logs, "x", 0, "mnist_deep_jax", 1, NEVER)
    (suite,) = imported(tmp_path, held_out_workloads=[]).suites
    assert scores(leaderboard(trial_times(suite), rules_of(suite))) == {"x": pytest.approx(0.5)}


def test_self_tuning_submissions_with_one_trial_a_study_and_five_studies(tmp_path):
    for study, seconds in enumerate([50.0, 10.0, 20.0, 30.0, 40.0]):
        trial(tmp_path / "logs", "x", study, "wmt_jax", 1, reaching(seconds))
    (suite,) = imported(tmp_path).suites
    board = leaderboard(trial_times(suite), rules_of(suite))
    assert board.times.loc["x", "wmt"] == 30.0
    assert board.scores["studies_most"].tolist() == [5]


def test_a_suite_of_optbench_own_is_scored_with_every_seed_as_a_study(tmp_path):
    events = {("SGD", seed): reaching_epoch(seed + 2) for seed in range(3)}
    events |= {("Adam", seed): reaching_epoch(seed + 1) for seed in range(3)}
    write_suite(tmp_path, a_suite(), events)
    (suite,) = read([tmp_path]).suites
    board = leaderboard(trial_times(suite), rules_of(suite))
    assert board.times["main"].to_dict() == {"Adam": 1.0, "SGD": 1.5}  # half a second an epoch


def test_a_log_without_seconds_has_no_leaderboard(tmp_path):
    events = [started(), evaluated(1, 0.95, train_seconds=math.nan), finished(0.95, epochs=1)]
    write_suite(tmp_path, a_suite(labels=["SGD"], seeds=1), {("SGD", 0): events})
    with pytest.raises(OptbenchError, match="no training time"):
        build_leaderboard(read([tmp_path]))


def test_a_suite_without_a_target_has_no_leaderboard(tmp_path):
    write_suite(tmp_path, a_suite(target=[]), {("SGD", 0): reaching_epoch(1)})
    with pytest.raises(OptbenchError, match="no workload has a target"):
        build_leaderboard(read([tmp_path]))


@pytest.fixture
def report(tmp_path):
    logs = tmp_path / "logs"
    for study in range(3):
        trial(logs, "fast", study, "mnist_jax", 1, reaching(10.0))
        trial(logs, "fast", study, "mnist_wide_jax", 1, reaching(10.0))
        trial(logs, "slow", study, "mnist_jax", 1, reaching(20.0))
        trial(logs, "slow", study, "mnist_wide_jax", 1, reaching(99.0))
    trial(logs, "slow", 0, "wmt_jax", 1, None, {})
    return build_leaderboard(imported(tmp_path))


def test_a_variant_without_logs_is_reported_because_it_removes_its_base(tmp_path):
    trial(tmp_path / "logs", "x", 0, "mnist_jax", 1, reaching(10.0))
    report = build_leaderboard(imported(tmp_path))
    assert report.table["score"].tolist() == [0.0]
    assert "mnist_wide; their base workloads do not count" in " ".join(report.sections[0].blocks[0].warnings)


def test_tables_of_imported_trials_state_that_their_seeds_have_other_settings(tmp_path):
    trial(tmp_path / "logs", "x", 0, "mnist_jax", 1, reaching(10.0))
    assert "the tuning trials of all studies, each with other settings" in render(
        imported(tmp_path), "markdown"
    )


@pytest.mark.parametrize("format", ["terminal", "markdown"])
def test_a_report_states_set_scores_studies_rules_and_what_was_broken(report, format):
    text = " ".join(render_report(report, format).split())
    for part in (
        "2 base workloads, 1 held-out variants; scores depend on the set of submissions: fast, slow",
        "0.5000",
        "(20.0)",  # reached, does not count
        "Times in brackets were reached but do not count",
        "above 4 times the fastest time of its workload",
        "median over its studies",
        "held-out variant",
        "too narrow",
        "trials without eval_measurements.csv: count as target not reached (1; first: slow",
    ):
        assert part.replace("_", "") in text.replace("_", "").replace("\\", ""), part


def test_csv_and_json_have_one_row_per_submission_with_bands_flips_and_times(report):
    from io import StringIO

    table = pd.read_csv(StringIO(render_report(report, "csv"))).set_index("submission")
    assert table.loc["fast", ["score", "score_low", "score_high", "studies_most"]].tolist() == [
        0.5,
        0.5,
        0.5,
        3,
    ]
    assert table.loc["fast", "ahead_of_slow"] == 1.0
    assert table.loc["slow", ["seconds_mnist", "counts_mnist"]].tolist() == [20.0, False]
    rows = json.loads(render_report(report, "json"))["rows"]
    assert [(row["submission"], row["seconds_wmt"]) for row in rows] == [("fast", None), ("slow", None)]


def test_the_command_line_imports_and_prints_the_leaderboard(tmp_path):
    trial(tmp_path / "logs", "x", 0, "mnist_jax", 1, reaching(10.0), {"lr": 0.1})
    targets = targets_file(tmp_path, held_out_workloads=[])
    steps = [
        ["import", "algoperf", "logs", "--targets", str(targets), "--results", "r"],
        ["report", "r", "--leaderboard", "--format", "csv"],
    ]
    outputs = [optbench(*step, cwd=tmp_path).stdout for step in steps]
    assert "1 trial new, 0 unchanged" in outputs[0]
    assert outputs[1].splitlines()[1].startswith("logs,x,0.5")


# --- the published scores


needs_logs = pytest.mark.skipif(
    not (LOGS / "external_tuning").is_dir(),
    reason=f"the AlgoPerf v0.6 logs are not at {LOGS} (OPTBENCH_ALGOPERF_LOGS says where they are)",
)


@needs_logs
def test_the_published_scores_of_version_0_6_to_four_decimals(tmp_path):
    import_algoperf(LOGS / "external_tuning", LOGS / "workload_targets.json", tmp_path)
    (suite,) = read([tmp_path]).suites
    board = leaderboard(trial_times(suite), rules_of(suite))
    assert {name: f"{value:.4f}" for name, value in scores(board).items()} == {
        "shampoo": "0.6244",
        "baseline": "0.4590",
    }
    assert 0 < board.flips["flipped"].iloc[0] < 0.2
    assert (board.scores["low"] < board.scores["score"]).all()
