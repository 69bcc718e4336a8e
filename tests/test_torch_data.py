"""Data sets whose `load` returns torch data sets or data loaders."""

from __future__ import annotations

import multiprocessing
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optbench.catalog.check import examine
from optbench.catalog.data_sets import load_data
from optbench.errors import OptbenchError
from optbench.suite.types import Component
from trials import finished, records, run, stopped_after, trials

HEAD = """
import random
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler

TASK = "regression"
X = torch.arange(90.0).reshape(30, 3)

class Rows(Dataset):
    def __len__(self):
        return 30
    def __getitem__(self, index):
        return X[index], X[index].sum()

class Stream(IterableDataset):
    def __iter__(self):
        return ((row, row.sum()) for row in X)

"""


def _load(tmp_path: Path, text: str) -> Any:
    (tmp_path / "own.py").write_text(HEAD + text)
    return load_data(Component(name="own.py"), tmp_path, tmp_path)


def _of(part: str) -> str:
    return f"def load(root):\n    return {part}, Rows(), Rows()\n"


@pytest.mark.parametrize(
    "part",
    [
        "Rows()",
        "DataLoader(Rows(), batch_size=4)",
        "DataLoader(Rows(), batch_size=4, shuffle=True)",
        "DataLoader(Rows(), batch_size=7, shuffle=True, num_workers=2, drop_last=True)",
        "Stream()",
        "DataLoader(Stream(), batch_size=4)",
        "(X, X.sum(1))",
    ],
)
def test_samples_are_read_once_in_the_order_of_the_data_set(part: str, tmp_path: Path) -> None:
    train = _load(tmp_path, _of(part)).train
    expected = np.arange(90, dtype=np.float32).reshape(30, 3)
    assert (train.inputs == expected).all()
    assert (train.targets == expected.sum(1, keepdims=True)).all()


@pytest.fixture
def forkserver() -> Iterator[None]:
    """Start processes by forkserver, as in the processes of trials."""
    method = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("forkserver", force=True)
    yield
    multiprocessing.set_start_method(method, force=True)


@pytest.mark.skipif(sys.platform != "linux", reason="forks the workers")
@pytest.mark.usefixtures("forkserver")
def test_workers_of_a_loader_read_data_sets_of_the_file_in_the_process_of_a_trial(tmp_path: Path) -> None:
    train = _load(tmp_path, _of("DataLoader(Rows(), batch_size=7, num_workers=2)")).train
    assert (train.inputs == np.arange(90, dtype=np.float32).reshape(30, 3)).all()


@pytest.mark.usefixtures("forkserver")
def test_workers_that_cannot_import_the_file_are_not_reported_as_samples_that_do_not_stack(
    tmp_path: Path,
) -> None:
    part = "DataLoader(Rows(), num_workers=1, multiprocessing_context='spawn')"
    with pytest.raises(OptbenchError) as caught:
        _load(tmp_path, _of(part))
    assert "training: DataLoader worker" in str(caught.value)
    assert "requires the multiprocessing_context 'fork'" in str(caught.value)
    assert "stacked" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_of_a_data_set_is_reported_without_its_traceback(workers: int, tmp_path: Path) -> None:
    bad = "type('Bad', (Rows,), {'__getitem__': lambda self, i: X[i] + 'a'})()"
    with pytest.raises(OptbenchError, match=r"raises TypeError: ") as caught:
        _load(tmp_path, _of(f"DataLoader({bad}, num_workers={workers})"))
    assert "\n" not in str(caught.value)
    assert "stacked" not in str(caught.value)


def test_random_transforms_are_the_same_for_every_trial_and_leave_the_generators_unchanged(
    tmp_path: Path,
) -> None:
    text = """
class Noisy(Rows):
    def __getitem__(self, index):
        noise = torch.rand(3) + random.random() + np.random.rand()
        return X[index] + noise.float(), X[index].sum()
""" + _of("Noisy()")
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    first = _load(tmp_path, text).train.inputs
    drawn = (torch.rand(()).item(), random.random(), np.random.rand())
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    assert drawn == (torch.rand(()).item(), random.random(), np.random.rand())
    assert (_load(tmp_path, text).train.inputs == first).all()
    assert len(np.unique(first)) > 80


def test_samples_as_dictionaries_keep_their_labels_among_the_inputs(tmp_path: Path) -> None:
    text = """
TASK = "custom"
class Named(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        return {"input_ids": torch.tensor([index, 1]), "labels": index % 2}
def load(root):
    return Named(), Named(), Named()
"""
    train = _load(tmp_path, text).train
    assert sorted(train.inputs) == ["input_ids", "labels"]
    assert train.targets.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            "DataLoader(Rows(), sampler=WeightedRandomSampler([1.0] * 30, 30))",
            r"own\.py: training: optbench draws the order .* found WeightedRandomSampler",
        ),
        ("torch.utils.data.Subset(Rows(), [])", r"training: expected samples; the data set is empty"),
        (
            "[(X[:n], 0.0) for n in (1, 2)] and type('Ragged', (Rows,), "
            "{'__getitem__': lambda self, i: (X[i, : 1 + i % 2], 0.0)})()",
            r"training: the samples cannot be stacked: .* padded where they differ",
        ),
        (
            "type('Triples', (Rows,), {'__getitem__': lambda self, i: (1, 2, 3)})()",
            r"training: expected samples as pairs \(inputs, targets\), .* found 3 values",
        ),
    ],
)
def test_data_that_do_not_form_arrays_are_refused(part: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptbenchError, match=message):
        _load(tmp_path, _of(part))


def test_batches_of_different_sizes_are_refused(tmp_path: Path) -> None:
    text = """
def padded(samples):
    width = 1 + int(samples[0][1]) % 2
    return torch.stack([x for x, _ in samples])[:, :width], torch.zeros(len(samples))
""" + _of("DataLoader(Rows(), batch_size=3, collate_fn=padded)")
    with pytest.raises(OptbenchError, match=r"one size in all batches; found \(1,\), \(2,\): pad them"):
        _load(tmp_path, text)


def test_the_data_set_of_the_documentation_trains_and_continues_exactly(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "own-task.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "my_torch_data.py").write_text(next(code for code in blocks if "class Circles" in code))
    workload = {
        "model": {"name": "mlp", "hidden": [16]},
        "data": "my_torch_data.py",
        "batch_size": 32,
        "budget": "75 steps",
        "evaluate": {"every": "25 steps"},
    }
    optimizers = {"Adam": {"use": "torch.optim.Adam", "lr": 0.02}}
    (trial,) = trials(tmp_path, workload=workload, optimizers=optimizers)
    assert examine(tmp_path / "suite.yaml", (), None, tmp_path)[1] == []
    whole = run(trial, tmp_path)
    assert finished(whole).final["last"]["accuracy"] > 0.8
    parts = list(stopped_after(trial, tmp_path, 30, tmp_path / "trial.pt"))
    assert repr(records(parts)) == repr(records(whole))
