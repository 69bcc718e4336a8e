"""Benchmark workloads, as numbers for the loops and as suites for optbench; both on Fashion-MNIST."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pictures = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Bench:
    """One workload."""

    model: str
    batch: int
    steps: int  # of one timed run: a few seconds
    rate: float
    hidden: tuple[int, ...] = ()
    width: int = 32
    crop: int = 0  # pixels; above 0 also flips
    bf16: bool = False
    channels_last: bool = False
    every: int = 50  # steps between records
    workers: int = 0  # of the usual loop's DataLoader; more do not help if the model uses both cores


WORKLOADS = {
    "cnn": Bench("cnn", 256, 60, 0.05, crop=2, channels_last=True, every=20),
    "cnn_bf16": Bench("cnn", 256, 100, 0.05, crop=2, channels_last=True, bf16=True, every=20),
    "mlp_128": Bench("mlp", 128, 2000, 0.05, (256, 256), every=400),
    "mlp_512": Bench("mlp", 512, 800, 0.1, (256, 256), every=200),
    "mlp_64": Bench("mlp", 128, 2000, 0.05, (64, 64), every=400),
    "mlp_128_crop": Bench("mlp", 128, 2000, 0.05, (256, 256), crop=2, every=400),
    "mlp_512_crop": Bench("mlp", 512, 800, 0.1, (256, 256), crop=2, every=200),
    "mlp_64_crop": Bench("mlp", 128, 2000, 0.05, (64, 64), crop=2, every=400),
}


@functools.cache
def data() -> dict[str, Any]:
    """Return the suite's `data`: Fashion-MNIST if installed, else synthetic images of the same shape and number."""
    if any(Path(place).exists() for place in ("/usr/share/datasets/fashion-mnist",)):
        return {"name": "fashion_mnist"}
    return {"name": "synthetic", "shape": [1, 28, 28], "train": 55_000, "validation": 5_000, "test": 10_000}


def images() -> tuple[Pictures, Pictures]:
    """Return training and test split: images (n, 1, 28, 28) and labels (n,)."""
    from optbench.catalog.data_root import data_root
    from optbench.catalog.data_sets import load_data
    from optbench.suite.types import Component

    splits = load_data(Component.model_validate(data()), data_root(None))
    train, test = splits.train, splits.test
    return (np.asarray(train.inputs), np.asarray(train.labels)), (
        np.asarray(test.inputs),
        np.asarray(test.labels),
    )


def suite(
    work: Bench, *, steps: int | None = None, seeds: list[int] | int = 1, **more: Any
) -> dict[str, Any]:
    """Return the workload as a suite with one entry, `SGD`. `more`: further keys of the suite."""
    model = (
        {"name": "mlp", "hidden": list(work.hidden)}
        if work.model == "mlp"
        else {"name": "small_cnn", "width": work.width}
    )
    workload: dict[str, Any] = {
        "model": model,
        "data": data(),
        "batch_size": work.batch,
        "budget": {"steps": steps or work.steps},
        "evaluate": {"every": f"{work.every} steps"},
    }
    if work.crop:
        workload["augment"] = {"crop": work.crop, "flip": True}
    if work.channels_last:
        workload["memory_format"] = "channels_last"
    entry = {"use": "torch.optim.SGD", "lr": work.rate, "momentum": 0.9}
    return {
        "workload": workload,
        "precision": "bf16" if work.bf16 else "fp32",
        "implementation": "fused",
        "seeds": seeds,
        "optimizers": {"SGD": entry},
    } | more
