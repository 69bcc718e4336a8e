"""Kills at random moments change no record: `make test-all` runs 50 of them; `make torture N=500` more."""

from __future__ import annotations

from pathlib import Path

import pytest

from torture import torture


@pytest.mark.slow
def test_fifty_kills_change_no_record(tmp_path: Path) -> None:
    facts = torture(50, seed=7, folder=tmp_path)
    assert facts["kills"] == 50
    assert facts["kills_with_a_checkpoint_on_disk"] > 20
