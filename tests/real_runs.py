"""Runs of the real program in processes of their own, for tests that break them."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

SUITE = """
title: Tiny
workload:
  model: {name: mlp, hidden: [8]}
  data: {name: synthetic, shape: [6], classes: 3, train: 96, validation: 32, test: 32}
  batch_size: 16
  budget: BUDGET epochs
seeds: 1
optimizers:
"""


def a_suite(folder: Path, optimizers: dict[str, str], budget: int = 3, text: str = SUITE) -> Path:
    path = folder / "tiny.yaml"
    entries = "".join(f"  {label}: {{use: {use}, lr: 0.1}}\n" for label, use in optimizers.items())
    path.write_text(text.replace("BUDGET", str(budget)) + entries)
    return path


def _set_signals(nohup: bool) -> None:
    """Undo what a process inherits from the `nohup` or from the background job that runs pytest: ignored SIGHUP and SIGINT."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Run:
    """`optbench ...` in a process group of its own; its descendants are known by a mark in their environment."""

    folder: Path
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    streams: dict[str, Any] = field(default_factory=dict)
    nohup: bool = False

    def __post_init__(self) -> None:
        self.mark = uuid.uuid4().hex
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "optbench", *self.arguments],
            cwd=self.folder,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPTBENCH_TEST_MARK": self.mark, **self.environment},
            start_new_session=True,
            preexec_fn=partial(_set_signals, self.nohup),
            **(pipes | self.streams),
        )

    def until(self, condition: Callable[[], Any], seconds: float = 600) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.05)
        return found

    def end(self, seconds: float = 600) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        output, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, output, errors

    def survivors(self, seconds: float = 5) -> list[str]:
        """Command lines of marked processes that are still there after a while."""
        deadline = time.monotonic() + seconds
        while (found := self.marked()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return list(found.values())

    def marked(self) -> dict[int, str]:
        """Living processes that this run started, itself included: pid -> command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "results/tiny/report.csv").open() as file:
        return {row["optimizer"]: row for row in csv.DictReader(file)}


def records(folder: Path, label: str = "") -> list[dict[str, Any]]:
    """All records of the trials whose file name holds `--label--`."""
    found = []
    for path in sorted((folder / "results/tiny/trials").glob(f"*--{label}*--*.jsonl")):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return found


def ends(folder: Path, label: str = "") -> list[dict[str, Any]]:
    return [record for record in records(folder, label) if record["record"] == "finished"]
