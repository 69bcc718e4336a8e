"""Run optbench as a user does, or a loop, in processes of their own; and put measurements side by side."""

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
    """One line of the report. `ratio` has an entry a round: above 1 is in optbench's favour."""

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
    """What `benchmarks.loops` tells."""
    line = [sys.executable, "-m", "benchmarks.loops", kind, workload, "--steps", str(steps)]
    line += ["--threads", str(threads), "--seed", str(seed), *(["--accuracy"] if accuracy else [])]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}\n{done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@dataclass(frozen=True)
class Ran:
    """One `optbench run`: its trials' events, and when they came (seconds since the command was typed)."""

    events: tuple[tuple[float, dict[str, Any]], ...]
    seconds: float

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.events if event["event"] == kind]

    @property
    def span(self) -> float:
        """From the first trial's start to the last one's end: what a sweep takes, start-up apart."""
        times = [at for at, event in self.events if event["event"] in ("started", "finished")]
        return times[-1] - times[0]


def run(suite: dict[str, Any], *options: str) -> Ran:
    """`optbench run` of a suite given as a mapping, with its records in a temporary folder."""
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
    """By optbench's own clock, over all finished trials."""
    finished = ran.of("finished")
    rate: float = batch * sum(e["step"] for e in finished) / sum(e["train_seconds"] for e in finished)
    return rate


def rounds(count: int, *sides: Callable[[], float]) -> list[tuple[float, ...]]:
    """Every side once a round, forwards then backwards (A B, B A, ...), so that a machine that drifts drifts for all."""
    found = []
    for number in range(count):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        values = {index: sides[index]() for index in order}
        found.append(tuple(values[index] for index in range(len(sides))))
    return found


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
    """Wall seconds of a command, and MiB of its greatest resident set. It is watched by a process that is small itself: a child counts
    what its parent held."""
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
