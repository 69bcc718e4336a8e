"""Test functions: one definition for tensors and arrays, recorded positions, and paths over contours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import optbench
from optbench.analysis.table import comparison
from optbench.report.figures import drawings, rendered
from optbench.report.page.plots import Encoder
from optbench.report.plots import Contours, Line, Points
from optbench.store import read
from optbench.test_functions import PROBLEMS, curvatures, filled
from trials import evaluations, run, trials

WORKLOAD: dict[str, Any] = {
    "model": {"name": "test_function", "function": "beale"},
    "data": {"name": "evaluations", "evaluations": 40},
    "batch_size": 1,
    "budget": "40 steps",
    "evaluate": {"every": "10 steps"},
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_values_of_tensors_and_of_grids_are_the_same(name: str) -> None:
    problem = PROBLEMS[name]
    grid = np.random.RandomState(0).randn(2, 4, 5)
    values = problem.value(grid)
    assert values.shape == (4, 5)
    for row in range(4):
        for column in range(5):
            at_point = problem.value(torch.tensor(grid[:, row, column]))
            assert float(at_point) == pytest.approx(values[row, column], rel=1e-12)
    for minimum in problem.minima:
        best = float(problem.value(torch.tensor(filled(minimum, 2), dtype=torch.float64)))
        near = problem.value(
            np.array(filled(minimum, 2))[:, None] + 1e-2 * np.random.RandomState(1).randn(2, 200)
        )
        assert best <= near.min()


def test_curvatures_are_in_equal_ratios() -> None:
    assert curvatures(100, 3) == pytest.approx([1, 10, 100])
    assert curvatures(100, 1) == [1.0]


def test_positions_of_two_variables_are_recorded_and_of_more_are_not(tmp_path: Path) -> None:
    each = evaluations(
        run(
            trials(tmp_path, workload={**WORKLOAD, "loss": "first_output", "metrics": ["distance"]})[0],
            tmp_path,
        )
    )
    for event in each:
        position = [event.metrics["position"]["x1"], event.metrics["position"]["x2"]]
        assert np.linalg.norm(np.array(position) - [3, 0.5]) == pytest.approx(
            event.metrics["validation"]["distance"], rel=1e-5
        )
    more = {
        **WORKLOAD,
        "model": {"name": "test_function", "function": "quadratic"},
        "data": {"name": "evaluations", "dimension": 3},
    }
    (trial,) = trials(tmp_path, workload={**more, "loss": "first_output", "metrics": ["distance"]})
    assert "position" not in evaluations(run(trial, tmp_path))[0].metrics


def test_paths_are_drawn_over_contours_in_files_and_on_the_page(tmp_path: Path) -> None:
    suite = {
        "workload": WORKLOAD,
        "seeds": 2,
        "optimizers": {
            "SGD": {"use": "torch.optim.SGD", "lr": 0.01},
            "Adam": {"use": "torch.optim.Adam", "lr": 0.1},
        },
    }
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    optbench.run(tmp_path / "suite.yaml", results=tmp_path / "results", reruns=0)
    found = read([tmp_path / "results"])
    by_name = {each.name: each for each in drawings(found, comparison(found), None)}
    assert not any("position" in name for name in by_name)
    drawing = by_name["paths"]
    [panel] = drawing.plot.panels
    [contours] = [mark for mark in panel.marks if isinstance(mark, Contours)]
    for across, up in contours.lines:
        values = PROBLEMS["beale"].value(np.array([across, up]))
        assert np.ptp(np.log(values + 1e-9)) < 1.5  # close to one level
    paths = [mark for mark in panel.marks if isinstance(mark, Line)]
    assert [(path.x[0], path.y[0]) for path in paths] == [(1.0, 1.0)] * 2
    assert [len(path.x) for path in paths] == [5, 5]
    start, minimum = (mark for mark in panel.marks if isinstance(mark, Points))
    assert (start.x, start.y) == ((1.0,), (1.0,))
    assert (minimum.x, minimum.y) == ((3.0,), (0.5,))
    assert b"<svg" in rendered(drawing, formats=("svg",))["svg"]
    encoder = Encoder({"SGD": 0, "Adam": 1}, 400)
    [figure] = encoder.figures(drawing.plot)
    kinds = [mark["m"] for mark in figure["panels"][0]["marks"]]
    assert kinds == ["contours", "line", "line", "points", "points"]
