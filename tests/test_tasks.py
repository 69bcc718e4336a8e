"""Tasks other than image classification: each family against a plain loop, reference metrics, exact resume, and bad data."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from optbench.analysis.table import comparison
from optbench.catalog.check import examine
from optbench.catalog.check_workload import data_findings
from optbench.catalog.data import diamonds
from optbench.catalog.data._series import splits as series_splits
from optbench.catalog.data._tables import splits as table_splits
from optbench.catalog.data._text import tokens
from optbench.catalog.data_sets import load_data
from optbench.catalog.lookup import items
from optbench.catalog.metric_contract import load_metric
from optbench.catalog.task_defaults import example_info
from optbench.catalog.task_types import task_module
from optbench.catalog.types import DataInfo
from optbench.engine.batch import Batch, Random, Zeros, example_batch
from optbench.engine.models import build_model
from optbench.engine.passes import micro_losses
from optbench.engine.randomness import derive
from optbench.engine.session import prepare
from optbench.engine.tasks import build_task
from optbench.errors import OptbenchError
from optbench.events import Evaluated, Finished
from optbench.store import read
from optbench.suite.metric_facts import MetricFacts
from optbench.suite.plan import plan
from optbench.suite.types import Component, Trial
from results_builder import a_suite, curve, diverged, write
from trials import CPU, evaluations, finished, records, run, stopped_after, trials

SGD = {"SGD": {"use": "torch.optim.SGD", "lr": 0.05}}
TEXT = {"name": "text", "characters": 4000, "context": 16}
GPT = {"name": "gpt", "depth": 1, "dim": 16, "heads": 2}
RATINGS = {"name": "synthetic_ratings", "users": 20, "items": 50, "ratings": 600}
CHAOS = {"name": "mackey_glass", "length": 300, "window": 8, "horizon": 2}

#: one small workload per family
FAMILIES: dict[str, dict[str, Any]] = {
    "language": {"model": {**GPT, "dropout": 0.2}, "data": TEXT, "batch_size": 8},
    "ratings": {"model": {"name": "matrix_factorisation", "factors": 4}, "data": RATINGS, "batch_size": 32},
    "ranking": {
        "model": {"name": "two_tower", "factors": 4},
        "data": {**RATINGS, "task": "ranking"},
        "batch_size": 32,
    },
    "series": {"model": {"name": "recurrent", "hidden": 8}, "data": CHAOS, "batch_size": 16},
    "gru": {"model": {"name": "recurrent", "hidden": 8, "cell": "gru"}, "data": CHAOS, "batch_size": 16},
    "transformer": {
        "model": {"name": "causal_transformer", "dim": 8, "dropout": 0.1},
        "data": CHAOS,
        "batch_size": 16,
        "metrics": ["mase", "mae"],
    },
    "copies": {
        "model": {"name": "recurrent_language_model", "hidden": 8},
        "data": {"name": "copy_problem", "length": 3, "delay": 5, "samples": 200},
        "batch_size": 16,
    },
    "signals": {"model": "mlp", "data": {"name": "mnist1d", "train": 200, "test": 50}, "batch_size": 32},
    "table": {
        "model": {"name": "mlp", "hidden": [8]},
        "data": {"name": "bundled_table", "table": "diabetes", "task": "regression"},
        "batch_size": 32,
        "metrics": ["rmse", "r2", "mae"],
    },
    "classes of a table": {
        "model": {"name": "mlp", "hidden": [8]},
        "data": {"name": "bundled_table"},
        "batch_size": 32,
        "metrics": ["accuracy", "auroc"],
    },
    "function": {
        "model": {"name": "test_function", "function": "double_well", "noise": 0.1, "drift": 0.001},
        "data": {"name": "evaluations", "evaluations": 50},
        "batch_size": 1,
    },
    "function of changing scale": {
        "model": {
            "name": "test_function",
            "function": "quadratic",
            "noise": 0.1,
            "factors": [1, 10],
            "period": 3,
        },
        "data": {"name": "evaluations", "evaluations": 50},
        "batch_size": 1,
    },
    "autoencoder": {"model": {"name": "vae", "hidden": 16, "code": 4}, "data": "pixels", "batch_size": 64},
}


def trial_of(family: str, folder: Path, **changes: Any) -> Trial:
    workload = {"budget": "12 steps", "evaluate": {"every": "4 steps"}, **FAMILIES[family], **changes}
    (trial,) = trials(folder, workload=workload, optimizers=SGD)
    return trial


# --- each family


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stopped_trial_continues_exactly(family: str, tmp_path: Path) -> None:
    trial = trial_of(family, tmp_path)
    whole = records(run(trial, tmp_path))
    assert whole[-1]["status"] == "completed"
    parts = list(stopped_after(trial, tmp_path, 3, tmp_path / "trial.pt"))
    assert repr(records(parts)) == repr(whole)


@pytest.mark.parametrize(("name", "lr"), [("SparseAdam", 0.01), ("Adagrad", 0.05), ("SGD", 1.0)])
def test_a_model_with_sparse_gradients_continues_exactly(name: str, lr: float, tmp_path: Path) -> None:
    (trial,) = trials(
        tmp_path,
        workload={
            "model": {"name": "matrix_factorisation", "factors": 4, "sparse": True},
            "data": RATINGS,
            "batch_size": 32,
            "budget": "12 steps",
            "evaluate": {"every": "4 steps"},
        },
        optimizers={name: {"use": f"torch.optim.{name}", "lr": lr}},
    )
    whole = records(run(trial, tmp_path))
    assert whole[-1]["status"] == "completed"
    parts = list(stopped_after(trial, tmp_path, 3, tmp_path / "trial.pt"))
    assert repr(records(parts)) == repr(whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_check_accepts_the_family_and_adds_its_loss_and_metrics(family: str, tmp_path: Path) -> None:
    trial = trial_of(family, tmp_path)
    loaded, problems = examine(tmp_path / "suite.yaml", (), None, tmp_path)
    assert problems == []
    assert loaded is not None
    task = task_module(load_data(trial.workload.data, tmp_path).info.task)
    assert trial.workload.loss.name == task.LOSS
    assert trial.workload.metrics[0] == FAMILIES[family].get("metrics", task.METRICS)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_accumulation_gives_the_gradient_of_the_whole_batch(family: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"accumulate": 3, "batch_size": 10}
    if family == "language":
        changes["model"] = GPT  # dropout draws other masks for other micro-batches
    elif family == "transformer":
        changes["model"] = {"name": "causal_transformer", "dim": 8}
    elif family.startswith("function"):
        changes["model"] = {
            "name": "test_function",
            "noise": 0.1,
        }  # a minimum that moves, or a scale that changes, does so at each forward pass
    elif family == "autoencoder":
        pytest.skip("its code is drawn per micro-batch")
    session = prepare(trial_of(family, tmp_path, **changes), CPU, tmp_path)
    session.model.train()
    batch = session.training_batches.batch(0)
    whole = float(session.task.loss(session.model, batch).detach())
    assert math.fsum(float(loss.detach()) for loss in micro_losses(session, batch)) == pytest.approx(
        whole, rel=1e-6
    )


def _plain_loop(trial: Trial, folder: Path, loss_of: Any, batch_size: int) -> list[float]:
    """Return the training losses of a loop that is written out: order, batches, loss, SGD."""
    splits = load_data(trial.workload.data, folder)
    torch.manual_seed(derive(trial.seed, "initial weights"))
    model = build_model(trial.workload.model, splits.info)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    samples = splits.train.samples
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(derive(trial.seed, "order", 0)))
    losses = []
    for step in range(5):
        rows = order[step * batch_size : (step + 1) * batch_size].numpy()
        optimizer.zero_grad()
        loss = loss_of(model, splits.train, rows)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _text_loss(model: nn.Module, split: Any, rows: Any) -> torch.Tensor:
    tokens, following = (torch.from_numpy(a[rows].astype(np.int64)) for a in (split.inputs, split.targets))
    return cross_entropy(model(tokens).view(-1, 256), following.view(-1))


def _rating_loss(model: nn.Module, split: Any, rows: Any) -> torch.Tensor:
    user, item = (torch.from_numpy(split.inputs[name][rows]).long() for name in ("user", "item"))
    return mse_loss(model(user, item), torch.from_numpy(split.targets[rows]))


def _array_loss(model: nn.Module, split: Any, rows: Any) -> torch.Tensor:
    return mse_loss(model(torch.from_numpy(split.inputs[rows])), torch.from_numpy(split.targets[rows]))


@pytest.mark.parametrize(
    ("family", "loss_of", "model"),
    [
        ("language", _text_loss, GPT),
        ("ratings", _rating_loss, None),
        ("series", _array_loss, None),
        ("table", _array_loss, None),
    ],
)
def test_the_engine_equals_a_plain_loop(family: str, loss_of: Any, model: Any, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"budget": "5 steps", "evaluate": {"every": "1 step"}}
    trial = trial_of(family, tmp_path, **changes, **({"model": model} if model else {}))
    ours = [event.train_loss for event in evaluations(run(trial, tmp_path))]
    theirs = _plain_loop(trial, tmp_path, loss_of, FAMILIES[family]["batch_size"])
    assert ours == pytest.approx(theirs, rel=1e-6)


# --- the contract of tasks


@pytest.mark.parametrize("name", sorted(set(items("tasks")) - {"custom"}))
def test_an_example_batch_is_valid_for_its_task(name: str) -> None:
    facts = {"num_users": 5, "num_items": 7}
    info = DataInfo(9, 9, 9, (6, 3) if name == "forecasting" else (6,), 4, task=name, facts=facts)
    task = task_module(name)
    batch = example_batch(task, info, 3, Random())
    assert batch.samples == 3
    assert float(task.units(batch.targets)) > 0
    assert [part.samples for part in batch.split(2)] == [2, 1]
    assert "expected" in task.outputs_problem(torch.zeros(3, 1, 1, 1), 3, info)
    if task.LOSS:
        assert task.LOSS in items("losses")
    assert set(task.METRICS) <= set(items("metrics"))


# --- metrics


def _value(metric: str, outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Return a metric over two batches of different sizes."""
    loaded = load_metric(metric, metric, ".")
    loss = torch.zeros(())
    parts = [(outputs[:7], targets[:7]), (outputs[7:], targets[7:])]
    if loaded.accumulator is not None:
        accumulator = loaded.accumulator()
        for part in parts:
            accumulator.update(*part, loss)
        return accumulator.compute()
    assert loaded.total is not None
    units = targets.numel() if metric == "perplexity" else len(targets)
    return loaded.of_mean(sum(float(loaded.total(*part, loss)) for part in parts) / units)


