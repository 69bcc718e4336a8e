"""Verdicts on tuned entries: intervals with the variation of tuning, and `optbench verdicts` before and after the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from optbench.analysis.published import verdicts_frame
from optbench.analysis.statements import statements_frame
from optbench.analysis.table import comparison
from optbench.analysis.tuning import UNKNOWN_VARIATION, winners
from optbench.cli.commands.verdicts import verdicts
from optbench.events import Evaluated, Event
from optbench.store import Results, read
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Trial
from program import optbench
from results_builder import curve, diverged, write_trials

SUITE = """\
workload: {model: {name: mlp, hidden: [8]}, data: digits, batch_size: 64, budget: 2 epochs, target: {at_least: 0.7}}
tuning: {trials: 8}
seeds: 6
published:
  - source: A table
    optimizer: SGD
    values:
      final_metric: {kind: ordering, over: Adam, margin: 0.001}
      epochs_to_target: {kind: numeric, value: 2, unit: epochs, margin: 1}
  - source: A table
    optimizer: Fixed
    values: {final_metric: {kind: numeric, value: 0.9, margin: 0.5, unit: fraction}}
  - source: A text
    id: order
    says: SGD is better
    tests:
      - {quantity: final_metric, of: SGD, above: Adam}
      - {quantity: final_metric, of: SGD, divided_by: Adam, at_least: 1}
      - {quantity: epochs_to_target, of: SGD, below: Adam}
      - {quantity: final_metric, range_over: optimizer, at_least: 0.001}
optimizers:
  SGD: {use: sgd, lr: {log: [1e-3, 1]}}
  Adam: {use: adam, lr: {log: [1e-4, 1e-1]}}
  Fixed: {use: sgd, lr: 0.1}
