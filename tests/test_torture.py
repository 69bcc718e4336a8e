"""Kills at random moments change no record: `make test-all` runs 50 of them, and 20 of tuned suites; `make torture N=500` more."""

from __future__ import annotations

from pathlib import Path

import pytest

from torture import torture


@pytest.mark.slow
def test_fifty_kills_change_no_record(tmp_path: Path) -> None:
    facts = torture(50, seed=7, folder=tmp_path)
    assert facts["kills"] == 50
    assert facts["kills_with_a_checkpoint_on_disk"] > 20


@pytest.mark.slow
def test_twenty_kills_of_tuned_suites_change_no_trial_and_no_record(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    facts = torture(20, seed=3, folder=tmp_path, tuned=True)
    assert facts["kills"] == 20
    assert facts["records_compared"] > 100
