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
TEXTS = DataInfo(96, 32, 32, (8,), 20, task="language", facts={"vocab_size": 20})
LANGUAGE_MODEL = """
import numpy as np
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.embed, self.out = nn.Embedding(vocab_size, 16), nn.Linear(16, vocab_size)
    def forward(self, tokens):
        return {outputs}
"""
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


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item per process that was started to build models."""
    counted: list[int] = []
    start = model_builds._start
    monkeypatch.setattr(model_builds, "_start", lambda: counted.append(1) or start())
    return counted


def test_one_process_builds_all_models_and_a_model_that_ends_it_is_an_error(
    folder: Path, starts: list[int]
) -> None:
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


def test_suites_that_are_checked_together_share_the_process(folder: Path, starts: list[int]) -> None:
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


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ("self.out(self.embed(tokens))", ""),
        ("self.out(self.embed(tokens)[..., :12])", "'Net' does not accept the inputs of the task language: "),
        (
            "self.out(self.embed(tokens).view(5, -1))",
            "'Net' does not accept the inputs of the task language: ",
        ),
        ("self.out(self.embed(torch.from_numpy(np.array(tokens) % 20)))", ""),
        ("self.out(self.embed(tokens)[tokens > 3])", ""),
        ("self.out(self.embed(tokens)) * tokens.max().item()", ""),
        ("self.out(self.embed(tokens)) * len(tokens.unique())", ""),
        ("{}['metadata']", "'Net': a call with inputs of the task language raises KeyError: 'metadata'"),
        (
            "nn.Module()(tokens)",
            "'Net' does not accept the inputs of the task language: Module [Module] is missing",
        ),
        (
            "self.embd(tokens)",
            "'Net': a call with inputs of the task language raises AttributeError: 'Net' object has no attribute 'embd' (",
        ),
        (
            "self.embed(tokens)",
            "expected outputs of shape (batch, 8, 20), one score per token; found (batch, 8, 16)",
        ),
    ],
    ids=[
        "fits",
        "width",
        "shape",
        "numpy",
        "mask",
        "item",
        "unique",
        "metadata",
        "forward",
        "attribute",
        "outputs",
    ],
)
def test_models_that_do_not_fit_the_data_are_refused_and_those_that_need_values_are_not(
    outputs: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(LANGUAGE_MODEL.replace("{outputs}", outputs))
    found = ModelBuilds().error(Component(name="own.py:Net"), tmp_path, TEXTS)
    assert found.startswith(message)
    assert bool(found) == bool(message)
