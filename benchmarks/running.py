"""Run optbench or a loop in its own process, and compare measurements in interleaved rounds."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
OPTBENCH = (sys.executable, "-m", "optbench")


@dataclass(frozen=True)
class Figure:
    """One line of the report. `ratio` has one value per round; above 1, optbench is better."""

    topic: str
    what: str
    goal: str
    ratio: tuple[float, ...] = ()
    facts: dict[str, float | str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        if not self.ratio:
            return ""
        middle = statistics.median(self.ratio)
        if len(self.ratio) == 1:
            return f"{middle:.3g} x"
        return f"{middle:.3g} x ({min(self.ratio):.3g}–{max(self.ratio):.3g}, n={len(self.ratio)})"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"shown": self.shown}


def loop(
    kind: str, workload: str, *, steps: int, threads: int = 2, seed: int = 0, accuracy: bool = False
) -> dict[str, Any]:
    """Run `benchmarks.loops` and return its result."""
    line = [sys.executable, "-m", "benchmarks.loops", kind, workload, "--steps", str(steps)]
    line += ["--threads", str(threads), "--seed", str(seed), *(["--accuracy"] if accuracy else [])]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@dataclass(frozen=True)
class Ran:
    """One `optbench run`: events of its trials with their arrival times (seconds since the start of the command)."""

    events: tuple[tuple[float, dict[str, Any]], ...]
    seconds: float

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.events if event["event"] == kind]

    @property
    def span(self) -> float:
        """Seconds from the start of the first trial to the end of the last, without start-up."""
        times = [at for at, event in self.events if event["event"] in ("started", "finished")]
        return times[-1] - times[0]


def run(suite: dict[str, Any], *options: str) -> Ran:
    """Run `optbench run` on a suite given as a mapping, with a temporary results folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yaml"
        path.write_text(yaml.safe_dump(suite, sort_keys=False))
        line = [*OPTBENCH, "run", str(path), "--results", folder, "--json", "--reruns", "0", *options]
        began = time.perf_counter()
        child = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stderr is not None
        events = []
        for text in child.stdout:
            events.append((time.perf_counter() - began, json.loads(text)))
        errors = child.stderr.read()
        if child.wait():
            raise RuntimeError(f"{' '.join(line)}\n{errors}")
        return Ran(tuple(events), time.perf_counter() - began)


def samples_per_second(ran: Ran, batch: int) -> float:
    """Return samples per second of training time, over all finished trials."""
    finished = ran.of("finished")
    rate: float = batch * sum(e["step"] for e in finished) / sum(e["train_seconds"] for e in finished)
    return rate


def rounds(count: int, *sides: Callable[[], float]) -> list[tuple[float, ...]]:
    """Measure each side once per round, in alternating order (A B, B A, ...), so that drift of the machine affects all sides."""
    measured = []
    for number in range(count):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        values = {index: sides[index]() for index in order}
        measured.append(tuple(values[index] for index in range(len(sides))))
    return measured


def ratios(pairs: Sequence[tuple[float, ...]], over: int = 1, of: int = 0) -> tuple[float, ...]:
    return tuple(values[of] / values[over] for values in pairs)


_WATCHED = """
import resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(done.returncode)
"""


def timed(line: Sequence[str], *, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Return the wall seconds of a command and its peak resident memory in MiB.

    A small process starts the command, because the peak of a child includes the memory of its parent at the fork.
    """
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, *line],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (env or {}),
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}\n{done.stderr}")
    seconds, used = map(float, done.stdout.split())
    return seconds, used
