"""Ranks of many entries over several workloads: bands, groups, entries that did not train, and the block of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from optbench import report
from optbench.analysis.ranking import ranking_frame
from optbench.report.build import build
from optbench.store import read
from results_builder import a_suite, curve, diverged, write

LABELS = tuple(f"O{number}" for number in range(10))
WORKLOAD = {
    "model": "small_cnn",
    "data": "digits",
    "batch_size": 64,
    "budget": {"epochs": 2},
    "target": {"metric": "accuracy", "at_least": 0.9},
}


def a_ranking(root: Path, labels: tuple[str, ...] = LABELS) -> Path:
    """Each entry is 0.05 better than the next, O1 differs from O0 by less than its seeds; the last diverged on `second`."""
    suite = a_suite(labels, workloads={"first": WORKLOAD, "second": WORKLOAD})
    for workload in suite.workloads:
        events = {
            (label, seed): curve([0.9 - 0.05 * max(place, 1) + 0.002 * seed * (-1) ** place])
            for place, label in enumerate(labels)
            for seed in range(3)
        }
        if workload == "second":
            events |= {(labels[-1], seed): diverged(1) for seed in range(3)}
        write(root, suite, events, workload=workload)
    return root


def test_entries_are_ranked_over_workloads_with_bands(tmp_path: Path) -> None:
    frame = ranking_frame(read([a_ranking(tmp_path)]).suites[0]).set_index("optimizer")
    assert set(frame.index[:2]) == {"O0", "O1"}
    assert list(frame.index[2:]) == list(LABELS[2:])
    assert frame.loc["O5", "mean_rank"] == 6
    assert (frame["mean_rank_low"] <= frame["mean_rank"]).all()
    assert (frame["mean_rank"] <= frame["mean_rank_high"]).all()
    assert frame.loc["O0", "place_high"] >= 2
    assert frame.loc["O9", "worst"] == pytest.approx(0.5)
    assert frame.loc["O9", "workloads"] == 2  # diverged trials count as the worst value
    assert frame.loc["O0", "first"] == pytest.approx(0.852)
    assert frame.loc["O0", "step_cost"] == pytest.approx(1)


def test_entries_that_do_not_differ_are_one_group(tmp_path: Path) -> None:
    groups = ranking_frame(read([a_ranking(tmp_path)]).suites[0]).set_index("optimizer")["group"]
    assert groups["O0"] == groups["O1"] == 1
    assert groups["O9"] > 1
    assert groups.is_monotonic_increasing


def test_an_entry_without_trials_on_a_workload_has_its_last_rank(tmp_path: Path) -> None:
    suite = a_suite(LABELS, workloads={"first": WORKLOAD, "second": WORKLOAD})
    for workload in suite.workloads:
        events = {
            (label, seed): curve([0.9 - 0.05 * place])
            for place, label in enumerate(LABELS)
            for seed in range(3)
            if (workload, label) != ("second", "O0")
        }
        write(tmp_path, suite, events, workload=workload)
    frame = ranking_frame(read([tmp_path]).suites[0]).set_index("optimizer")
    assert frame.loc["O0", "mean_rank"] == pytest.approx((1 + 10) / 2)
    assert frame.loc["O0", "not_trained"] == "second"
    assert "O0 did not train on second" in report.render(read([tmp_path]), "markdown")


def test_the_block_is_the_first_of_the_report(tmp_path: Path) -> None:
    results = read([a_ranking(tmp_path)])
    built = build(results)
    assert built.sections[0].blocks[0].heading == "Ranking"
    assert len(built.more["ranking"]) == len(LABELS)
    for kind in ("markdown", "latex", "html", "json", "csv"):
        assert report.render(results, kind)


def test_few_entries_have_no_ranking(tmp_path: Path) -> None:
    results = read([a_ranking(tmp_path, LABELS[:9])])
    assert ranking_frame(results.suites[0]).empty
    assert "Ranking" not in report.render(results, "markdown")


def test_the_band_of_the_best_rank_contains_it_if_seeds_vary_more_than_entries(tmp_path: Path) -> None:
    suite = a_suite(LABELS, workloads={"first": WORKLOAD, "second": WORKLOAD})
    for workload in suite.workloads:
        events = {
            (label, seed): curve([0.5 + 0.002 * place + 0.05 * (seed - 1)])
            for place, label in enumerate(LABELS)
            for seed in range(3)
        }
        write(tmp_path, suite, events, workload=workload)
    frame = ranking_frame(read([tmp_path]).suites[0])
    assert frame["mean_rank"].tolist() == list(range(1, 11))
    assert (frame["mean_rank_low"] <= frame["mean_rank"]).all()
    assert (frame["mean_rank"] <= frame["mean_rank_high"]).all()
    assert frame["mean_rank_high"].iloc[0] > 4
