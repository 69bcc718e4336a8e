"""Gradient evaluations: shown where entries differ in what they use per step, and measured to the target."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from optbench import report
from optbench.analysis.curves import curves_frame
from optbench.analysis.survival import survival_frame
from optbench.analysis.table import comparison
from optbench.events import Evaluated, Event, Finished
from optbench.report.build import build
from optbench.report.formats.html import render as page
from optbench.store import Results, read
from results_builder import a_suite, diverged, reaching, started, write


def using(per_step: int, events: Sequence[Event], *, recorded: bool = True) -> list[Event]:
    """The same trial with `per_step` gradient evaluations a step; `recorded`: at each evaluation, not only in all."""
    changed: list[Event] = []
    for event in events:
        if isinstance(event, Finished) or (isinstance(event, Evaluated) and recorded):
            event = replace(event, gradient_evaluations=per_step * event.step)
        changed.append(event)
    return changed


def results(root: Path, per_step: int, *, recorded: bool = True) -> Results:
    """SGD reaches its target at epoch 4, SAM at epoch 3; an epoch is 10 steps."""
    events = {("SGD", seed): using(1, reaching(4), recorded=recorded) for seed in range(3)}
    events |= {("SAM", seed): using(per_step, reaching(3), recorded=recorded) for seed in range(3)}
    write(root, a_suite(["SGD", "SAM"]), events)
    return read([root])


def test_the_target_is_measured_in_gradient_evaluations(tmp_path: Path) -> None:
    table = comparison(results(tmp_path, 2)).set_index("optimizer")
    assert table["epochs_to_target"].tolist() == [4, 3]
    assert table["gradient_evaluations_to_target"].tolist() == [40, 60]
    assert table["gradient_evaluations_per_step"].tolist() == [1, 2]


@pytest.mark.parametrize("format", ["terminal", "markdown", "latex", "html"])
def test_every_format_shows_the_columns(tmp_path: Path, format: str) -> None:
    text = report.render(results(tmp_path, 2), format)
    assert text.count("gradients") >= 2
    assert "Gradients: gradient evaluations" in text


def test_csv_and_json_have_the_columns(tmp_path: Path) -> None:
    found = results(tmp_path, 2)
    rows = list(csv.DictReader(io.StringIO(report.render(found, "csv"))))
    assert [float(row["gradient_evaluations_to_target"]) for row in rows] == [40, 60]
    assert "gradient_evaluations_per_step" in json.dumps(json.loads(report.render(found, "json")))


@pytest.mark.parametrize("format", ["terminal", "markdown", "latex", "csv", "json", "html"])
def test_nothing_is_added_where_every_entry_uses_one_gradient_per_step(tmp_path: Path, format: str) -> None:
    text = report.render(results(tmp_path, 1), format)
    assert "gradients" not in text.lower().partition("<script>")[0]
    assert "gradient_evaluations" not in text


def test_figures_and_the_page_offer_them_as_a_time_axis(tmp_path: Path) -> None:
    found = results(tmp_path, 2)
    curves = curves_frame(found)
    own = curves[(curves["metric"] == "accuracy") & (curves["optimizer"] == "SAM")]
    assert own["gradient_evaluations"].tolist() == [20 * epoch for epoch in range(1, 11)]
    survival = survival_frame(found)
    assert "gradient_evaluations" in set(survival["unit"])
    assert 'data-unit="gradients"' in page(build(found))


def test_older_records_show_the_total_and_no_count_at_the_target(tmp_path: Path) -> None:
    table = comparison(results(tmp_path, 2, recorded=False)).set_index("optimizer")
    assert table["gradient_evaluations_per_step"].tolist() == [1, 2]
    assert table.loc["SGD", "gradient_evaluations_to_target"] == 40
    assert math.isnan(table.loc["SAM", "gradient_evaluations_to_target"])


def test_a_trial_that_diverged_is_censored_at_the_budget_at_its_own_pace(tmp_path: Path) -> None:
    lost = using(2, [started(), *diverged(2)[1:]])
    events = {("SAM", 0): lost, ("SAM", 1): using(2, reaching(3)), ("SGD", 0): using(1, reaching(4))}
    write(tmp_path, a_suite(["SGD", "SAM"], seeds=2), events)
    table = comparison(read([tmp_path])).set_index("optimizer")
    assert table.loc["SAM", "gradient_evaluations_budget"] == 200
    assert math.isnan(table.loc["SAM", "gradient_evaluations_to_target"])
