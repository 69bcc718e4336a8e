"""Train with every optimizer class of the installed packages for 12 steps and list those that do not run.

    python -m benchmarks.optimizer_scan [NAME...] [--csv FILE] [--jobs N]

Each class runs in its own process, as one entry of a suite: `use: package.Class` with default arguments, the arguments that it
requires, and the rules or groups that the error message of its trial names. A class runs if its trial completes; the others are
listed with the reason.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import re
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import yaml

from optbench.catalog.optimizer_packages import offered
from optbench.catalog.required_settings import required_settings

SECONDS = 240  # time limit of one class
_FORK = multiprocessing.get_context("fork")
_WORKLOAD = {
    "model": {"name": "small_cnn", "width": 8},
    "data": {"name": "digits"},
    "batch_size": 64,
    "budget": {"steps": 12},
}
_BASE = {"use": "torch.optim.AdamW", "lr": 0.001}
#: by class: what its entry sets, since the class has no default
SETTINGS: dict[str, dict[str, Any]] = {
    "torch.optim.LBFGS": {"lr": 0.1},  # diverges at its default of 1
    "torch.optim.SparseAdam": {
        "use": [
            {"parameters": "embeddings", "use": "torch.optim.SparseAdam"},
            {"parameters": "rest", **_BASE},
        ]
    },
}
_SPARSE_MODEL = """
from torch import nn


class Model(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.embedding = nn.Embedding(32, 4, sparse=True)
        self.linear = nn.Linear(4 * features, classes)

    def forward(self, x):
        return self.linear(self.embedding((x.flatten(1).clamp(-2, 2) * 7 + 15).long()).flatten(1))


def build(shape, classes):
    features = 1
    for size in shape:
        features *= size
    return Model(features, classes)
"""
_SPARSE_WORKLOAD = {**_WORKLOAD, "model": {"name": "sparse.py"}}


def entry_of(use: str) -> dict[str, Any]:
    """Return the entry of a class: its name and what the class requires."""
    return {"use": use, **required_settings(use), **SETTINGS.get(use, {})}


def amended(entry: dict[str, Any], reason: str) -> dict[str, Any] | None:
    """Return the entry with the rules, groups or settings that the error message of its trial names; None if it names none."""
    if "Use rules" in reason:
        arguments = {key: value for key, value in entry.items() if key != "use"}
        rules = [
            {"parameters": "matrices", "use": entry["use"], **arguments},
            {"parameters": "rest", **_BASE},
        ]
        return {"use": rules}
    if "Add to the entry: `" in reason or "set this in the entry" in reason:
        written = re.findall(r"`([^`]+)`", reason)
        return {**entry, **{k: v for text in written for k, v in yaml.safe_load(text).items()}}
    return None


def train_one(use: str) -> tuple[str, str]:
    """Train with one class in this process, again if an error message names the fix.

    Return why it does not run, empty if it runs, and the entry that was used.
    """
    entry = entry_of(use)
    reason = train_entry(entry, _SPARSE_WORKLOAD if use == "torch.optim.SparseAdam" else _WORKLOAD)
    if reason and (changed := amended(entry, reason)) is not None:
        second = train_entry(changed, _WORKLOAD)
        return (second, yaml.safe_dump(changed, default_flow_style=True, width=1000).strip())
    return reason, yaml.safe_dump(entry, default_flow_style=True, width=1000).strip()


def train_entry(entry: dict[str, Any], workload: dict[str, Any]) -> str:
    """Train an entry for 12 steps. Return an empty text, or why it does not run."""
    import torch

    from optbench.catalog.check import problems
    from optbench.engine.loop import train
    from optbench.errors import OptbenchError
    from optbench.events import Finished
    from optbench.suite.load import load
    from optbench.suite.plan import plan

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sparse.py").write_text(_SPARSE_MODEL)
        path = Path(folder) / "scan.yaml"
        suite = {"workload": workload, "seeds": 1, "optimizers": {"scanned": entry}}
        path.write_text(yaml.safe_dump(suite))
        try:
            loaded = load(path)
            found = list(problems(loaded, Path(folder)))
            if found:
                return f"check: {found[0].message}"
            (trial,) = plan(loaded)
            last = list(train(trial, torch.device("cpu"), data_root=Path(folder)))[-1]
        except OptbenchError as error:
            return f"error: {error.problems[0].message}"
    assert isinstance(last, Finished)
    if last.status == "completed":
        return ""
    reason = last.detail.strip().splitlines()[-1] if last.detail else ""
    return f"{last.status}: {reason}"


def train_in_process(use: str) -> tuple[str, str]:
    """Train with one class in a forked process."""
    receiving, sending = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_send, args=(sending, use))
    process.start()
    sending.close()
    try:
        if not receiving.poll(SECONDS):
            return f"no result in {SECONDS} seconds", ""
        reason, entry = receiving.recv()
        return reason, entry
    except EOFError:
        process.join()
        return f"the process ended with exit code {process.exitcode}", ""
    finally:
        process.kill()
        process.join()


def _send(connection: Connection, use: str) -> None:
    """Send the result of `train_one`; what the class prints is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        reason, entry = train_one(use)
        connection.send((" ".join(reason.split()), entry))
    except BaseException as error:
        connection.send((f"raised {type(error).__name__}: {error}", ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    import optbench.engine.loop  # noqa: F401  once, before the forks

    classes = offered()
    if options.names:
        classes = [one for one in classes if any(one.use.startswith(name) for name in options.names)]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(train_in_process, [one.use for one in classes]))
    rows = [(one, reason, entry) for one, (reason, entry) in zip(classes, results, strict=True)]
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["class", "package", "version", "runs", "entry", "reason"])
            for one, reason, entry in rows:
                writer.writerow([one.use, one.package, one.version, "no" if reason else "yes", entry, reason])
    total = Counter(one.package for one in classes)
    runs = Counter(one.package for one, reason, _ in rows if not reason)
    for package, number in total.items():
        print(f"{package:<30} {runs[package]:>4} of {number:>4} run")
    print(f"{'all':<30} {runs.total():>4} of {total.total():>4} run")
    for one, reason, _ in rows:
        if reason:
            print(f"{one.use}: {reason}")


if __name__ == "__main__":
    main()
