"""What a record says of the repository that holds the suite."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from optbench.engine.environment import environment


def git(repository: Path, *words: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    command = ["git", "-C", str(repository), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    for name in ("suites/a.yaml", "results/a/plan.json", "results/a/trials/b.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "First")
    return tmp_path


def is_modified(repository: Path) -> bool:
    facts = environment(torch.device("cpu"), str(repository / "suites"))
    assert facts["git_revision"] == git(repository, "rev-parse", "HEAD")
    return bool(facts["git_modified"])


def test_a_clean_repository_is_not_modified(repository: Path) -> None:
    (repository / "untracked.txt").write_text("new\n")
    assert not is_modified(repository)


def test_a_changed_file_is_a_modification(repository: Path) -> None:
    (repository / "suites/a.yaml").write_text("second\n")
    assert is_modified(repository)


def test_results_that_a_run_writes_are_no_modification(repository: Path) -> None:
    (repository / "results/a/plan.json").write_text("second\n")
    (repository / "results/a/trials/b.jsonl").unlink()
    assert not is_modified(repository)


def test_outside_a_repository_nothing_is_recorded(tmp_path: Path) -> None:
    assert "git_revision" not in environment(torch.device("cpu"), str(tmp_path))