def test_metrics_agree_with_scikit_learn() -> None:
    from sklearn import metrics

    random = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(40, 2, generator=random), torch.randn(40, 2, generator=random)
    assert _value("rmse", outputs, targets) == pytest.approx(
        metrics.root_mean_squared_error(targets.flatten(), outputs.flatten())
    )
    assert _value("mae", outputs, targets) == pytest.approx(metrics.mean_absolute_error(targets, outputs))
    assert _value("r2", outputs, targets) == pytest.approx(metrics.r2_score(targets, outputs))
    labels = torch.randint(2, (40,), generator=random)
    scores = (outputs * 4).round() / 4  # with ties
    expected = metrics.roc_auc_score(labels, scores.softmax(1)[:, 1])
    assert _value("auroc", scores, labels) == pytest.approx(expected)
    three, of_three = torch.randn(60, 3, generator=random), torch.randint(3, (60,), generator=random)
    expected = metrics.roc_auc_score(of_three, three.softmax(1), multi_class="ovr", average="macro")
    assert _value("auroc", three, of_three) == pytest.approx(expected)
    chosen = torch.randint(50, (40,), generator=random)
    many = torch.randn(40, 50, generator=random)
    relevance = torch.nn.functional.one_hot(chosen, 50)
    assert _value("ndcg_at_10", many, chosen) == pytest.approx(metrics.ndcg_score(relevance, many, k=10))
    assert _value("hit_rate_at_10", many, chosen) == pytest.approx(
        metrics.top_k_accuracy_score(chosen, many, k=10, labels=range(50))
    )


def test_perplexity_is_the_exponential_of_the_mean_cross_entropy() -> None:
    random = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(20, 6, 9, generator=random), torch.randint(9, (20, 6), generator=random)
    expected = math.exp(float(cross_entropy(outputs.view(-1, 9), targets.view(-1))))
    assert _value("perplexity", outputs, targets) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("level", ["byte", "char", "subword"])
def test_bits_per_byte_are_the_bits_of_all_tokens_over_the_bytes_of_the_text(
    level: str, tmp_path: Path
) -> None:
    if level == "subword":
        pytest.importorskip("tokenizers")
    (tmp_path / "t.txt").write_text("Die Größe der Höhle, \u20ac 30. " * 400)
    splits = _loaded("text", tmp_path, path="t.txt", level=level, vocabulary=300, context=16)
    targets = torch.from_numpy(splits.test.targets.astype(np.int64))
    targets[0, :3] = -100  # masked positions count neither as bits nor as bytes
    outputs = torch.randn(*targets.shape, splits.info.classes, generator=torch.Generator().manual_seed(0))
    metric = load_metric("bits_per_byte", "bits_per_byte", ".")
    assert metric.accumulator is not None
    accumulator: Any = metric.accumulator()
    accumulator.describe(splits.info)
    for part in (slice(0, 5), slice(5, None)):
        accumulator.update(outputs[part], targets[part], torch.zeros(()))
    known = targets[targets >= 0]
    symbols = {"byte": lambda code: 1, "char": _sizes_of_characters(tmp_path / "t.txt")}
    size = symbols.get(level, lambda code: splits.info.facts["token_bytes"][code])
    nats = float(cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="sum"))
    assert accumulator.compute() == pytest.approx(nats / math.log(2) / sum(map(size, known.tolist())))


def _sizes_of_characters(file: Path) -> Any:
    symbols = sorted(set(file.read_text()))
    return lambda code: len(symbols[code].encode())


def test_bits_per_byte_of_a_data_set_without_lengths_of_tokens_are_refused_by_check(tmp_path: Path) -> None:
    trials(
        tmp_path,
        workload={"model": GPT, "data": "copy_problem", "metrics": ["bits_per_byte"]},
        optimizers=SGD,
    )
    (problem,) = examine(tmp_path / "suite.yaml", (), None, tmp_path)[1]
    assert (
        problem.message == "bits_per_byte needs 'token_bytes', which the data set copy_problem does not state"
    )


