"""Folders of suites: found, run one after the other, with their common trials once, and reported by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optbench.errors import OptbenchError
from optbench.runner import shared_trials
from optbench.runner.job import create_job
from optbench.runner.options import RunOptions
from optbench.store import read
from optbench.suite.find import find_all, shipped_folders
from optbench.suite.load import load
from program import optbench

SUITE = """\
workload:
  model: logistic_regression
  data: {name: synthetic, shape: [4], classes: 2, train: 64, validation: 16, test: 16}
  batch_size: 16
  budget: 2 epochs
seeds: 2
optimizers:
  SGD: {use: torch.optim.SGD, lr: 0.1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three suites: `b2` has one trial more per seed than `b10`; `c` shares none."""
    suites = tmp_path / "questions"
    suites.mkdir()
    (suites / "b10.yaml").write_text(SUITE)
    (suites / "b2.yaml").write_text(SUITE + "  Adam: {use: torch.optim.Adam, lr: 0.01}\n")
    (suites / "c.yaml").write_text(SUITE.replace("lr: 0.1", "lr: 0.2"))
    return suites


def test_suites_of_a_folder_are_ordered_by_the_numbers_in_their_names(folder: Path) -> None:
    name, paths = find_all(folder)
    assert (name, [path.stem for path in paths]) == ("questions", ["b2", "b10", "c"])


def test_one_suite_is_no_folder(folder: Path) -> None:
    assert find_all(folder / "c.yaml") == ("", [folder / "c.yaml"])
    assert find_all("digits")[1][0].stem == "digits"


def test_a_shipped_folder_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name, paths = find_all("claims")
    assert name == "claims" in shipped_folders()
    assert len(paths) > 20


@pytest.mark.parametrize("text", ["../claims", "empty", "clams"])
def test_other_names_are_errors(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptbenchError, match=r"no suite|found the folder 'empty'"):
        find_all(text)


def test_trials_that_suites_have_in_common_run_once(folder: Path) -> None:
    here = folder.parent
    done = optbench("run", "questions", "--threads", "1", "--reruns", "0", cwd=here, OPTBENCH_FIGURES="off")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("2 trials copied from suites that ran before: they are the same") == 1
    results = read([here / "results" / "questions"])
    assert {suite.name: len(suite.logs) for suite in results.suites} == {"b2": 4, "b10": 2, "c": 2}
    shared = sorted((here / "results" / "questions" / "b10" / "trials").glob("*.jsonl"))
    for path in shared:
        copied, original = (
            file.read_text().splitlines()
            for file in (path, here / "results" / "questions" / "b2" / "trials" / path.name)
        )
        assert copied[1:] == original[1:]
        assert (json.loads(copied[0])["trial"]["suite"], json.loads(original[0])["trial"]["suite"]) == (
            "b10",
            "b2",
        )
    shown = optbench("report", "questions", "--format", "markdown", cwd=here)
    assert shown.returncode == 0
    assert shown.stdout.count("| SGD |") >= 3


def test_all_suites_of_a_folder_are_checked(folder: Path) -> None:
    (folder / "b2.yaml").write_text(SUITE.replace("batch_size", "batch_siz"))
    (folder / "c.yaml").write_text(SUITE.replace("seeds", "seds"))
    done = optbench("check", "questions", cwd=folder.parent)
    assert done.returncode == 2
    assert "did you mean 'batch_size'?" in done.stderr
    assert "did you mean 'seeds'?" in done.stderr


def test_a_run_of_one_suite_does_not_look_for_records_to_copy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_trials, "has_record", pytest.fail)
    job = create_job(load(folder / "c.yaml"), RunOptions(results=folder / "results"))
    assert shared_trials.copy_shared_trials(job, ()) == 0
