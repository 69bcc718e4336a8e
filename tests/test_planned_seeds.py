"""Seeds that are stored but not planned, on the command line."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from program import optbench
from results_builder import a_suite, reaching, write

NOTE = "2 further seeds (0, 1) are stored but not planned: use --all-seeds to include them"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    events = {(label, seed): reaching(3, 0.9) for label in ("SGD", "Adam") for seed in (0, 1, 100, 101)}
    write(tmp_path / "results", a_suite(seeds=2), events)
    later = a_suite(seeds=2).model_copy(update={"seeds": (100, 101)})
    write(tmp_path / "other", later, events)
    return write(tmp_path / "results", later, events).path


def test_a_report_states_which_seeds_it_does_not_show(folder: Path) -> None:
    shown = optbench("report", folder, "--format", "markdown", cwd=folder)
    assert NOTE in shown.stdout
    assert "| 2/2 |" in shown.stdout
    every = optbench("report", folder, "--format", "markdown", "--all-seeds", cwd=folder)
    assert "further seeds" not in every.stdout
    assert "| 4/4 |" in every.stdout


def test_records_report_it_on_standard_error(folder: Path) -> None:
    planned, every = (optbench("records", folder, *more, cwd=folder) for more in ((), ("--all-seeds",)))
    assert NOTE in planned.stderr
    assert every.stderr == ""
    seeds = [sorted(set(pd.read_csv(io.StringIO(done.stdout))["seed"])) for done in (planned, every)]
    assert seeds == [[100, 101], [0, 1, 100, 101]]


def test_a_comparison_uses_the_planned_seeds_of_both_sides(folder: Path) -> None:
    other = folder.parents[1] / "other"
    shown = optbench("compare", other, folder, "--format", "markdown", cwd=folder)
    assert f"after: {NOTE}" in shown.stdout
    every = optbench("compare", other, folder, "--format", "markdown", "--all-seeds", cwd=folder)
    assert "further seeds" not in every.stdout