def test_subwords_are_learned_from_the_training_part_only_and_lose_nothing(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    text = "the cat sat on the mat; \u00fcber die Br\u00fccke\n" * 300
    (tmp_path / "a.txt").write_text(text + "zebra " * 300)
    (tmp_path / "b.txt").write_text(text + "quick " * 300)  # differs in the test part only
    parts, vocabularies = [], []
    for name in ("a.txt", "b.txt"):
        splits = _loaded("text", tmp_path, path=name, level="subword", vocabulary=280, context=8)
        assert splits.info.classes == 280
        parts.append(splits.train.inputs)
        vocabularies.append(splits.info.facts["token_bytes"])
    assert (parts[0] == parts[1]).all()
    assert vocabularies[0] == vocabularies[1]
    assert len(list((tmp_path / "subwords").iterdir())) == 2  # stored for the next time
    for length in (None, 100, 0):  # whole files, then truncated ones, which are made again
        for file in (tmp_path / "subwords").iterdir():
            file.write_bytes(file.read_bytes()[:length])
        again = _loaded("text", tmp_path, path="a.txt", level="subword", vocabulary=280, context=8)
        assert (again.train.inputs == parts[0]).all()
    whole = tokens((tmp_path / "a.txt").read_bytes(), "subword", 280, "a.txt", tmp_path)
    count = sum(int(whole.token_bytes[part].sum()) for part in whole.parts)
    assert count == len((tmp_path / "a.txt").read_bytes())


def test_subwords_are_equal_in_every_process(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    code = (
        "import hashlib, pathlib, sys; from optbench.catalog.data._text import tokens; from optbench.catalog.data import text\n"
        "made = tokens(text._standard_library(200_000), 'subword', 700, 'x', pathlib.Path(sys.argv[1]))\n"
        "print(hashlib.sha256(made.parts[0].tobytes() + made.token_bytes.tobytes()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "TOKENIZERS_PARALLELISM": parallel},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, parallel in ((1, "true"), (2, "false"))
    }
    assert len(found) == 1


def test_without_tokenizers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("optbench.catalog.data._text.version", missing)
    (tmp_path / "t.txt").write_text("no tokenizers here " * 100)
    with pytest.raises(
        OptbenchError, match=r"needs the package tokenizers: pip install 'optbench\[subword\]'"
    ):
        _loaded("text", tmp_path, path="t.txt", level="subword", context=8)


def test_the_scaled_error_of_the_naive_forecast_in_sample_is_1(tmp_path: Path) -> None:
    """MASE of the forecast 'as the last value', one step ahead, on the training series itself."""
    splits = load_data(
        Component(name="mackey_glass", arguments={"length": 400, "window": 4, "horizon": 1}), tmp_path
    )
    metric = load_metric("mase", "mase", ".")
    assert metric.accumulator is not None
    accumulator: Any = metric.accumulator()
    accumulator.describe(splits.info)
    inputs, targets = (torch.from_numpy(np.asarray(a)) for a in (splits.train.inputs, splits.train.targets))
    accumulator.update(inputs[:, -1, :1], targets, torch.zeros(()))
    assert accumulator.compute() == pytest.approx(1, rel=0.02)  # the first values are no targets


# --- masks


def test_a_padded_batch_has_the_loss_and_gradient_of_the_unpadded_texts(tmp_path: Path) -> None:
    """Two texts of lengths 16 and 5, the second padded; also in micro-batches, and with one that is masked completely."""
    session = prepare(trial_of("language", tmp_path, model=GPT, accumulate=2, batch_size=2), CPU, tmp_path)
    model, task = session.model, session.task
    inputs = torch.randint(256, (2, 16), generator=torch.Generator().manual_seed(1))
    targets = inputs.roll(-1, 1).clone()
    targets[1, 5:] = -100
    losses = [cross_entropy(model(inputs[row : row + 1])[0], targets[row], reduction="sum") for row in (0, 1)]
    expected = sum(losses) / (16 + 5)
    batch = Batch(inputs, targets)
    assert float(task.loss(model, batch).detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert math.fsum(float(loss.detach()) for loss in micro_losses(session, batch)) == pytest.approx(
        float(expected.detach()), rel=1e-6
    )
    targets[1] = -100
    assert math.fsum(float(loss.detach()) for loss in micro_losses(session, batch)) == pytest.approx(
        float(losses[0].detach()) / 16, rel=1e-6
    )


# --- own tasks and models

OWN = """
import torch
from torch.nn.functional import cross_entropy, mse_loss

TASK = "custom"


def load(root):
    random = torch.Generator().manual_seed(0)
    parts = []
    for size in (64, 16, 16):
        left, right = torch.randn(size, 4, generator=random), torch.randn(size, 3, generator=random)
        kind = (left[:, 0] > right[:, 0]).long()
        parts.append(({"left": left, "right": right}, {"kind": kind, "size": left.sum(1)}))
    return parts


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.kind, self.size = torch.nn.Linear(7, 8), torch.nn.Linear(8, 2), torch.nn.Linear(8, 1)

    def forward(self, left, right):
        hidden = self.body(torch.cat([left, right], 1)).relu()
        return self.kind(hidden), self.size(hidden).squeeze(1)


class Task:
    metrics = {"error": {"higher_is_better": False, "low": 0}, "accuracy": {"higher_is_better": True, "low": 0, "high": 1}}

    def loss(self, model, batch):
        kind, size = model(**batch.inputs)
        return cross_entropy(kind, batch.targets["kind"]) + mse_loss(size, batch.targets["size"])

    def evaluate(self, model, batch):
        kind, size = model(**batch.inputs)
        return {
            "accuracy": (kind.argmax(1) == batch.targets["kind"]).sum(),
            "error": (size - batch.targets["size"]).abs().sum(),
        }
"""
OWN_WORKLOAD = {
    "task": "own.py:Task",
    "model": "own.py:Net",
    "data": "own.py",
    "batch_size": 8,
    "budget": "16 steps",
    "evaluate": {"every": "4 steps"},
}


def test_a_task_in_one_file_with_two_losses_trains_and_continues_exactly(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (trial,) = trials(tmp_path, workload={**OWN_WORKLOAD, "accumulate": 2}, optimizers=SGD)
    assert examine(tmp_path / "suite.yaml", (), None, tmp_path)[1] == []
    assert trial.workload.metrics == ("error", "accuracy")
    whole = records(run(trial, tmp_path))
    assert whole[-1]["status"] == "completed"
    assert set(whole[-1]["final"]["last"]) == {"error", "accuracy", "loss"}
    assert whole[3]["train_loss"] < whole[0]["train_loss"]
    parts = list(stopped_after(trial, tmp_path, 3, tmp_path / "trial.pt"))
    assert repr(records(parts)) == repr(whole)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("def loss(self", "def lss(self", r"expected methods loss and evaluate; missing: loss"),
        ('"error": (size', '"err": (size', r"evaluate: expected a sum for error; found accuracy, err, loss"),
        ("cross_entropy(kind,", "0 * kind + cross_entropy(kind,", r"loss: expected a scalar tensor"),
        ('"low": 0}, "acc', '"low": 1e9}, "acc', r"metric 'error' is .* expected at least 1e\+09"),
        (
            "        return {\n",
            "        return [0]\n        return {\n",
            r"evaluate: expected a dictionary .*; found list",
        ),
        (
            ".abs().sum()",
            ".abs()",
            r"expected the sum of 'error' over the batch, one number; found a tensor of shape",
        ),
        (
            "    def loss(self, model, batch):\n",
            "    @torch.no_grad()\n    def loss(self, model, batch):\n",
            r"loss: expected a tensor with a graph; found one without",
        ),
        (
            "def loss(self, model, batch)",
            "def loss(self, batch)",
            r"expected a method loss\(self, model, batch\); found another signature: too many positional",
        ),
        ('"error": (size', '"error": "x" or (size', r"expected the sum of 'error' .* one number; found str"),
        (
            "    def loss(self",
            "    def units(self, batch):\n        return 'all'\n    def loss(self",
            r"units: expected the weight of the batch, one number; found str",
        ),
        (
            "    def loss(self",
            "    def units(self, batch):\n        return 0\n    def loss(self",
            r"the validation split: expected a number of units above 0, .*; found 0",
        ),
        (
            "    def loss(self, model, batch):\n",
            """    def loss(self, model, batch):
        left = batch.inputs["left"].requires_grad_()
        torch.autograd.grad(model(**batch.inputs)[1].sum(), left)
""",
            r"gradients are disabled in an evaluation: .* `with torch.enable_grad\(\):`",
        ),
    ],
)
def test_faults_of_an_own_task_are_explained(right: str, wrong: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN.replace(right, wrong, 1))
    (trial,) = trials(tmp_path, workload=OWN_WORKLOAD, optimizers=SGD)
    end = finished(run(trial, tmp_path))
    assert end.status == "failed"
    assert re.search(message, end.detail), end.detail


def test_derivatives_in_an_evaluation_are_possible(tmp_path: Path) -> None:
    with_derivatives = """    @torch.enable_grad()
    def loss(self, model, batch):
        left = batch.inputs["left"].requires_grad_()
        torch.autograd.grad(model(**batch.inputs)[1].sum(), left)
"""
    (tmp_path / "own.py").write_text(OWN.replace("    def loss(self, model, batch):\n", with_derivatives))
    (trial,) = trials(tmp_path, workload=OWN_WORKLOAD, optimizers=SGD)
    changed = records(run(trial, tmp_path))
    (tmp_path / "own.py").write_text(OWN)
    assert repr(changed) == repr(records(run(trial, tmp_path)))


def test_evaluations_draw_the_same_random_numbers_and_do_not_change_training(tmp_path: Path) -> None:
    draws = """    def evaluate(self, model, batch):
        batch.targets["size"].mul_(2)
        return {"error": torch.rand(()).abs(), "accuracy": 0, "loss": batch.targets["size"].sum()}
    def evaluates("""
    (tmp_path / "own.py").write_text(OWN.replace("    def evaluate(", draws))
    (trial,) = trials(tmp_path, workload=OWN_WORKLOAD, optimizers=SGD)
    drawing = [event for event in run(trial, tmp_path) if isinstance(event, Evaluated)]
    assert len({repr(event.metrics["validation"]) for event in drawing}) == 1
    (tmp_path / "own.py").write_text(OWN)
    plain = [event for event in run(trial, tmp_path) if isinstance(event, Evaluated)]
    assert [event.train_loss for event in drawing] == [event.train_loss for event in plain]


def test_an_own_task_without_metrics_is_evaluated_by_its_loss(tmp_path: Path) -> None:
    start, end = OWN.index("    metrics = "), OWN.index("\n", OWN.index("    metrics = "))
    (tmp_path / "own.py").write_text(OWN[:start] + OWN[end:])
    (trial,) = trials(tmp_path, workload=OWN_WORKLOAD, optimizers=SGD)
    assert examine(tmp_path / "suite.yaml", (), None, tmp_path)[1] == []
    assert set(finished(run(trial, tmp_path)).final["last"]) == {"loss"}


def test_computed_metrics_of_an_own_task_are_named_in_the_suite(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN.replace("    metrics = {", "    metrics = {} | {"))
    trials(tmp_path, workload=OWN_WORKLOAD, optimizers=SGD)
    (problem,) = examine(tmp_path / "suite.yaml", (), None, tmp_path)[1]
    assert "are not a literal dictionary in the class" in problem.message
    assert "as in metrics: [error, accuracy]" in problem.message
    trials(tmp_path, workload={**OWN_WORKLOAD, "metrics": ["accuracy"]}, optimizers=SGD)
    assert examine(tmp_path / "suite.yaml", (), None, tmp_path)[1] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": {"metric": "acuracy", "at_least": 0.5}}, "no metric 'acuracy'; did you mean 'accuracy'?"),
        (
            {"target": {"metric": "accuracy", "at_most": 0.5}},
            "expected 'at_least': higher values of accuracy are better",
        ),
        ({"target": {"metric": "accuracy", "at_least": 75}}, "accuracy is a fraction: did you mean 0.75?"),
        ({"metrics": ["recall"]}, "task own.py:Task has no metric 'recall'; known: accuracy, error, loss"),
        ({"task": "own.py:Tsk"}, "did you mean 'Task'?"),
        (
            {"task": "language"},
            "'language' is a task of the catalog, which follows from the data set: remove the key",
        ),
    ],
)
def test_check_reports_an_own_task_that_does_not_fit_the_suite(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    trials(tmp_path, workload={**OWN_WORKLOAD, **changes}, optimizers=SGD)
    problems = [str(problem) for problem in examine(tmp_path / "suite.yaml", (), None, tmp_path)[1]]
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            '"low": 0, "high": 1}',
            '"low": 0, "highest": 1}',
            "metric 'accuracy': unknown fact 'highest'; expected higher_is_better, low, high",
        ),
        (
            '"error": {"higher_is_better": False, "low": 0}',
            '"error": None',
            "metric 'error': expected a dictionary such as {'higher_is_better': True}; found None",
        ),
        (
            '"error": {"higher_is_better": False, "low": 0}',
            '"loss": None',
            "metric 'loss': expected a dictionary such as {'higher_is_better': True}; found None",
        ),
    ],
)
def test_check_reports_wrong_facts_of_a_metric_of_an_own_task(
    right: str, wrong: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN.replace(right, wrong))
    trials(tmp_path, workload=OWN_WORKLOAD, optimizers=SGD)
    (problem,) = examine(tmp_path / "suite.yaml", (), None, tmp_path)[1]
    assert message in problem.message


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            '"right": right}',
            '"right": ["x"] * size}',
            r"data own.py: right: expected an array of numbers; found <U1 \(64,\)",
        ),
        (
            '"right": right}',
            '"right": {"a": right}}',
            r"data own.py: right: expected an array of numbers; found a dictionary",
        ),
        ('"right": right}', '"right": right[1:]}', r"data own.py: expected 64 training right; found 63"),
        ("(64, 16, 16)", "(64, 16)", r"expected Splits, or three pairs"),
    ],
)
def test_own_data_of_a_wrong_form_are_refused(right: str, wrong: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN.replace(right, wrong, 1))
    with pytest.raises(OptbenchError, match=message):
        load_data(Component(name="own.py"), tmp_path, tmp_path)


