"""Costs, best uses and words about both: of hand-made records, by hand-computed numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from optbench.analysis import verdicts
from optbench.analysis.costs import costs_frame
from optbench.analysis.published import verdicts_frame
from optbench.report import render_report
from optbench.report.build import build
from optbench.store import Results, SuiteFolder, make_plan, read
from optbench.suite.load import load
from optbench.suite.plan import plan
from trials import run

SUITE = """\
workload:
  model: {{name: mlp, hidden: [8]}}
  data: {{name: synthetic, shape: [12], classes: 3, train: 96, validation: 32, test: 32}}
  batch_size: 16
  budget: 4 epochs
  target: {{metric: accuracy, at_least: 0.3}}
  study: [costs, noise, gradients]
seeds: 5
clip: {{norm: 0.5}}
optimizers:
  One: {{use: sgd, lr: 0.05, batch_size: 1}}
  Some: {{use: sgd, lr: 0.1}}
  All: {{use: sgd, lr: 0.2, batch_size: full}}
  L-BFGS: {{use: lbfgs, lr: 0.1, max_iter: 3, batch_size: full}}
published:
{published}
"""
WORDS = """\
  - {source: S, optimizer: One, values: {training_bytes: {kind: ladder, level: low}, loss_rises: {kind: ladder, level: high}}}
  - {source: S, optimizer: Some, values: {training_bytes: {kind: ladder, level: medium}, loss_rises: {kind: ladder, level: medium}}}
  - {source: S, optimizer: All, values: {training_bytes: {kind: ladder, level: high}, loss_rises: {kind: ladder, level: low}}}
  - {source: T, optimizer: One, values: {training_bytes: {kind: ladder, level: high}}}
  - {source: T, optimizer: All, values: {training_bytes: {kind: ladder, level: low}}}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Of a real suite, run in this process."""
    folder = tmp_path_factory.mktemp("costs")
    path = folder / "variants.yaml"
    path.write_text(SUITE.format(published=WORDS))
    loaded = load(path)
    made = plan(loaded)
    stored = SuiteFolder.of(folder / "results", loaded.name)
    stored.create()
    with stored.lock():
        stored.write_plan(make_plan(loaded.name, loaded.suite, made))
        for trial in made:
            with stored.open_trial(trial) as file:
                for event in run(trial, folder):
                    if event.kind != "progressed":
                        file.append(event)
    return read([folder / "results"])


def frame(results: Results) -> pd.DataFrame:
    return costs_frame(results).set_index("optimizer")


def test_costs_of_updates_and_epochs(results: Results) -> None:
    found = frame(results)
    products = 12 * 8 + 8 * 3  # forward, gradients of weights, gradient of the hidden layer: 2 FLOPs each
    assert found.loc["Some", "flops_per_update"] == 2 * 16 * (2 * products + 8 * 3)
    assert found.loc["Some", "flops_per_epoch"] == 6 * found.loc["Some", "flops_per_update"]
    assert found.loc["All", "flops_per_epoch"] == found.loc["All", "flops_per_update"]
    assert found.loc["L-BFGS", "flops_per_update"] > found.loc["All", "flops_per_update"]
    assert found["batch_size"].tolist() == [1, 16, 96, 96]
    ratio = found.loc["All", "activation_bytes"] / found.loc["One", "activation_bytes"]
    assert ratio == pytest.approx(96, rel=0.01)
    parameters = 4 * (12 * 8 + 8 + 8 * 3 + 3)
    expected = 2 * parameters + found.loc["One", "activation_bytes"]
    assert found.loc["One", "training_bytes"] == expected


def test_convergence_and_clipping(results: Results) -> None:
    found = frame(results)
    assert 0.2 < found.loc["One", "loss_rises"] < 0.8
    assert found.loc["All", "loss_rises"] == 0
    assert (found["gradient_noise_end"] > 0).all()
    assert found["clipped"].between(0, 1).all()
    assert found["exploded_steps"].notna().all()


def test_best_uses_follow_their_rules(results: Results) -> None:
    found = frame(results)
    assert "single samples" in found.loc["One", "best_use"]
    assert "little memory" in found.loc["One", "best_use"]
    assert "steady descent" in found.loc["All", "best_use"]
    assert "little memory" not in found.loc["All", "best_use"]


def test_words_of_a_source_are_judged(results: Results) -> None:
    found = verdicts_frame(results)
    memory = found[found["column"] == "training_bytes"]
    assert memory[memory["source"] == "S"]["verdict"].tolist() == ["reproduced"] * 3
    assert memory[memory["source"] == "T"]["verdict"].tolist() == ["contradicted"] * 2
    noise = found[found["column"] == "loss_rises"]
    assert set(noise["verdict"]) <= {"reproduced", "inconclusive", "contradicted"}
    assert noise["measured"].notna().all()


def test_a_report_shows_costs_gradients_and_the_machine(results: Results) -> None:
    text = render_report(build(results), "markdown")
    for words in (
        "Cost per update and per epoch",
        "Convergence",
        "Best use is derived",
        "**Gradients**",
        "**Machine utilisation during training**",
        "noise of the loss",
    ):
        assert words in text


def test_a_counted_ladder_is_decided_by_its_numbers() -> None:
    def word(**values: Any) -> str:
        return verdicts.counted_ladder({"a": 0, "b": 1, "c": 2}, values).word

    assert word(a=1.0, b=2.0, c=3.0) == "reproduced"
    assert word(a=1.0, b=3.0, c=2.0) == "contradicted"
    assert word(a=1.0, b=2.0, c=2.0) == "contradicted"
    assert word(a=1.0, b=math.nan, c=2.0) == "not tested here"
    assert verdicts.counted_ladder({"a": 1, "b": 1}, {"a": 1.0, "b": 2.0}).word == "not testable as stated"


def test_unstudied_results_have_no_cost_tables(tmp_path: Path) -> None:
    assert costs_frame(Results(())).empty