"""


def _events(trial: Trial) -> list[Event]:
    """Better the nearer the rate is to 0.1; seeds differ little, settings differ much, and SGD is slightly better."""
    rate = trial.point.get("lr") or trial.entry.rules[0].arguments["lr"]
    good = 0.8 - 0.1 * abs(np.log10(rate) + 1) + 0.001 * (trial.seed % 3) + 0.002 * (trial.label == "SGD")
    return curve([0.5, good])


def _results(folder: Path, text: str = SUITE, events: Callable[[Trial], list[Event]] = _events) -> Results:
    (folder / "s.yaml").write_text(text)
    loaded = load(folder / "s.yaml")
    for _ in range(2):
        stored = read([folder / "r"]) if (folder / "r").exists() else Results(())
        trials = plan(loaded, winners=winners(stored))
        write_trials(folder / "r", loaded.suite, trials, {t.id: events(t) for t in trials}, name="s")
    return read([folder / "r"])


def _judged(results: Results) -> pd.DataFrame:
    return verdicts_frame(results).set_index(["entry", "column"])


def test_the_intervals_of_verdicts_are_those_of_the_table(tmp_path: Path) -> None:
    results = _results(tmp_path, SUITE.replace("trials: 8", "trials: 8, studies: 6"))
    table = comparison(results).set_index("optimizer")
    found = _judged(results)
    for label in ("SGD", "Fixed"):
        row = found.loc[(label, "final_metric")]
        assert row["measured_low"] == pytest.approx(table.loc[label, "final_metric_low"])
        assert row["measured_high"] == pytest.approx(table.loc[label, "final_metric_high"])
    difference = statements_frame(results).iloc[0]
    assert difference["measured"] == pytest.approx(-table.loc["Adam", "difference"])
    assert difference["measured_low"] == pytest.approx(-table.loc["Adam", "difference_high"])
    assert difference["measured_high"] == pytest.approx(-table.loc["Adam", "difference_low"])


def test_with_one_study_verdicts_are_about_its_settings_over_seeds_alone(tmp_path: Path) -> None:
    """All six seeds have the same difference. The table includes that another study would give another one."""
    results = _results(tmp_path)
    assert comparison(results).set_index("optimizer").loc["Adam", "difference_p"] > 0.05
    ordered = statements_frame(results).iloc[0]
    assert ordered["verdict"] == "reproduced"
    assert ordered["measured_high"] - ordered["measured_low"] < 0.01


def test_times_of_seeds_that_share_settings_have_no_interval_and_no_order(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    results = _results(shared, SUITE.replace("trials: 8", "trials: 8, studies: 3"))
    row = _judged(results).loc[("SGD", "epochs_to_target")]
    assert (row["verdict"], row["reason"]) == ("inconclusive", UNKNOWN_VARIATION)
    assert statements_frame(results).iloc[2]["reason"] == UNKNOWN_VARIATION
    own = tmp_path / "own"
    own.mkdir()
    row = _judged(_results(own, SUITE.replace("trials: 8", "trials: 8, studies: 6"))).loc[
        ("SGD", "epochs_to_target")
    ]
    assert row["verdict"] == "reproduced"


def test_fewer_studies_than_seeds_are_counted_as_studies(tmp_path: Path) -> None:
    results = _results(tmp_path, SUITE.replace("trials: 8", "trials: 8, studies: 3"))
    row = _judged(results).loc[("SGD", "final_metric")]
    assert (row["verdict"], row["n"]) == ("inconclusive", 3)
    assert row["reason"] == "3 studies; verdicts need at least 5"
    assert _judged(results).loc[("Fixed", "final_metric"), "n"] == 6
    assert "3 studies; verdicts need at least 5" in statements_frame(results).iloc[3]["reason"]


def test_largest_differences_with_failed_trials_are_counted_as_studies(tmp_path: Path) -> None:
    def events(trial: Trial) -> list[Event]:
        return diverged() if trial.label == "Fixed" and trial.seed == 0 else _events(trial)

    results = _results(tmp_path, SUITE.replace("trials: 8", "trials: 8, studies: 3"), events)
    assert "3 studies; verdicts need at least 5" in statements_frame(results).iloc[3]["reason"]


def test_ladders_over_fewer_studies_than_seeds_are_counted_as_studies(tmp_path: Path) -> None:
    def events(trial: Trial) -> list[Event]:
        return [
            replace(event, loss_rises=event.step // 2 + trial.seed % 3)
            if isinstance(event, Evaluated)
            else event
            for event in _events(trial)
        ]

    text = SUITE.replace("trials: 8", "trials: 8, studies: 3")
    text = text.replace("    values: {final", "    values: {loss_rises: {kind: ladder, level: low}, final")
    text = text.replace("    values:\n", "    values:\n      loss_rises: {kind: ladder, level: high}\n")
    row = _judged(_results(tmp_path, text, events)).loc[("SGD", "loss_rises")]
    assert (row["verdict"], row["reason"]) == ("inconclusive", "3 studies; verdicts need at least 5")


def test_entries_whose_tuning_is_not_complete_are_not_tested(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    loaded = load(tmp_path / "s.yaml")
    trials = [trial for trial in plan(loaded) if trial.study is not None]
    write_trials(tmp_path / "r", loaded.suite, trials, {}, name="s")
    results = read([tmp_path / "r"])
    row = _judged(results).loc[("SGD", "final_metric")]
    assert (row["verdict"], row["reason"]) == ("not tested here", "its tuning is not complete")
    reasons = statements_frame(results)["reason"].tolist()
    assert reasons == ["the tuning of SGD is not complete"] * 3 + ["the tuning of Adam, SGD is not complete"]


def test_the_command_judges_a_tuned_suite_before_and_after_its_run(tmp_path: Path, capsys: Any) -> None:
    text = SUITE.replace("workload:", "engine: plain\nworkload:").replace(
        "budget: 2 epochs", "budget: 10 steps"
    )
    text = text.replace("trials: 8", "trials: 2").replace("seeds: 6", "seeds: 1")
    (tmp_path / "s.yaml").write_text(text)
    verdicts(str(tmp_path / "s.yaml"), results=tmp_path / "results", format="csv")
    before = capsys.readouterr().out
    assert before.count("not tested here") == 3
    assert "its tuning is not complete" in before
    done = optbench("run", "s.yaml", "--threads", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    verdicts(str(tmp_path / "s.yaml"), results=tmp_path / "results", format="csv")
    after = capsys.readouterr().out
    assert "not tested here" not in after
    assert after.count("1 seed; verdicts need at least 5") == 3