def test_a_model_that_returns_its_own_loss_is_trained_on_it(tmp_path: Path) -> None:
    """As models of Hugging Face do when they receive the labels."""
    (tmp_path / "hf.py").write_text(
        "import torch\n"
        "from types import SimpleNamespace\n"
        'TASK = "custom"\n'
        "def load(root):\n"
        "    x = torch.randn(96, 5, generator=torch.Generator().manual_seed(0))\n"
        "    data = {'values': x, 'labels': (x[:, 0] > 0).long()}\n"
        "    part = lambda a, b: ({k: v[a:b] for k, v in data.items()}, data['labels'][a:b])\n"
        "    return part(0, 64), part(64, 80), part(80, 96)\n"
        "class Model(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.head = torch.nn.Linear(5, 2)\n"
        "    def forward(self, values, labels):\n"
        "        logits = self.head(values)\n"
        "        return SimpleNamespace(loss=torch.nn.functional.cross_entropy(logits, labels), logits=logits)\n"
    )
    workload = {
        "model": "hf.py:Model",
        "data": "hf.py",
        "batch_size": 8,
        "budget": "16 steps",
        "metrics": ["accuracy"],
    }
    (trial,) = trials(tmp_path, workload={**workload, "loss": "cross_entropy"}, optimizers=SGD)
    events = run(trial, tmp_path)
    assert finished(events).status == "completed", finished(events).detail
    assert finished(events).final["last"]["accuracy"] > 0.5


