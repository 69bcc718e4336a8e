"""Checks build models in a process of their own, so that the program that checks and runs suites does not load torch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from optbench.catalog import model_builds
from optbench.catalog.model_builds import ModelBuilds
from optbench.catalog.types import DataInfo
from optbench.runner.suite_check import check_suites
from optbench.suite.types import Component

VECTORS = DataInfo(96, 32, 32, (6,), 3)
OWN = """
import os
from torch import nn
def fine(shape, classes):
    print("printed while it is built")
    return nn.Linear(shape[0], classes)
def crashes(shape, classes):
    os._exit(3)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models. What is loaded here is hidden, as in the program."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.setattr(
        model_builds, "sys", type("sys", (), {"modules": {}, "path": sys.path, "executable": sys.executable})
    )
    return tmp_path


def test_one_process_builds_all_models_and_a_model_that_ends_it_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    start = model_builds._start
    monkeypatch.setattr(model_builds, "_start", lambda: starts.append(1) or start())
    with ModelBuilds() as builds:
        assert builds.error(Component(name="own.py:fine"), folder, VECTORS) == ""
        assert "building 'small_cnn' failed" in builds.error(Component(name="small_cnn"), folder, VECTORS)
        assert len(starts) == 1
        ended = builds.error(Component(name="own.py:crashes"), folder, VECTORS)
        assert ended == "building 'own.py:crashes' ended the process that builds it"
        assert builds.error(Component(name="own.py:fine"), folder, VECTORS) == ""
        assert len(starts) == 2
        child = builds._child
    assert child is not None
    assert child.poll() is not None


def test_suites_that_are_checked_together_share_the_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    start = model_builds._start
    monkeypatch.setattr(model_builds, "_start", lambda: starts.append(1) or start())
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(
            "workload: {model: own.py:fine, data: {name: synthetic, shape: [6], classes: 3}, batch_size: 16, budget: 1 step}\n"
            "optimizers: {SGD: {use: torch.optim.SGD, lr: 0.1}}\n"
        )
    (folder / "own.py").write_text(
        OWN.replace("shape, classes", "num_classes, **given").replace("shape[0], classes", "6, num_classes")
    )
    loaded = check_suites([str(folder / "a.yaml"), str(folder / "b.yaml")], (), None, None)
    assert [one.name for one in loaded] == ["a", "b"]
    assert len(starts) == 1
