"""Optimizers and measurements on the sparse gradients of embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from optbench.catalog.types import DataInfo
from optbench.engine.models import build_model
from optbench.engine.optimizer_memory import optimizer_memory
from optbench.engine.step_times import step_times
from optbench.verify.conformance import conformance
from optbench.verify.plugin import load_plugin
from trials import CPU, evaluations, finished, run, trials

MODEL = """
import torch
from torch import nn


class Tokens(nn.Module):
    def __init__(self, in_features, num_classes, sparse=True):
        super().__init__()
        self.table = nn.Embedding(40, 8, sparse=sparse)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.table((x.flatten(1) * 8).long().clamp(-20, 19) + 20).mean(1))
"""
BOTH = [
    {"parameters": "embeddings", "use": "torch.optim.SparseAdam", "lr": 0.01},
    {"parameters": "rest", "use": "torch.optim.AdamW", "lr": 0.01},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(MODEL)
    return tmp_path


def trial(folder: Path, entry: dict[str, Any], *, sparse: bool = True, **changes: Any) -> Any:
    workload = {
        "model": {"name": "net.py:Tokens", "sparse": sparse},
        "study": ["gradients", "noise"],
        **changes.pop("workload", {}),
    }
    (only,) = trials(folder, optimizers={"Mine": entry}, workload=workload, **changes)
    return only


@pytest.mark.parametrize("clip", [None, {"norm": 0.05}, {"value": 0.01}], ids=str)
def test_norms_and_clipping_are_those_of_dense_gradients(clip: Any, folder: Path) -> None:
    records = []
    for sparse in (True, False):
        entry = {"use": "torch.optim.SGD", "lr": 0.5, "clip": clip}
        events = run(trial(folder, entry, sparse=sparse), folder)
        assert finished(events).status == "completed"
        records.append(
            [
                (r.gradient_norm, r.gradient_norm_max, r.clipped_steps, r.train_loss)
                for r in evaluations(events)
            ]
        )
    assert records[0] == [pytest.approx(numbers, rel=1e-4) for numbers in records[1]]


def test_a_rule_gives_embeddings_to_an_optimizer_of_sparse_gradients(folder: Path) -> None:
    end = finished(run(trial(folder, {"use": BOTH}), folder))
    assert end.status == "completed"
    assert end.state_bytes == 2 * 4 * (40 * 8 + 8 * 3 + 3)


def test_its_memory_is_forecast(folder: Path) -> None:
    model = build_model(trial(folder, {"use": BOTH}).workload.model, DataInfo(0, 0, 0, (12,), 3), folder)
    found = optimizer_memory(trial(folder, {"use": BOTH}), model)
    assert (found.problem, found.state_bytes) == ("", 2 * 4 * (40 * 8 + 8 * 3 + 3))


def test_a_sparse_momentum_is_forecast_as_a_lower_bound_of_the_state_in_training(folder: Path) -> None:
    momentum = trial(
        folder, {"use": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9}, workload={"budget": "40 steps"}
    )
    model = build_model(momentum.workload.model, DataInfo(0, 0, 0, (12,), 3), folder)
    found = optimizer_memory(momentum, model)
    assert found.at_least
    assert "the state still grows with the rows of sparse gradients" in found.note
    dense = 4 * (40 * 8 + 8 * 3 + 3)
    assert finished(run(momentum, folder)).state_bytes > 2 * dense
    assert found.state_bytes is not None
    assert found.state_bytes > 2 * dense


@pytest.mark.parametrize("use", ["torch.optim.SGD", "torch.optim.Adagrad"])
def test_weight_decay_that_sparse_gradients_do_not_allow_is_named(use: str, folder: Path) -> None:
    decayed = trial(folder, {"use": use, "lr": 0.1, "weight_decay": 0.1})
    expected = (
        "weight decay cannot be added to the sparse gradients of embeddings; expected `weight_decay: 0`"
    )
    assert expected in finished(run(decayed, folder)).detail
    model = build_model(decayed.workload.model, DataInfo(0, 0, 0, (12,), 3), folder)
    assert expected in optimizer_memory(decayed, model).problem


def test_its_step_is_timed(folder: Path) -> None:
    entry = {"use": "torch.optim.SGD", "lr": 0.01}
    found = step_times([trial(folder, entry)], ("forloop",), DataInfo(0, 0, 0, (12,), 3), CPU, rounds=1)
    assert [row.problem for row in found.rows] == [""]


def test_verify_gives_sparse_gradients_to_an_optimizer_that_takes_no_others() -> None:
    plugin = load_plugin("torch.optim.SparseAdam", {}, CPU, Path())
    assert plugin.sparse
    assert [v for v in conformance(plugin) if v.outcome == "fail"] == []


def test_dense_gradients_are_refused_with_the_words_of_the_class(folder: Path) -> None:
    end = finished(run(trial(folder, {"use": "torch.optim.SparseAdam"}), folder))
    assert (end.status, end.at_fault) == ("failed", "optimizer")
    assert "SparseAdam does not support dense gradients" in end.detail
    assert torch.is_grad_enabled()
