"""Horizons, each a full run of its own; and how many seeds a difference would take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optbench import report
from optbench.analysis.horizons import horizons_frame
from optbench.analysis.power import power, seeds_frame, seeds_needed
from optbench.analysis.table import comparison
from optbench.analysis.warnings import warnings_frame
from optbench.cli.commands.plan import check_unit, difference
from optbench.errors import OptbenchError
from optbench.report import render_report
from optbench.report.detect import detect_report
from optbench.store import Results, read
from optbench.suite.dump import dump_text
from optbench.suite.load import load
from optbench.suite.metric_facts import facts_by_name
from optbench.suite.plan import plan
from optbench.suite.types import Trial
from results_builder import a_suite, curve, diverged, reaching, write, write_trials

# --- horizons

SUITE = """\
workload: {model: mlp, data: digits, batch_size: 8, budget: 10 epochs, target: {at_least: 0.9}}
horizons: [20 epochs, 5 epochs]
seeds: 1
optimizers:
  A: adam
  B: {use: adam, horizons: [5 epochs, 40 epochs]}
  C: {use: adam, horizons: []}
"""


def trials(folder: Path, text: str = SUITE) -> tuple[Trial, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s.yaml").write_text(text)
    return plan(load(folder / "s.yaml"))


def test_every_horizon_is_a_full_run_with_it_as_budget(tmp_path: Path) -> None:
    found = [(trial.label, str(trial.workload.budget)) for trial in trials(tmp_path)]
    assert found == [
        ("C", "10 epochs"),
        ("A", "5 epochs"),
        ("B", "5 epochs"),
        ("A", "20 epochs"),
        ("B", "40 epochs"),
    ]
    assert all(trial.entry.horizon is None for trial in trials(tmp_path))


def test_a_horizon_is_the_same_trial_as_that_budget_alone(tmp_path: Path) -> None:
    alone = trials(
        tmp_path, SUITE.replace("horizons: [20 epochs, 5 epochs]\n", "").replace("10 epochs", "5 epochs")
    )
    assert next(trial.id for trial in alone if trial.label == "A") in {trial.id for trial in trials(tmp_path)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("[5 epochs, 100 steps]", "all in epochs or all in steps"),
        ("[5 epochs, 5 epochs]", "found a duplicate"),
        ("[5 seconds, 6 seconds]", "found seconds"),
    ],
)
def test_mistakes_in_horizons_are_reported(tmp_path: Path, wrong: str, message: str) -> None:
    with pytest.raises(OptbenchError, match=rf"s.yaml:2:11: horizons: .*{message}"):
        trials(tmp_path, SUITE.replace("[20 epochs, 5 epochs]", wrong))


def with_horizons(root: Path, score: Any, seeds: int = 5) -> Results:
    suite = a_suite(("A", "B"), seeds, horizons=["10 epochs", "20 epochs", "40 epochs"])
    root.mkdir(parents=True, exist_ok=True)
    (root / "digits.yaml").write_text(dump_text(suite))
    planned = plan(load(root / "digits.yaml"))
    events = {}
    for trial in planned:
        final = score(trial.label, trial.workload.budget.value, trial.seed)
        events[trial.id] = diverged() if final is None else reaching(3, final)
    write_trials(root / "results", suite, planned, events)
    return read([root / "results"])


def rising(label: str, length: float, seed: int) -> float | None:
    start = {"A": 0.86, "B": 0.80}[label]
    own = 0.001 * (seed % 2) if label == "B" else 0.0  # or the differences would have no spread at all
    return start + 0.0015 * length + 0.012 * (seed - 2) + own


def test_the_shortest_horizon_whose_final_metric_meets_the_target_is_reported(tmp_path: Path) -> None:
    found = horizons_frame(with_horizons(tmp_path, rising))
    shortest = found[found["shortest"]].set_index("optimizer")["horizon"].to_dict()
    assert shortest == {"A": "40 epochs"}  # 0.875, 0.89, 0.92; B ends at 0.86
    assert not found["shortest_surely"].any()
    sure = horizons_frame(with_horizons(tmp_path / "b", lambda label, length, seed: 0.95 + seed / 1000))
    assert sure[sure["shortest_surely"]]["horizon"].tolist() == ["10 epochs", "10 epochs"]


def test_a_diverged_seed_is_never_sure(tmp_path: Path) -> None:
    found = horizons_frame(with_horizons(tmp_path, lambda label, length, seed: 0.99 if seed else None))
    assert not found["surely"].any()
    assert not found["meets"].any()


def test_groups_never_compare_across_horizons_and_a_warning_reports_it(tmp_path: Path) -> None:
    found = with_horizons(tmp_path, rising)
    table = comparison(found)
    assert len(table) == 6
    for _, block in table.groupby("horizon"):
        assert block.set_index("optimizer")["best_group"].to_dict() == {"A": True, "B": False}
        assert block["difference"].notna().sum() == 1
    assert "times to target are not comparable across them" in " ".join(warnings_frame(found)["message"])


def test_reports_have_horizons_side_by_side(tmp_path: Path) -> None:
    found = with_horizons(tmp_path, rising)
    markdown = report.render(found, "markdown")
    assert "| optimizer | 10 epochs | 20 epochs | 40 epochs | shortest (mean) | shortest (95 %) |" in markdown
    assert "| 40 epochs | none |" in markdown
    assert "A (10 epochs)" in markdown
    assert len(json.loads(report.render(found, "json"))["horizons"]) == 6
    assert max(map(len, report.render(found, "terminal").splitlines())) <= 80


# --- seeds


@pytest.mark.parametrize(("n", "delta"), [(3, 2.0), (5, 1.0), (10, 1.0), (20, 0.5)])
def test_power_is_the_rate_at_which_simulated_differences_are_found(n: int, delta: float) -> None:
    from optbench.analysis.intervals import paired_difference

    random = np.random.default_rng(n)
    found = [paired_difference(random.normal(delta, 1.0, n), np.zeros(n)).p < 0.05 for _ in range(4000)]
    assert np.mean(found) == pytest.approx(power(n, 1.0, delta), abs=4 * np.sqrt(0.25 / 4000))


@pytest.mark.parametrize(
    ("std", "delta", "seeds"), [(1.0, 1.0, 10), (1.0, 0.5, 34), (2.0, 0.5, 128), (0.1, 1.0, 3)]
)
def test_seeds_needed_are_the_fewest_with_the_power(std: float, delta: float, seeds: int) -> None:
    """10, 34 and 128 are the usual tables' for paired t tests with effects of 1, 0.5 and 0.25."""
    assert seeds_needed(std, delta) == seeds
    assert power(seeds, std, delta) >= 0.8 > power(seeds - 1, std, delta)


