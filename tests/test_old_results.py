"""Results of every released format stay readable, and say where they were measured."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from optbench.analysis.warnings import warnings_frame
from optbench.cli.completion import format_names
from optbench.report import render
from optbench.report.records import records
from optbench.store import read
from optbench.store.records import FORMAT

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("results-format-*"))


def test_there_is_a_fixture_of_every_format() -> None:
    assert [path.name for path in FIXTURES] == [f"results-format-{number}" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.name)
def test_old_results_still_report(fixture: Path) -> None:
    results = read([fixture])
    (suite,) = results.suites
    assert suite.warnings == ()
    assert len(suite.logs) == 10
    assert all(log.is_complete for log in suite.logs)
    rows = {row["optimizer"]: row for row in csv.DictReader(io.StringIO(render(results, "csv")))}
    assert list(rows) == ["SGD", "AdamW", "Diverges", "Fails", "Slow"]
    assert {label: row["final_accuracy"] for label, row in rows.items() if row["completed"] == "2"} == {
        "SGD": "0.46875",
        "AdamW": "0.5625",
        "Slow": "0.46875",
    }
    assert (rows["Diverges"]["diverged"], rows["Fails"]["failed"]) == ("2", "2")
    assert rows["AdamW"]["memory_overhead"] == "2.0"
    for format in format_names():
        assert "AdamW" in render(results, format)
    assert "final accuracy %" in render(results, "markdown")
    ended_before_an_evaluation = 4
    assert len(records(results, "csv").splitlines()) == 1 + 6 * 3 + ended_before_an_evaluation


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.name)
@pytest.mark.parametrize("name", ["code", "git_revision", "device_name", "torch", "numpy", "deterministic"])
@pytest.mark.parametrize("record", ["started", "resumed"])
def test_a_mixture_is_warned_of(fixture: Path, name: str, record: str, tmp_path: Path) -> None:
    """Also where a trial was begun on one machine and went on on another."""
    shutil.copytree(fixture, tmp_path / "results")
    for path in (tmp_path / "results/tiny/trials").glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if "environment" in line:
                here = line["record"] == record and "Slow--seed0" in path.name
                line["environment"][name] = "there" if here else "here"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    warned = warnings_frame(read([tmp_path / "results"]))
    assert any("here, there" in message for message in warned[warned["kind"] == "mixed"]["message"])
