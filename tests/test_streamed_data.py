"""Data sets with `STREAM = True`: samples are read during training."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from optbench.catalog.check import examine
from optbench.catalog.data_sets import load_data
from optbench.errors import OptbenchError
from optbench.events import Evaluated
from optbench.suite.types import Component
from program import optbench
from real_runs import Run
from torture import TIMED
from trials import finished, records, run, started, stopped_after, trials

HEAD = """
import random
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

TASK = "regression"
STREAM = True
X = torch.linspace(-1, 1, 3 * 90).reshape(90, 3)

class Rows(Dataset):
    def __init__(self, samples=90):
        self.samples = samples
    def __len__(self):
        return self.samples
    def __getitem__(self, index):
        return X[index], X[index].square().sum()

class Noisy(Rows):
    def __getitem__(self, index):
        noise = 0.1 * torch.randn(3) + 0.01 * random.random() + 0.01 * np.random.rand()
        return (X[index] + noise).float(), X[index].square().sum()

class Stream(IterableDataset):
    def __init__(self):
        self.epoch = 0
    def set_epoch(self, epoch):
        self.epoch = epoch
    def __len__(self):
        return 90
    def __iter__(self):
        worker = get_worker_info()
        rows = list(range(90))[worker.id :: worker.num_workers] if worker else list(range(90))
        random.Random(self.epoch).shuffle(rows)
        for row in rows:
            yield X[row] + 0.1 * torch.randn(3), X[row].square().sum()

"""
ARRAYS = HEAD.replace("STREAM = True", "STREAM = False")
WORKLOAD = {
    "model": "net.py:Net",
    "data": "own.py",
    "batch_size": 16,
    "budget": "13 steps",
    "evaluate": {"every": "4 steps"},
    "loss": "mse",
    "metrics": ["rmse"],
}
NET = """
import torch

class Net(torch.nn.Sequential):
    def __init__(self, in_features, outputs):
        super().__init__(
            torch.nn.Linear(in_features, 8), torch.nn.Dropout(0.2), torch.nn.ReLU(), torch.nn.Linear(8, outputs)
        )