def test_seeds_are_planned_from_the_paired_spread_so_far(tmp_path: Path) -> None:
    suite = a_suite(("A", "B", "C"), 4)
    values = {"A": [0.9, 0.92, 0.94, 0.96], "B": [0.91, 0.925, 0.955, 0.97], "C": [0.9] * 4}
    write(tmp_path, suite, {(k, seed): curve([v]) for k, of in values.items() for seed, v in enumerate(of)})
    frame = seeds_frame(read([tmp_path]), 0.005).set_index("optimizer")
    std = float(np.std([0.01, 0.005, 0.015, 0.01], ddof=1))
    assert frame.loc["B", "difference_std"] == pytest.approx(std)
    assert frame.loc["B", "seeds"] == seeds_needed(std, 0.005)
    assert frame.loc["B", "seeds_low"] <= frame.loc["B", "seeds"] <= frame.loc["B", "seeds_high"]
    assert frame.loc["B", "seeds_holm"] == seeds_needed(std, 0.005, 0.05 / 3)
    assert frame.loc["B", "seeds"] < frame.loc["C", "seeds"]  # pairing takes out what seeds share


def test_one_seed_has_no_spread_to_plan_by(tmp_path: Path) -> None:
    write(tmp_path, a_suite(seeds=1), {("SGD", 0): reaching(3), ("Adam", 0): reaching(4)})
    assert seeds_frame(read([tmp_path]), 0.005)["seeds"].isna().all()


def test_a_baseline_without_results_is_named(tmp_path: Path) -> None:
    write(tmp_path, a_suite(seeds=2), {("Adam", seed): reaching(3) for seed in (0, 1)})
    report = detect_report("digits", seeds_frame(read([tmp_path]), 0.01), 0.01)
    assert "No seed has results of an entry and of SGD" in render_report(report, "markdown")


def test_plan_detect_prints_the_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from optbench.cli.commands.plan import show_plans
    from optbench.runner.options import RunOptions

    suite = a_suite(seeds=3)
    (tmp_path / "digits.yaml").write_text(dump_text(suite))
    planned = plan(load(tmp_path / "digits.yaml"))
    scale = {"SGD": 0.01, "Adam": 0.02}
    events = {trial.id: curve([0.9 + scale[trial.label] * trial.seed]) for trial in planned}
    write_trials(tmp_path / "results", suite, planned, events)
    options = RunOptions(results=tmp_path / "results")
    assert show_plans([str(tmp_path / "digits.yaml")], options, "0.5%") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Seeds needed to detect a difference of 0.50 points in the final accuracy from SGD" in out
    assert f"1.00 points {seeds_needed(0.01, 0.005)} " in out


@pytest.mark.parametrize(
    ("text", "value"), [("0.005", 0.005), ("0.5%", 0.005), ("0.5pp", 0.005), ("2e-3", 0.002)]
)
def test_a_difference_may_be_written_in_percent(text: str, value: float) -> None:
    assert difference(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "nan", "inf"])
def test_what_is_no_difference_is_refused(text: str) -> None:
    with pytest.raises(OptbenchError, match="expected a difference above 0"):
        difference(text)


@pytest.mark.parametrize(
    ("text", "metric", "message"),
    [
        (
            "0.5",
            "accuracy",
            "ambiguous difference '0.5' of accuracy: write '50%' for 50 percentage points, or '0.5%' for 0.5 points",
        ),
        ("2", "top5_accuracy", "write '200%' for 200 percentage points"),
        ("150%", "accuracy", "at most 100%; found '150%'"),
        ("0.5%", "loss", "loss is not a fraction: expected a difference in its own unit"),
    ],
)
def test_a_difference_in_an_unlikely_unit_is_refused(text: str, metric: str, message: str) -> None:
    with pytest.raises(OptbenchError, match=message):
        check_unit(text, {metric: facts_by_name(metric)})


@pytest.mark.parametrize(("text", "metric"), [("0.5%", "accuracy"), ("0.005", "accuracy"), ("0.5", "loss")])
def test_a_difference_in_the_metrics_unit_is_accepted(text: str, metric: str) -> None:
    check_unit(text, {metric: facts_by_name(metric)})
