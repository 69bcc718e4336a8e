"""The committed results were measured from one revision without uncommitted changes, and their reports say which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optbench.store.archive import read_record, record_paths
from optbench.suite_folders import has_results

ROOT = Path(__file__).resolve().parents[1]
PARENTS = (ROOT / "results", ROOT / "results" / "claims")
FOLDERS = sorted(folder for parent in PARENTS for folder in parent.iterdir() if has_results(folder))


def environments(folder: Path) -> list[dict[str, Any]]:
    records = (json.loads(line) for path in record_paths(folder) for line in read_record(path).splitlines())
    return [r["environment"] for r in records if r["record"] in ("started", "resumed")]


def test_there_are_results() -> None:
    assert {"digits", "fashion_mnist", "gradient_descent", "T4-memory"} <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_trials_are_of_one_revision_without_uncommitted_changes(folder: Path) -> None:
    facts = environments(folder)
    assert facts
    assert {f["git_modified"] for f in facts} == {False}
    (revision,) = {f["git_revision"] for f in facts}
    assert f"revision {revision[:8]}." in (folder / "report.md").read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_nothing_is_left_that_a_report_would_not_show(folder: Path) -> None:
    assert not list(folder.glob("superseded/*"))
    assert not record_paths(folder, "superseded")
    assert not list(folder.glob("checkpoints/*"))
