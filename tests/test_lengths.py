"""Budgets and horizons in different units: equal where they are equally many optimizer steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from optbench.analysis.horizons import horizons_frame
from optbench.analysis.lengths import in_steps, same_length
from optbench.analysis.matching import match
from optbench.analysis.published import verdicts_frame
from optbench.analysis.table import comparison
from optbench.analysis.warnings import warnings_frame
from optbench.store import read
from optbench.suite.field_types import Duration
from optbench.suite.load import load
from optbench.suite.plan import plan
from results_builder import a_suite, reaching, write, write_trials  # 10 steps per epoch


def duration(text: str) -> Duration:
    return Duration.model_validate(text)


@pytest.mark.parametrize(
    ("a", "b", "steps_per_epoch", "equal"),
    [
        ("40 steps", "20 epochs", 2, True),
        ("40 steps", "20 epochs", 3, False),
        ("40 steps", "20 epochs", None, False),
        ("0.5 epochs", "5 steps", 10, True),
        ("20 epochs", "20 epochs", None, True),
        ("20 epochs", "20 seconds", 1, False),
    ],
)
def test_lengths_are_compared_in_steps(a: str, b: str, steps_per_epoch: int | None, equal: bool) -> None:
    assert same_length(duration(a), duration(b), steps_per_epoch) is equal
    assert same_length(duration(b), duration(a), steps_per_epoch) is equal


def test_seconds_are_no_number_of_steps() -> None:
    assert in_steps(duration("20 seconds"), 10) is None


@pytest.mark.parametrize(
    ("budget", "verdict"), [("100 steps", "reproduced"), ("90 steps", "not tested here")]
)
def test_a_source_that_states_its_budget_in_steps_is_compared(
    tmp_path: Path, budget: str, verdict: str
) -> None:
    claim = {"kind": "numeric", "value": 0.95, "unit": "fraction", "margin": 0.01}
    row = {
        "source": "A",
        "optimizer": "SGD",
        "scope": {"budget": budget},
        "values": {"final_metric": claim},
    }
    suite = a_suite(["SGD"], seeds=5, published=[row])
    write(tmp_path, suite, {("SGD", seed): reaching(3, 0.95 + seed / 1e4) for seed in range(5)})
    assert verdicts_frame(read([tmp_path]))["verdict"].tolist() == [verdict]


def test_results_of_equal_budgets_are_matched_whatever_their_unit(tmp_path: Path) -> None:
    for name, budget in (("before", {"epochs": 10}), ("after", {"steps": 100}), ("longer", {"steps": 200})):
        events = {(label, seed): reaching(3) for seed in range(2) for label in ("SGD", "Adam")}
        write(tmp_path / name, a_suite(seeds=2, budget=budget), events)
    before, after, longer = (read([tmp_path / name]) for name in ("before", "after", "longer"))
    assert [pair.optimizer for pair in match(before, after).suites[0].entries] == ["SGD", "Adam"]
    assert match(before, longer).suites[0].entries == ()


def test_entries_whose_horizons_are_equal_in_steps_are_compared(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(
        "workload: {model: mlp, data: digits, batch_size: 8, budget: 10 epochs, target: {at_least: 0.9}}\n"
        "seeds: 5\nhorizons: [10 epochs]\n"
        "optimizers: {SGD: {use: sgd, lr: 0.1}, Adam: {use: adam, horizons: [100 steps]}}\n"
    )
    loaded = load(tmp_path / "digits.yaml")
    trials = plan(loaded)
    events = {
        trial.id: reaching(3, 0.9 + trial.seed / 1e3 + 0.05 * (trial.label == "Adam")) for trial in trials
    }
    write_trials(tmp_path / "results", loaded.suite, trials, events)
    results = read([tmp_path / "results"])
    table = comparison(results).set_index("optimizer")
    assert table.loc["Adam", "difference"] == pytest.approx(0.05)
    assert "horizon" not in set(warnings_frame(results)["kind"])
    assert horizons_frame(results).empty