"""


def _trial(folder: Path, part: str, head: str = HEAD, **changes: Any) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "net.py").write_text(NET)
    (folder / "own.py").write_text(f"{head}\ndef load(root):\n    return {part}, Rows(20), Rows(30)\n")
    (trial,) = trials(folder, workload={**WORKLOAD, **changes})
    return trial


def _metrics(events: list[Any]) -> list[Any]:
    return [e.metrics for e in events if isinstance(e, Evaluated)] + [finished(events).final]


def test_a_streamed_trial_has_the_bits_of_one_in_memory(tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    streamed = run(_trial(folders[0], "Rows()"), folders[0])
    arrays = run(_trial(folders[1], "Rows()", ARRAYS), folders[1])
    assert finished(streamed).status == "completed"
    assert _metrics(streamed) == _metrics(arrays)
    assert started(streamed).steps_per_epoch == 5


def test_random_transforms_differ_per_epoch_and_not_with_the_number_of_workers(tmp_path: Path) -> None:
    parts = {"one": "Noisy()", "two": "DataLoader(Noisy(), num_workers=2)"}
    ends = {name: run(_trial(tmp_path / name, part), tmp_path / name) for name, part in parts.items()}
    assert _metrics(ends["one"]) == _metrics(ends["two"])
    still = run(_trial(tmp_path / "still", "Noisy()", ARRAYS), tmp_path / "still")
    assert _metrics(ends["one"]) != _metrics(still)


@pytest.mark.parametrize(
    "part",
    [
        "Noisy()",
        "DataLoader(Noisy(), num_workers=2)",
        "Stream()",
        "DataLoader(Stream(), num_workers=2)",
    ],
)
def test_an_interrupted_trial_continues_exactly(part: str, tmp_path: Path) -> None:
    trial = _trial(tmp_path, part)
    whole = run(trial, tmp_path)
    parts = list(stopped_after(trial, tmp_path, 3, tmp_path / "trial.pt"))
    assert repr(records(parts)) == repr(records(whole))


def test_a_stream_states_how_it_is_resumed(tmp_path: Path) -> None:
    note = started(run(_trial(tmp_path, "Stream()"), tmp_path)).data_notes
    assert "a resumed trial reads the samples before its position again" in note
    assert started(run(_trial(tmp_path, "Rows()"), tmp_path)).data_notes == ""


def test_an_evaluation_reads_all_samples_of_a_stream_of_several_workers(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        HEAD + "def load(root):\n    return Rows(), DataLoader(Stream(), num_workers=2), Rows()\n"
    )
    from optbench.engine.streamed_batches import StreamedEvaluationBatches
    from trials import CPU

    splits = load_data(Component(name="own.py"), tmp_path, tmp_path)
    assert splits.validation.stream is not None
    batches = StreamedEvaluationBatches(splits.validation.stream, splits.info, 40, CPU)
    first, again = list(batches), list(batches)
    assert [batch.samples for batch in first] == [40, 40, 10]
    assert len(batches) == 3
    assert all((a.inputs == b.inputs).all() for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def load(root):\n    return X, X, X\n",
            r"expected three torch data sets or loaders.* found Tensor",
        ),
        (
            "class Endless(IterableDataset):\n    def __iter__(self):\n        yield 1\n"
            "def load(root):\n    return Endless(), Rows(), Rows()\n",
            r"training: expected a data set with __len__",
        ),
        (
            "class Broken(Rows):\n    def __len__(self):\n        return len(self.missing)\n"
            "def load(root):\n    return Broken(), Rows(), Rows()\n",
            r"own.py:\d+: data own.py: load raises AttributeError: 'Broken' object has no attribute 'missing'",
        ),
        (
            "TASK = 'classification'\ndef load(root):\n    return Rows(), Rows(), Rows()\n",
            r"the number of classes is not known .* CLASSES = 10",
        ),
        (
            "def load(root):\n    return DataLoader(Rows(), batch_size=None), Rows(), Rows()\n",
            r"training: expected samples; found a loader of batches",
        ),
    ],
)
def test_what_cannot_be_streamed_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(HEAD + text)
    with pytest.raises(OptbenchError, match=message):
        load_data(Component(name="own.py"), tmp_path, tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (
            "X[i] / (0 if i == 40 else 1), 1.0",
            r"training: inputs has values that are not finite \(row \d+\) of a batch",
        ),
        ("X[i, : 1 + i % 2], 1.0", r"training: the samples cannot be stacked"),
        ("(X[i], 1, 2)", r"found 3 values"),
    ],
)
def test_a_bad_sample_ends_the_trial_with_its_place(
    sample: str, message: str, workers: int, tmp_path: Path
) -> None:
    part = f"DataLoader(type('Bad', (Rows,), {{'__getitem__': lambda self, i: ({sample})}})(), num_workers={workers})"
    if "(X[i], 1, 2)" in sample:
        (tmp_path / "own.py").write_text(f"{HEAD}\ndef load(root):\n    return {part}, Rows(), Rows()\n")
        with pytest.raises(OptbenchError, match=message):
            load_data(Component(name="own.py"), tmp_path, tmp_path)
        return
    end = finished(run(_trial(tmp_path, part), tmp_path))
    assert end.status == "failed"
    assert re.search(message, end.detail)
    assert "Traceback" not in end.detail


def test_a_pass_of_another_length_is_refused(tmp_path: Path) -> None:
    part = "type('Short', (Stream,), {'__len__': lambda self: 100})()"
    end = finished(run(_trial(tmp_path, part), tmp_path))
    assert end.status == "failed"
    assert "training: expected 100 samples in a pass, as len() states; found 90" in end.detail


@pytest.mark.parametrize(
    ("noise", "message", "steps"),
    [
        ("0", "training: two workers read the same 18 samples", 0),
        ("torch.rand(())", "training: expected 90 samples in a pass, as len() states; found more", 4),
    ],
)
def test_an_iterable_data_set_that_each_worker_reads_whole_is_refused(
    noise: str, message: str, steps: int, tmp_path: Path
) -> None:
    whole = f"type('Whole', (Stream,), {{'__iter__': lambda self: ((x + {noise}, x.sum()) for x in X)}})()"
    trial = _trial(tmp_path, f"DataLoader({whole}, num_workers=2)", budget="1 epochs", batch_size=18)
    end = finished(run(trial, tmp_path))
    assert (end.status, end.step) == ("failed", steps)
    assert message in end.detail
    assert "each of 2 workers reads the data set: split the samples by torch.utils.data" in end.detail


def test_workers_that_read_different_or_constant_samples_are_accepted(tmp_path: Path) -> None:
    constant = (
        "type('Constant', (Stream,), {'__iter__': lambda self: ((X[0], X[1].sum()) for _ in range(45))})()"
    )
    for part in ("Stream()", constant):
        trial = _trial(tmp_path, f"DataLoader({part}, num_workers=2)", budget="2 epochs")
        assert finished(run(trial, tmp_path)).status == "completed"


GRAPHS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

TASK = "custom"
STREAM = True

class Graphs(Dataset):  # of 2 to 6 nodes; the target is the sum of all nodes
    def __init__(self, samples, seed):
        random = torch.Generator().manual_seed(seed)
        sizes = torch.randint(2, 7, (samples,), generator=random).tolist()
        self.nodes = [torch.randn(size, 3, generator=random) for size in sizes]
    def __len__(self):
        return len(self.nodes)
    def __getitem__(self, index):
        return self.nodes[index], self.nodes[index].sum()

def collate(samples):
    nodes, targets = zip(*samples)
    graph = torch.arange(len(nodes)).repeat_interleave(torch.tensor([len(each) for each in nodes]))
    return {"nodes": torch.cat(nodes), "graph": graph, "graphs": len(nodes)}, torch.stack(targets)

def load(root):
    return tuple(DataLoader(Graphs(n, seed), collate_fn=collate) for seed, n in enumerate((60, 20, 20)))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
    def forward(self, nodes, graph, graphs):
        return torch.zeros(int(graphs)).index_add(0, graph, self.layer(nodes).squeeze(1))

class Task:
    metrics = {"error": {"higher_is_better": False, "low": 0}}
    def loss(self, model, batch):
        return nn.functional.mse_loss(model(**batch.inputs), batch.targets)
    def evaluate(self, model, batch):
        return {"error": (model(**batch.inputs) - batch.targets).abs().sum()}
"""