CAUSAL = """
import torch
from types import SimpleNamespace
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
TASK = "language"
TASKS = ("language",)

class Texts(Dataset):
    def __init__(self, samples, seed):
        self.tokens = torch.randint(0, 11, (samples, 6), generator=torch.Generator().manual_seed(seed))
    def __len__(self):
        return len(self.tokens)
    def __getitem__(self, index):
        return {"input_ids": self.tokens[index], "labels": self.tokens[index].clone()}

def load(root):
    return Texts(64, 0), Texts(16, 1), Texts(16, 2)

class Model(torch.nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.table = torch.nn.Embedding(vocab_size, vocab_size)
    def forward(self, input_ids, labels):
        logits = self.table(input_ids)
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return SimpleNamespace(loss=loss, logits=logits)
"""


def test_metrics_of_a_causal_model_that_shifts_its_labels_are_of_the_next_token(tmp_path: Path) -> None:
    """As in Hugging Face's: inputs and labels are equal, so that unshifted logits would predict their own input."""
    (tmp_path / "lm.py").write_text(CAUSAL)
    workload = {"model": "lm.py:Model", "data": "lm.py", "batch_size": 16, "budget": "30 steps"}
    (trial,) = trials(
        tmp_path,
        workload={**workload, "metrics": ["perplexity", "bits_per_token"]},
        optimizers={"SGD": {"use": "torch.optim.SGD", "lr": 5.0}},
    )
    end = finished(run(trial, tmp_path))
    assert end.status == "completed", end.detail
    last = end.final["last"]
    assert last["perplexity"] == pytest.approx(math.exp(last["loss"]), rel=1e-5)
    assert last["perplexity"] > 8  # of 11 random tokens


def test_metrics_of_a_model_whose_loss_is_another_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lm.py").write_text(
        CAUSAL.replace("labels[:, 1:].flatten())", "labels[:, 1:].flatten()) + 1")
    )
    workload = {"model": "lm.py:Model", "data": "lm.py", "batch_size": 16, "budget": "2 steps"}
    (trial,) = trials(tmp_path, workload={**workload, "metrics": ["perplexity"]}, optimizers=SGD)
    assert "use metrics: [loss], or a task of your own" in finished(run(trial, tmp_path)).detail
    (trial,) = trials(tmp_path, workload={**workload, "metrics": ["loss"]}, optimizers=SGD)
    assert finished(run(trial, tmp_path)).status == "completed"


# --- worst outcomes


def test_a_diverged_trial_counts_as_the_worst_value_measured_where_there_is_no_limit(tmp_path: Path) -> None:
    """An ELBO is below 0: counting divergence as 0 would make it the best result."""
    suite = a_suite(seeds=2, metrics=("elbo",), target=())
    events: dict[tuple[str, int], Any] = {}
    for label in ("SGD", "Adam"):
        for seed in (0, 1):
            lost = (label, seed) == ("Adam", 1)
            values = diverged() if lost else curve([0.5])
            for event in values:
                if isinstance(event, Evaluated):
                    event.metrics["validation"]["elbo"] = -30.0 - seed
                elif isinstance(event, Finished) and event.final:
                    event.final["last"]["elbo"] = -30.0 - seed
            events[label, seed] = values
    folder = write(tmp_path, suite, events)
    stored = folder.read_plan()
    assert stored is not None
    from dataclasses import replace

    folder.write_plan(replace(stored, metrics={"elbo": MetricFacts(True)}))
    table = comparison(read([tmp_path])).set_index("optimizer")
    assert table.loc["Adam", "final_metric"] == pytest.approx((-30 - 31) / 2)


# --- data


def _loaded(name: str, root: Path, **arguments: Any) -> Any:
    return load_data(Component(name=name, arguments=arguments), root, root)


