"""Cost of batches per training step: the engine's steps on its own batches and on one constant batch, interleaved in one process.

`python -m benchmarks.batch_cost WORKLOAD --rounds N` prints one line of JSON: ratios (of samples per second, own batches / one
batch) and batch_seconds (of creating one batch).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from benchmarks.running import rounds
from benchmarks.workloads import WORKLOADS, Bench, suite
from optbench.catalog.data_root import data_root
from optbench.engine import allocator
from optbench.engine.session import Session, prepare
from optbench.engine.step import gradients, training_step, update
from optbench.suite.load import load
from optbench.suite.plan import plan


def session_of(work: Bench) -> Session:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yaml"
        path.write_text(yaml.safe_dump(suite(work)))
        (trial,) = plan(load(path))
    return prepare(trial, torch.device("cpu"), data_root(None))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    allocator.keep_freed_memory("cpu")
    session, steps = session_of(WORKLOADS[arguments.workload]), WORKLOADS[arguments.workload].every
    session.model.train()
    fixed = session.training_batches.batch(0)

    def own_batches() -> None:
        for step in range(steps):
            training_step(session, step, step, want_norm=False)

    def constant() -> None:
        for step in range(steps):
            session.rates.apply(step)
            gradients(session, *fixed, want_norm=False)
            update(session)

    def batches_only() -> None:
        for step in range(steps):
            session.training_batches.batch(step)

    own_batches(), constant()  # warm-up
    pairs = rounds(
        arguments.rounds,
        lambda: _seconds(own_batches),
        lambda: _seconds(constant),
        lambda: _seconds(batches_only),
    )
    result = {
        "ratios": [one / other for other, one, _ in pairs],
        "batch_seconds": statistics.median(alone for _, _, alone in pairs) / steps,
    }
    print(json.dumps(result))


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
