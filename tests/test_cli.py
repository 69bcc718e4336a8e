"""The command line through its entry point: a first run, a second one, overrides, bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from textwrap import dedent

import pytest

from optbench.store import SuiteFolder
from program import optbench

SUITE = """
title: Tiny
workload:
  model: {name: mlp, hidden: [8]}
  data: {name: synthetic, shape: [6], classes: 3, train: 96, validation: 32, test: 32}
  batch_size: 16
  budget: 3 epochs
  target: {metric: accuracy, at_least: 0.2}
seeds: 2
optimizers:
  SGD: {use: torch.optim.SGD, lr: 0.1}
  Adam: {use: torch.optim.Adam, lr: 1e-3}
"""


def suite(folder: Path, text: str = SUITE, name: str = "tiny.yaml") -> Path:
    path = folder / name
    path.write_text(dedent(text))
    return path


def table(folder: Path, name: str = "tiny") -> dict[str, dict[str, str]]:
    with (folder / "results" / name / "report.csv").open() as file:
        return {row["optimizer"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny suite has been run once."""
    folder = tmp_path_factory.mktemp("ran")
    done = optbench("run", suite(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "SGD" in done.stdout
    return folder


def test_a_run_ends_with_the_table_and_its_files(ran: Path) -> None:
    rows = table(ran)
    assert list(rows) == ["SGD", "Adam"]
    assert rows["Adam"]["trials"] == "2"
    assert float(rows["Adam"]["memory_overhead"]) == 2.0
    assert float(rows["SGD"]["memory_overhead"]) == 0.0
    assert 0.0 <= float(rows["SGD"]["final_accuracy"]) <= 1.0
    assert rows["SGD"]["epochs_to_target"]
    assert "| SGD |" in (ran / "results/tiny/report.md").read_text()


def test_a_second_run_skips_what_is_finished(ran: Path) -> None:
    before = {path: path.read_bytes() for path in (ran / "results/tiny/trials").iterdir()}
    again = optbench("run", "tiny.yaml", cwd=ran)
    assert again.returncode == 0
    assert "no trial pending" in again.stderr
    assert {path: path.read_bytes() for path in (ran / "results/tiny/trials").iterdir()} == before


def test_every_trial_has_a_file_that_a_person_finds(ran: Path) -> None:
    names = sorted(path.name for path in (ran / "results/tiny/trials").iterdir())
    assert [name.rsplit("--", 1)[0] for name in names] == [
        f"synthetic--{label}--seed{seed}" for label in ("Adam", "SGD") for seed in (0, 1)
    ]


@pytest.mark.parametrize("format", ["terminal", "markdown", "csv", "json"])
def test_report_renders_every_format_to_a_file(format: str, ran: Path) -> None:
    done = optbench("report", "--format", format, "--output", f"out/{format}", cwd=ran)
    assert done.returncode == 0, done.stderr
    assert "Adam" in (ran / "out" / format).read_text()


def test_set_overrides_and_runs_changed_trials_again(ran: Path) -> None:
    done = optbench(
        "run", "tiny.yaml", "--set", "workload.budget.epochs=1", "--seeds", "1", "--results", "other", cwd=ran
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for path in (ran / "other/tiny/trials").iterdir() for line in path.open()]
    assert {record["steps"] for record in records if record["record"] == "started"} == {6}
    assert len([record for record in records if record["record"] == "finished"]) == 2


def test_only_runs_one_entry_and_json_prints_events(ran: Path) -> None:
    done = optbench("run", "tiny.yaml", "--only", "Adam", "--json", "--results", "third", cwd=ran)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["optimizer"] for event in events} == {"Adam"}
    assert [event["event"] for event in events if event["event"] != "progressed"][:2] == [
        "started",
        "evaluated",
    ]


def test_dry_run_states_what_would_run_and_writes_nothing(tmp_path: Path) -> None:
    done = optbench("run", suite(tmp_path), "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 trials (2 optimizers x 2 seeds)" in done.stdout
    assert not (tmp_path / "results").exists()


def test_results_of_another_environment_are_not_mixed_in_silently(ran: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(ran, folder)
    for path in (folder / "results/tiny/trials").iterdir():
        path.write_text(path.read_text().replace('"threads": 1', '"threads": 7'))
    refused = optbench("run", "tiny.yaml", "--seeds", "3", cwd=folder)
    assert refused.returncode == 2
    assert "threads was 7, now 1" in refused.stderr
    accepted = optbench("run", "tiny.yaml", "--seeds", "3", "--allow-mixed", cwd=folder)
    assert accepted.returncode == 0, accepted.stderr
    assert table(folder)["SGD"]["trials"] == "3"


def test_a_second_run_on_the_same_folder_states_who_holds_it(tmp_path: Path) -> None:
    suite(tmp_path)
    folder = SuiteFolder.of(tmp_path / "results", "tiny")
    folder.create()
    with folder.lock():
        second = optbench("run", "tiny.yaml", cwd=tmp_path)
    assert second.returncode == 2
    assert f"process {os.getpid()}" in second.stderr


MISTAKES = """
title: Full of mistakes
workload:
  model: {name: small_cnn, widht: 32}
  data: {name: digits}
  batch_size: 64000
  budget: {epochs: -3}
  target: {metric: accuracy, at_least: 75}
schedule: {name: cosin}
precison: fp32
optimizers:
  SGD: {use: torch.optim.SGD, lr: 0.05, momentun: 0.9}
  Adam: {use: torch.optim.Addam, lr: 1e-3}
  Mine: {use: nowhere.py:Mine, lr: 1e-3}
baseline: SDG
"""


def test_every_mistake_is_shown_at_once_with_its_place(tmp_path: Path) -> None:
    done = optbench("check", suite(tmp_path, MISTAKES), cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for line, hint in [
        (4, "did you mean 'width'?"),
        (6, "64000"),
        (8, "0.75"),
        (7, "expected a number above 0; found -3"),
        (9, "did you mean 'cosine'?"),
        (10, "did you mean 'precision'?"),
        (12, "did you mean 'momentum'?"),
        (13, "did you mean 'Adam'?"),
        (14, "nowhere.py"),
        (15, "did you mean 'SGD'?"),
    ]:
        assert any(f"tiny.yaml:{line}:" in text and hint in text for text in done.stderr.splitlines()), (
            line,
            done.stderr,
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nothing.yaml"], "nothing.yaml"),
        (["run", "digitz"], "did you mean 'digits'?"),
        (["run", "tiny.yaml", "--only", "Sgd"], "no optimizer 'Sgd'"),
        (["run", "tiny.yaml", "--set", "workload.budgt.epochs=1"], "did you mean 'budget'?"),
        (["run", "tiny.yaml", "--device", "cuda:7"], "is not available"),
        (["run", "tiny.yaml", "--seeds", "0"], "--seeds"),
        (["report", "nowhere"], "no such folder"),
        (["report", "--format", "markdwon"], "no"),
        (["list", "optimisers"], "optimizers"),
    ],
)
def test_bad_input_ends_with_code_two_and_no_traceback(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    suite(tmp_path)
    done = optbench(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_results_folder_is_an_error_that_states_what_to_do(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    done = optbench("run", suite(tmp_path), "--results", blocked, cwd=tmp_path)
    assert done.returncode == 2
    assert "--results" in done.stderr


def test_list_and_schema_answer_without_torch(tmp_path: Path) -> None:
    for kind, name in [
        ("models", "small_cnn"),
        ("data", "digits"),
        ("optimizers", "adamw"),
        ("suites", "resnet50"),
    ]:
        done = optbench("list", kind, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert any(line.startswith(name) and len(line) > len(name) + 10 for line in done.stdout.splitlines())
    assert json.loads(optbench("schema", cwd=tmp_path).stdout)["type"] == "object"


def test_list_shows_sizes_of_tables_and_text_in_the_syntax_of_a_suite(tmp_path: Path) -> None:
    assert "num_users: (of the data, or larger)" in optbench("list", "models", cwd=tmp_path).stdout
    assert "pattern: '*.txt', level: byte" in optbench("list", "data", cwd=tmp_path).stdout