def test_batches_may_have_other_numbers_of_rows_than_samples(tmp_path: Path) -> None:
    (tmp_path / "graphs.py").write_text(GRAPHS)
    workload = {"task": "graphs.py:Task", "model": "graphs.py:Net", "data": "graphs.py", "batch_size": 15}
    sgd = {"SGD": {"use": "sgd", "lr": 0.02}}
    (trial,) = trials(tmp_path, workload={**workload, "budget": "20 epochs"}, optimizers=sgd)
    whole = records(run(trial, tmp_path))
    assert whole[-1]["final"]["last"]["error"] < 0.2  # the sum is linear in the nodes
    assert repr(records(stopped_after(trial, tmp_path, 3, tmp_path / "trial.pt"))) == repr(whole)
    divided = {**workload, "budget": "1 epochs", "accumulate": 3}
    (trial,) = trials(tmp_path, workload=divided, optimizers=sgd)
    end = finished(run(trial, tmp_path))
    assert end.status == "failed"
    assert re.match(r"a batch of 15 samples with \d+ rows of 'nodes' cannot be divided", end.detail)


def test_augmentation_is_refused_by_the_check(tmp_path: Path) -> None:
    _trial(tmp_path, "Rows()", augment={"flip": True})
    problems = examine(tmp_path / "suite.yaml", (), None, tmp_path)[1]
    assert any("STREAM = True" in problem.message for problem in problems)


SLOW = HEAD.replace("noise = 0.1", "__import__('time').sleep(0.002); noise = 0.1")


def _measured(results: Path) -> list[dict[str, Any]]:
    [file] = results.glob("*/trials/*.jsonl")
    found: dict[str, dict[str, Any]] = {}
    for line in file.read_text().splitlines():
        record = json.loads(line)
        if record["record"] == "resumed" or record.get("status") == "interrupted":
            continue
        key = f"{record['record']}{record.get('step', '')}"
        found[key] = {name: value for name, value in record.items() if name not in TIMED}
    return list(found.values())


def test_a_run_that_is_killed_continues_with_the_same_records_and_leaves_no_worker(tmp_path: Path) -> None:
    _trial(tmp_path, "DataLoader(Noisy(), num_workers=2)", SLOW, budget="60 steps")
    suite = yaml.safe_load((tmp_path / "suite.yaml").read_text())
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({**suite, "title": "Streamed"}))

    command = ("run", "suite.yaml", "--threads", "1", "--checkpoint-interval", "0", "--results")
    whole = optbench(*command, "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    killed = Run(tmp_path, (*command, "killed"))
    killed.until(lambda: list((tmp_path / "killed").glob("*/checkpoints/*.pt")))
    os.killpg(killed.process.pid, signal.SIGKILL)
    killed.end()
    again = optbench(*command, "killed", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    text = next((tmp_path / "killed").glob("*/trials/*.jsonl")).read_text()
    assert '"record": "resumed"' in text
    assert _measured(tmp_path / "killed") == _measured(tmp_path / "whole")
    assert killed.survivors(30) == []


def test_the_stream_of_the_documentation_trains(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "own-task.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "my_stream.py").write_text(next(code for code in blocks if "class Records" in code))
    points = np.random.RandomState(0).randn(1000, 2).astype(np.float32)
    labels = (points[:, :1] > points[:, 1:]).astype(np.float32)
    np.concatenate([points, labels], 1).tofile(tmp_path / "records.bin")
    workload = {"data": "my_stream.py", "batch_size": 32, "budget": "4 epochs"}
    (trial,) = trials(tmp_path, workload=workload)
    assert examine(tmp_path / "suite.yaml", (), None, tmp_path)[1] == []
    assert finished(run(trial, tmp_path)).final["last"]["accuracy"] > 0.9