def test_a_text_is_read_completely_or_up_to_a_whole_character(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\u20ac" * 500_000)  # three bytes each
    assert _loaded("text", tmp_path, path="t.txt").train.samples == (1_200_000 - 1) // 64
    for limit in (3000, 3001, 3002):
        info = _loaded("text", tmp_path, path="t.txt", level="char", characters=limit).info
        assert (info.train, info.classes) == (799 // 64, 2)


def test_a_byte_order_mark_is_no_character_of_a_text(tmp_path: Path) -> None:
    text = "ab\n" * 2000
    (tmp_path / "plain.txt").write_bytes(text.encode())
    (tmp_path / "marked.txt").write_bytes(text.encode("utf-8-sig"))
    plain, marked = (_loaded("text", tmp_path, path=f"{n}.txt", level="char") for n in ("plain", "marked"))
    assert (marked.info.classes, marked.checksum) == (3, plain.checksum)


def test_the_targets_of_the_copy_problem_are_the_symbols_shown_before(tmp_path: Path) -> None:
    part = _loaded("copy_problem", tmp_path, symbols=4, length=3, delay=5, samples=100).train
    assert (part.targets[:, :8] == -100).all()
    assert (part.targets[:, 8:] == part.inputs[:, :3]).all()
    assert (part.inputs[:, 8] == 5).all()  # the signal
    assert (part.inputs[:, 9:] == part.targets[:, 8:-1]).all()


def test_vectors_of_diamonds_are_made_once_and_need_no_pandas_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {
        "carat": np.linspace(0.2, 5, 20),
        "cut": np.array(["Good", "Fair"] * 10),
        "price": np.arange(300, 320),
    }
    monkeypatch.setattr(diamonds, "table", lambda *_, **__: dict(columns))
    made = diamonds.load(tmp_path)
    assert made.train.inputs.shape == (14, 3)
    monkeypatch.setattr(diamonds, "table", None)
    for split in ("train", "validation", "test"):
        for part in ("inputs", "targets"):
            again = getattr(getattr(diamonds.load(tmp_path), split), part)
            np.testing.assert_array_equal(again, getattr(getattr(made, split), part), strict=True)
    code = (
        "import sys; from pathlib import Path; from optbench.catalog.data import diamonds, mackey_glass\n"
        f"diamonds.load(Path({str(tmp_path)!r})); mackey_glass.load(Path(), length=300)\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_signals_of_mnist1d_can_be_learned_but_not_by_a_linear_model(tmp_path: Path) -> None:
    from sklearn.linear_model import RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier

    splits = _loaded("mnist1d", tmp_path)
    scores = [
        model.fit(splits.train.inputs, splits.train.targets).score(splits.test.inputs, splits.test.targets)
        for model in (RidgeClassifier(), KNeighborsClassifier(5))
    ]
    assert 0.2 < scores[0] < 0.4  # 0.32 for a linear model in the paper
    assert scores[1] > 0.45
    assert all((splits.test.targets == digit).sum() == 100 for digit in range(10))


def test_stored_signals_of_mnist1d_are_those_generated_and_damaged_ones_are_generated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def samples(root: Path = tmp_path) -> list[bytes]:
        splits = _loaded("mnist1d", root, train=40, test=20)
        return [
            array.tobytes() + str(array.dtype).encode()
            for part in (splits.train, splits.validation, splits.test)
            for array in (part.inputs, part.targets)
        ]

    generated = samples()
    (file,) = (tmp_path / "mnist1d").iterdir()
    with monkeypatch.context() as without:
        without.setattr("optbench.catalog.data.mnist1d._generated", None)
        assert samples() == generated
    content = file.read_bytes()
    for length in (len(content) // 2, 0):
        file.write_bytes(content[:length])
        assert samples() == generated
        assert file.stat().st_size == len(content)
    assert samples(file) == generated  # a data root that cannot be written
    assert _loaded("mnist1d", tmp_path, train=50, test=20).train.samples == 50
    assert len(list((tmp_path / "mnist1d").iterdir())) == 2


@pytest.mark.parametrize(("name", "separator"), [("ratings.dat", "::"), ("u.data", "\t")])
def test_older_files_of_movielens_are_read(name: str, separator: str, tmp_path: Path) -> None:
    rows = [(user, item, 1 + (user + item) % 5, 100) for user in range(1, 6) for item in range(1, 5)]
    lines = [separator.join(map(str, row)) for row in rows]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    facts = _loaded("movielens", tmp_path, path=name).info.facts
    assert (facts["num_users"], facts["num_items"]) == (5, 4)
    assert facts["mean_rating"] == 51 / 16  # of the training split; 3 over all ratings
    (tmp_path / name).write_text("\n".join([*lines, separator.join("1x21")]) + "\n")
    with pytest.raises(OptbenchError, match=r"line 21: column 'movieId': expected a whole number; found 'x'"):
        _loaded("movielens", tmp_path, path=name)


@pytest.mark.parametrize(
    "header",
    [
        '"userId","movieId","rating","timestamp"',
        "userId, movieId, rating, timestamp",
        '\ufeff"userId" , "movieId", rating ,timestamp',
    ],
)
def test_headers_of_movielens_may_have_quotes_and_spaces(header: str, tmp_path: Path) -> None:
    separator = ", " if ", " in header else ","
    rows = [separator.join(map(str, (row % 3, row, 4 + row % 2, row))) for row in range(12)]
    (tmp_path / "r.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    facts = _loaded("movielens", tmp_path, path="r.csv").info.facts
    mean_rating = pytest.approx(40 / 9)  # of the training split; 4.5 over all ratings
    assert facts == {"num_users": 3, "num_items": 12, "mean_rating": mean_rating}


# --- bad data

AT = {"path": "t.csv"}
MOVIELENS_HEADER = "userId,movieId,rating,timestamp\n"
HOLE = "a,b\n1,2\n3,\n5,6\n7,8\n1,2\n3,4\n5,6\n7,8\n"


@pytest.mark.parametrize(
    ("data", "content", "message"),
    [
        ({"name": "table", **AT, "target": "z"}, "a,b\n1,2\n", r"target: .*t.csv has no column 'z'"),
        (
            {"name": "table", **AT, "target": "b"},
            HOLE,
            r"column 'b', row 2: expected a number; found a missing value \(1 such row\): fill",
        ),
        ({"name": "table", **AT, "target": "b"}, "a,b\n", r"expected rows below the header; found none"),
        ({"name": "table", **AT, "target": "b"}, "", r"t.csv: expected a header and rows; the file is empty"),
        ({"name": "table", **AT, "target": "b"}, "a,b\n1,2\n", r"expected at least 7 rows; found 1"),
        (
            {"name": "table", **AT, "target": "b"},
            "a,b,a\n" + "1,2,3\n" * 9,
            r"line 1: column 3 is called 'a', as column 1 is: rename one",
        ),
        (
            {"name": "table", **AT, "target": "b"},
            "a,b\n" + "1,2\n" * 9,
            r"column 'b': expected different values to predict; found 2 in all 9 rows",
        ),
        (
            {"name": "table", **AT, "target": "b"},
            "a,b\n" + "1,2\n?,3\n".join("4,5\n" * 9 for _ in range(2)),
            r"column 'a', row 11: expected a number; found '\?'",
        ),
        (
            {"name": "table", **AT, "target": "b"},
            "a,b\n" + "1,2\n" * 9 + "1,high\n",
            r"column 'b', row 10: expected a number; found 'high'",
        ),
        (
            {"name": "table", **AT, "target": "b"},
            "a,b\n" + "x,2\n,3\n" * 9,
            r"column 'a', row 2: expected a value; found none \(9 such rows\)",
        ),
        (
            {"name": "table", **AT, "target": "b"},
            "a,b\n1,2\n1,2,3\n",
            r"t.csv: Expected 2 fields in line 3, saw 3",
        ),
        (
            {"name": "table", **AT, "target": "b"},
            "a,b\n\n"
            + "".join(f"{row},{row % 3},{row % 2}\n" for row in range(9)),  # pandas: a range as index
            r"t.csv: Expected 2 fields in line 3, saw 3",
        ),
        (
            {"name": "table", **AT, "target": "b"},
            "a;b\n" + "1;2\n" * 9,
            r"line 1: expected columns separated by commas; found 'a;b', which ';' seems to separate",
        ),
        (
            {"name": "table", **AT, "target": "b"},
            "a;b;c\n" + "1,5;2,5;3,5\n" * 9,
            r"found 'a;b;c', which ';' seems to separate: convert the file, with points in decimal numbers",
        ),
        ({"name": "table", "path": "none.parquet", "target": "b"}, None, r"no such file: .*none.parquet"),
        ({"name": "table", **AT, "target": "b"}, ",b\n" + "1,2\n" * 9, r"line 1: column 1 has no name"),
        (
            {"name": "table", **AT, "target": "b"},
            "a,b\n" + "".join(f'"{row},000",{row}\n' for row in range(1, 30)),
            r"column 'a' has a different text in each row, such as '1,000'; expected categories, or numbers",
        ),
        (
            {"name": "table", **AT, "target": "b"},
            "a,b\n" + "".join(f"{row}e300,{row}\n" for row in range(30)),
            r"column 'a': values up to 2.9e\+301 are too large",
        ),
        (
            {"name": "series", **AT, "target": "v", "window": 4, "horizon": 2},
            "v\n" + "5\n" * 60,
            r"column 'v': expected different values to predict; found 5 in all 60 rows",
        ),
        (
            {"name": "table", **AT, "target": "b"},
            b"a,b\n\xff,2\n",
            r"line 2: byte 4 \(0xff\) is not UTF-8: convert",
        ),
        (
            {"name": "table", **AT, "target": "b", "task": "classification"},
            "a,b\n" + "1,x\n" * 9,
            r"column 'b': expected at least 2 classes; found only 'x'",
        ),
        ({"name": "table", "path": "none.csv", "target": "b"}, None, r"no such file: .*none.csv"),
        (
            {"name": "table", **AT, "target": "b", "task": "classification"},
            "a,b\n" + "1,2.5\n" * 9,
            r"contains fractions, so it cannot be a class",
        ),
        (
            {"name": "text", **AT},
            "short",
            r"too short for a context of 64: .* at least 65 tokens; found 4, 0, 0",
        ),
        ({"name": "text", "path": "missing"}, None, r"no such file or folder"),
        (
            {"name": "movielens", **AT},
            MOVIELENS_HEADER + "".join(f"{row},{row},4,0\n" for row in range(20)),
            r"expected different ratings to predict; found 4 in all 20",
        ),
        (
            {"name": "text", **AT, "level": "char"},
            b"a\nb" + b"\xff" * 2000,
            r"line 2: byte 3 \(0xff\) is not UTF-8: convert the file, or use level: byte",
        ),
        (
            {"name": "series", **AT, "target": "v", "window": 4, "horizon": 2},
            "v\n" + "1\n" * 30 + "x\n" + "1\n" * 30,
            r"column 'v', row 31: expected a number; found 'x'",
        ),
        (
            {"name": "series", **AT, "target": "v", "window": 4, "horizon": 2},
            "v,w\n" + "1,1\n" * 30 + ",1\n" * 2 + "1,1\n" * 30,
            r"column 'v', row 31: expected a number; found a missing value \(2 such rows\): set missing: previous",
        ),
        (
            {"name": "series", **AT, "target": "v"},
            "v\n1\n2\n",
            r"2 rows are too few for a window of 48 and a horizon of 12",
        ),
        (
            {"name": "movielens", **AT},
            "userId,movieId,rating\n1,1,3\n",
            r"line 1: expected userId, movieId, rating, timestamp, separated by .*; found 'userId,movieId,rating'",
        ),
        ({"name": "movielens", **AT}, "1\t2\t3\n", r"line 1: expected userId, .*; found '1.t2.t3'"),
        (
            {"name": "movielens", **AT},
            MOVIELENS_HEADER + "1,2,5,9\n",
            r"expected at least 10 ratings; found 1",
        ),
        (
            {"name": "movielens", **AT},
            MOVIELENS_HEADER + "1,2,5,9\n1.5,2,5,9\n",
            r"line 3: column 'userId': expected a whole number; found '1.5'",
        ),
        (
            {"name": "movielens", **AT, "task": "ranking"},
            MOVIELENS_HEADER + "1,2,5,9\n1,3,5,9\n2,3,5,9\n",
            r"expected users with at least 3 ratings; found none",
        ),
    ],
)
def test_bad_data_are_refused_with_their_place(
    data: dict[str, Any], content: str | bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    name = data.pop("name")
    with pytest.raises(OptbenchError, match=message):
        load_data(Component(name=name, arguments=data), tmp_path, tmp_path)


def test_an_error_in_the_content_of_a_file_is_reported_at_its_path(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    for data in (
        Component(name="table", arguments={**AT, "target": "b"}),
        Component(name="text", arguments=AT),
    ):
        [(place, message)], _ = data_findings(data, tmp_path, tmp_path, ("data",))
        assert place == ("data", "arguments", "path")
        assert message.startswith(str(tmp_path / "t.csv"))


@pytest.mark.parametrize("days", ["2024-02-{:02}", "{}.2.2024", "2024-02-{:02} 10:30:00"])
def test_dates_of_a_table_are_noted(days: str, tmp_path: Path) -> None:
    rows = [f"{row},{days.format(1 + row % 3)},10-{row % 2},{row % 7}" for row in range(30)]
    (tmp_path / "t.csv").write_text("a,day,size,b\n" + "\n".join(rows) + "\n")
    (note,) = _loaded("table", tmp_path, path="t.csv", target="b").notes
    assert "column 'day' contains dates, which are one-hot like other text (3 categories)" in note


def test_tables_of_texts_quoted_commas_and_large_numbers_are_read(tmp_path: Path) -> None:
    """The last column exceeds 64 bits, the target is text."""
    rows = [
        f'"{"a, b" if row % 2 else "c"}",{10**20 + row * 10**18},{"yes" if row % 3 else "no"}'
        for row in range(20)
    ]
    (tmp_path / "t.csv").write_text("text,count,wins\n" + "\n".join(rows) + "\n")
    train = _loaded("table", tmp_path, path="t.csv", target="wins", task="classification").train
    assert train.inputs.shape == (14, 3)  # two texts, one number
    assert set(np.unique(train.inputs[:, :2])) == {0, 1}
    assert train.inputs[:, 2].std() == pytest.approx(1, abs=1e-5)
    rows = [f"{row},{10**25 + row % 2}" for row in range(20)]  # equal as floats
    (tmp_path / "t.csv").write_text("x, y\n" + "\n".join(rows) + "\n")
    assert _loaded("table", tmp_path, path="t.csv", target="y", task="classification").info.classes == 2


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_columns_of_times_are_refused(zone: str | None) -> None:
    """As Parquet files may have them."""
    times = pd.Series(pd.to_datetime(["2026-01-01", None] * 20))
    values = times.to_numpy() if zone is None else times.dt.tz_localize(zone).to_numpy()
    columns = {"a": values, "b": np.arange(40.0)}
    expected = (
        r"t.parquet: column 'a': expected numbers; found times \(datetime64.*\): convert them to numbers"
    )
    with pytest.raises(OptbenchError, match=expected):
        table_splits(columns, "b", "regression", "t.parquet")
    with pytest.raises(OptbenchError, match=expected):
        series_splits(columns, "a", 2, 1, "t.parquet")


def test_columns_of_lists_are_refused(tmp_path: Path) -> None:
    """As Parquet files may have them."""
    columns = {"a": np.array([[1, 2]] * 20 + [[3]], dtype=object), "b": np.arange(21.0)}
    with pytest.raises(
        OptbenchError, match=r"t.parquet: column 'a', row 1: expected a number or a text; found a list"
    ):
        table_splits(columns, "b", "regression", "t.parquet")


def test_repeated_ratings_are_noted(tmp_path: Path) -> None:
    rows = [f"{user},{item},{item},9" for user in range(5) for item in range(4)]
    (tmp_path / "r.csv").write_text(MOVIELENS_HEADER + "\n".join([*rows, rows[0], rows[1]]) + "\n")
    splits = _loaded("movielens", tmp_path, path="r.csv")
    assert splits.notes[0].endswith("2 ratings of 22 repeat a user and an item, also across splits")
    assert len(splits.info.fingerprint) == 16


def test_missing_values_of_a_series_are_replaced_by_the_last_known_one(tmp_path: Path) -> None:
    values = [str(value) for value in range(40)]
    values[5] = values[6] = ""
    (tmp_path / "t.csv").write_text("v,w\n" + "\n".join(f"{value},1" for value in values) + "\n")
    sizes = {"target": "v", "window": 2, "horizon": 1}
    splits = _loaded("series", tmp_path, path="t.csv", **sizes, missing="previous")
    inputs = splits.train.inputs[:, 0, 0]
    assert inputs[5] == inputs[4] == inputs[6] < inputs[7]
    assert splits.notes[0].endswith("2 missing values replaced by the previous one")
    values[0] = ""
    (tmp_path / "t.csv").write_text("v,w\n" + "\n".join(f"{value},1" for value in values) + "\n")
    with pytest.raises(
        OptbenchError, match=r"row 1: .* a missing value \(\d such rows?\): no value precedes it"
    ):
        _loaded("series", tmp_path, path="t.csv", **sizes, missing="previous")


@pytest.mark.parametrize(("series", "rows"), [("co2", 2284), ("elnino", 732), ("sunspots", 309)])
def test_bundled_series_are_read_from_the_files_of_statsmodels(
    series: str, rows: int, tmp_path: Path
) -> None:
    if find_spec("statsmodels") is None:  # its files are read; nothing is imported
        pytest.skip("statsmodels is not installed")
    splits = _loaded("bundled_series", tmp_path, series=series, window=12, horizon=3)
    windows = splits.train.samples + splits.validation.samples + splits.test.samples
    assert windows == rows - 3 * (12 + 3 - 1)
    assert splits.notes == (
        ("statsmodels' bundled series co2: 59 missing values replaced by the previous one",)
        if series == "co2"
        else ()
    )


def test_without_statsmodels_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optbench.catalog.data.bundled_series.find_spec", lambda name: None)
    with pytest.raises(OptbenchError, match=r"statsmodels is not installed: pip install 'optbench\[data\]'"):
        _loaded("bundled_series", tmp_path)


def test_an_id_outside_of_its_table_is_refused_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "from optbench.catalog.types import DataInfo, Split, Splits\n"
        'TASK = "recommendation"\n'
        "def load(root):\n"
        "    part = Split({'user': np.array([0, 7, 1]), 'item': np.array([0, 1, 1])}, np.zeros(3, np.float32))\n"
        "    facts = {'num_users': 3, 'num_items': 2, 'mean_rating': 3.0}\n"
        "    return Splits(part, part, part, DataInfo(3, 3, 3, (), task=TASK, facts=facts))\n"
    )
    with pytest.raises(OptbenchError, match=r"expected training user from 0 to 2; found 7 \(row 1\)"):
        load_data(Component(name="own.py"), tmp_path, tmp_path)


def test_a_model_of_another_task_is_refused_by_check(tmp_path: Path) -> None:
    trials(tmp_path, workload={"model": GPT, "data": "digits"}, optimizers=SGD)
    problems = examine(tmp_path / "suite.yaml", (), None, tmp_path)[1]
    assert (
        "'gpt' requires vocab_size, context, which the data set (task classification) does not have"
        in str(problems[0])
    )


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ({**GPT, "vocab_size": 100}, "text", "expected at least 256, as in the data; found 100"),
        ({**GPT, "context": 8}, "text", "expected at least 64, as in the data; found 8"),
        (
            {"name": "matrix_factorisation", "num_users": 20},
            "synthetic_ratings",
            "expected at least 500, as in the data; found 20",
        ),
    ],
)
def test_tables_that_are_smaller_than_the_data_are_refused_by_check(
    model: dict[str, Any], data: str, message: str, tmp_path: Path
) -> None:
    trials(tmp_path, workload={"model": model, "data": data}, optimizers=SGD)
    (problem,) = examine(tmp_path / "suite.yaml", (), None, tmp_path)[1]
    assert problem.message == message


def test_outputs_of_another_form_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef net(in_features):\n    return nn.Linear(in_features, 3)\n"
    )
    trial = trial_of("table", tmp_path, model="net.py:net")
    with pytest.raises(
        OptbenchError, match=r"expected outputs of shape \(batch, 1\), as the targets; found \(batch, 3\)"
    ):
        prepare(trial, CPU, tmp_path)


def test_stacked_sweeps_of_a_regression_have_the_records_of_single_trials(tmp_path: Path) -> None:
    from optbench.catalog.stackable import why_plain
    from optbench.catalog.task_defaults import complete
    from optbench.engine.stacked.loop import train_stack
    from optbench.suite.load import load

    trial_of("table", tmp_path, metrics=["rmse"])
    text = (tmp_path / "suite.yaml").read_text() + "sensitivity: {lr: [0.1, 1]}\n"
    (tmp_path / "suite.yaml").write_text(text)
    loaded = load(tmp_path / "suite.yaml", complete=complete)
    assert not why_plain(loaded, "bundled_table")
    stack = [trial for trial in plan(loaded, None, why_plain) if trial.engine == "stacked"]
    assert len(stack) == 2
    ends = {
        trial_id: event
        for events in train_stack(stack, CPU, data_root=tmp_path)
        for trial_id, event in events
        if isinstance(event, Finished)
    }
    for trial in stack:
        alone = finished(run(trial.model_copy(update={"engine": "plain"}), tmp_path))
        assert ends[trial.id].final["last"] == pytest.approx(alone.final["last"], rel=1e-4)


def test_build_task_names_an_unknown_loss(tmp_path: Path) -> None:
    trial = trial_of("table", tmp_path)
    workload = trial.workload.model_copy(update={"loss": Component(name="mxe")})
    with pytest.raises(OptbenchError, match="unknown loss 'mxe'; did you mean 'mse'"):
        build_task(workload, DataInfo(1, 1, 1, (3,), 1, task="regression"), str(tmp_path))


# --- the documentation


def _blocks(language: str) -> list[str]:
    docs = Path(__file__).parents[1] / "docs"
    pages = "".join((docs / name).read_text(encoding="utf-8") for name in ("tasks.md", "own-task.md"))
    return re.findall(rf"```{language}\n(.*?)```", pages, flags=re.DOTALL)


def test_the_own_task_of_the_documentation_learns(tmp_path: Path) -> None:
    (tmp_path / "my_task.py").write_text(next(code for code in _blocks("python") if "class Task" in code))
    (tmp_path / "suite.yaml").write_text(next(text for text in _blocks("yaml") if "my_task.py:Task" in text))
    loaded, problems = examine(tmp_path / "suite.yaml", (), None, tmp_path)
    assert problems == []
    assert loaded is not None
    adam = next(trial for trial in plan(loaded) if trial.label == "Adam")
    assert finished(run(adam, tmp_path)).final["last"]["accuracy"] > 0.9


def test_the_own_data_set_of_the_documentation_is_a_regression(tmp_path: Path) -> None:
    (tmp_path / "my_data.py").write_text(
        next(code for code in _blocks("python") if 'TASK = "regression"' in code)
    )
    (trial,) = trials(tmp_path, workload={"model": "mlp", "data": "my_data.py"}, optimizers=SGD)
    assert examine(tmp_path / "suite.yaml", (), None, tmp_path)[1] == []
    assert trial.workload.metrics == ("rmse",)
    assert finished(run(trial, tmp_path)).status == "completed"


def test_the_suite_of_the_documentation_reads_a_folder_of_texts(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.txt").write_text("To be, or not to be, that is the question. " * 200)
    (tmp_path / "suite.yaml").write_text(next(text for text in _blocks("yaml") if "path: books" in text))
    loaded, problems = examine(tmp_path / "suite.yaml", (), None, tmp_path)
    assert problems == []
    assert loaded is not None
    assert loaded.suite.workloads["text"].metrics[:2] == ("bits_per_token", "perplexity")


def test_every_data_set_and_model_of_the_catalog_is_in_the_table_of_tasks() -> None:
    page = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text(encoding="utf-8")
    missing = [
        name for family in ("data", "models", "tasks") for name in items(family) if f"{name}" not in page
    ]
    assert missing == []


def test_the_documentation_names_the_inputs_of_each_task() -> None:
    page = (Path(__file__).parents[1] / "docs" / "own-task.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(r"^\| (\w+) \| (.*?) \|", page.partition("## What a model receives")[2], flags=re.M)
    )
    for task in set(items("tasks")) - {"custom"}:
        inputs, _ = task_module(task).example(example_info(task, 2), 2, Zeros())
        named = set(inputs) if isinstance(inputs, dict) else set()
        assert set(re.findall(r"`(\w+)`", rows[task])) == named
