"""Benchmarks of tasks other than image classification, against the best and the usual hand-written loop.

`python -m benchmarks.tasks best|usual WORKLOAD --steps N` trains in its own process and prints one line of JSON with samples_per_second.
The loops use the models and data of the catalog; order, batches, steps and the sum of the losses are their own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.running import ROOT, Figure, ratios, rounds, run, samples_per_second

_THREADS = 2


@dataclass(frozen=True)
class Work:
    """One workload, with the minimum ratios to the best and to the usual loop."""

    model: dict[str, Any]
    data: dict[str, Any]
    batch: int
    steps: int  # of one timed run: a few seconds
    optimizer: dict[str, Any]
    loss: str
    goal_best: str
    goal_usual: str


_ADAM = {"use": "torch.optim.Adam", "lr": 1e-3}
_RATINGS = {"name": "synthetic_ratings", "users": 5_000, "items": 20_000, "ratings": 400_000}
WORKLOADS = {
    "gpt": Work({"name": "gpt"}, {"name": "text"}, 32, 150, _ADAM, "token_cross_entropy", "0.97", "1.3"),
    "lstm": Work(
        {"name": "recurrent"},
        {"name": "mackey_glass", "window": 48, "horizon": 12},
        64,
        600,
        _ADAM,
        "mse",
        "0.97",
        "none set",
    ),
    "table_mlp": Work(
        {"name": "mlp", "hidden": [128, 128]}, {"name": "diamonds"}, 256, 2000, _ADAM, "mse", "0.97", "8"
    ),
    "sparse_factors": Work(
        {"name": "matrix_factorisation", "sparse": True},
        _RATINGS,
        1024,
        600,
        {"use": "torch.optim.SGD", "lr": 1.0},
        "mse",
        "0.97",
        "5",
    ),
}


def suite(work: Work) -> dict[str, Any]:
    """Return the workload as a suite with one entry and one evaluation, at the end."""
    workload = {
        "model": work.model,
        "data": work.data,
        "batch_size": work.batch,
        "budget": {"steps": work.steps},
        "evaluate": {"every": f"{work.steps} steps"},
    }
    return {
        "workload": workload,
        "seeds": 1,
        "implementation": "fused" if work.optimizer is _ADAM else "default",  # as in `best`
        "optimizers": {"optimizer": work.optimizer},
    }


def tasks(count: int) -> Iterator[Figure]:
    """Compare training time per sample with both loops."""
    for name, work in WORKLOADS.items():
        for kind, goal in (("best", work.goal_best), ("usual", work.goal_usual)):
            pairs = rounds(count, partial(_optbench_rate, work), partial(_loop_rate, kind, name))
            what = "best hand-written loop" if kind == "best" else "DataLoader loop"
            yield Figure("tasks", f"{name}: samples/s, optbench run / {what}", goal, ratios(pairs))


def _optbench_rate(work: Work) -> float:
    return samples_per_second(run(suite(work), "--threads", str(_THREADS), "--device", "cpu"), work.batch)


def _loop_rate(kind: str, name: str) -> float:
    line = [sys.executable, "-m", "benchmarks.tasks", kind, name]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}\n{done.stderr}")
    return float(json.loads(done.stdout.splitlines()[-1])["samples_per_second"])


def best(work: Work, steps: int) -> float:
    """Train with the best loop and return its seconds: data in memory as tensors, batches by index, fused step."""
    import torch

    model, loss_of, optimizer, split = _parts(work, fused=True)
    inputs, targets = _each(torch.tensor, split.inputs), torch.tensor(split.targets)
    generator = torch.Generator().manual_seed(0)
    per_epoch = split.samples // work.batch
    total, order = torch.zeros(()), torch.arange(0)
    start = time.perf_counter()
    for step in range(steps):
        position = step % per_epoch
        if position == 0:
            order = torch.randperm(split.samples, generator=generator)
        rows = order[position * work.batch : (position + 1) * work.batch]
        optimizer.zero_grad()
        outputs = _call(model, _each(lambda v, rows=rows: _wide(v[rows]), inputs))
        loss = loss_of(outputs, _wide(targets[rows]))
        loss.backward()
        optimizer.step()
        total += loss.detach()
    return time.perf_counter() - start


def usual(work: Work, steps: int) -> float:
    """Train as tutorials do and return the seconds: a data set of single samples, a DataLoader, torch's defaults, `loss.item()`."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    model, loss_of, optimizer, split = _parts(work, fused=False)

    class Samples(Dataset[Any]):
        def __len__(self) -> int:
            return split.samples

        def __getitem__(self, index: int) -> Any:
            return (
                _each(lambda v: _wide(torch.as_tensor(v[index])), split.inputs),
                _wide(torch.as_tensor(split.targets[index])),
            )

    loader = DataLoader(Samples(), batch_size=work.batch, shuffle=True, drop_last=True)
    done, running = 0, 0.0
    start = time.perf_counter()
    while done < steps:
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_of(_call(model, inputs), targets)
            loss.backward()
            optimizer.step()
            running += loss.item()
            done += 1
            if done == steps:
                break
    return time.perf_counter() - start


def _parts(work: Work, *, fused: bool) -> tuple[Any, Callable[[Any, Any], Any], Any, Any]:
    """Return model, loss, optimizer and training split."""
    import torch

    from optbench.catalog.data_root import data_root
    from optbench.catalog.data_sets import load_data
    from optbench.engine.models import build_model
    from optbench.suite.types import Component

    splits = load_data(Component.model_validate(work.data), data_root(None))
    torch.manual_seed(0)
    model = build_model(Component.model_validate(work.model), splits.info).train()
    settings = {key: value for key, value in work.optimizer.items() if key != "use"}
    kind = getattr(torch.optim, work.optimizer["use"].rsplit(".", 1)[1])
    if fused and kind is torch.optim.Adam:
        settings["fused"] = True
    criterion = torch.nn.functional.mse_loss if work.loss == "mse" else _token_loss
    return model, criterion, kind(model.parameters(), **settings), splits.train


def _token_loss(outputs: Any, targets: Any) -> Any:
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs.flatten(0, 1), targets.flatten())


def _each(change: Callable[[Any], Any], values: Any) -> Any:
    return (
        {name: change(value) for name, value in values.items()}
        if isinstance(values, dict)
        else change(values)
    )


def _wide(values: Any) -> Any:
    return values if values.is_floating_point() else values.long()


def _call(model: Any, inputs: Any) -> Any:
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["best", "usual"])
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(_THREADS)
    work = WORKLOADS[arguments.workload]
    if arguments.kind == "best":  # keep freed memory: glibc would otherwise fault it in again in each step
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30), libc.mallopt(-1, 0x7FFFFFFF)
        seconds = best(work, arguments.steps or work.steps)
    else:
        seconds = usual(work, arguments.steps or work.steps)
    print(json.dumps({"samples_per_second": (arguments.steps or work.steps) * work.batch / seconds}))


if __name__ == "__main__":
    main()
