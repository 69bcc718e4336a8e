"""A cluster of 2,000 slots without processes: what the driver uses to plan, dispatch, store and show 100,000 trials.

`python -m benchmarks.scale FOLDER` stores most of the trials, `python -m benchmarks.scale FOLDER SECONDS` is the driver; the topic
starts each as a process of its own, the driver in a terminal.
"""

from __future__ import annotations

import json
import os
import pty
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.running import ROOT, Figure
from optbench.cli.commands.run import TerminalObserver
from optbench.errors import OptbenchError
from optbench.events import Evaluated, Event, Finished, Started
from optbench.executor.api import Ended, Message, Slot, StopRequest, Unit
from optbench.report import save
from optbench.runner import suite_run
from optbench.runner.job import create_job
from optbench.runner.options import RunOptions
from optbench.runner.suite_check import check_suites
from optbench.suite.load import Loaded
from optbench.suite.types import Trial

SLOTS = 2_000
ENTRIES, POINTS, SEEDS = 20, 50, 100  # 100,000 trials of sweeps and 2,000 timed ones
EVALUATIONS = 4
EVENTS_PER_SECOND = 50.0
_MEASURED_SECONDS = 60
_STORED = 0.9  # of the trials before the run, so that the store is as large as it gets

ENVIRONMENT: dict[str, Any] = {
    "optbench": "0.1.0",
    "code": "b28c3bee62d0",
    "python": "3.11.7",
    "torch": "2.14.1",
    "torchvision": "0.29.1",
    "numpy": "2.4.6",
    "platform": "Linux-6.18.44-x86_64-with-glibc2.36",
    "host": "simulated",
    "device": "cpu",
    "device_name": "simulated",
    "threads": 1,
    "allocator": "glibc, tuned",
    "float32_matmul_precision": "highest",
    "deterministic": False,
    "command": "optbench run scale",
    "git_revision": "79d21551407e1dbd574bdd460b16ca3f16760179",
    "git_modified": False,
}


def scale(count: int) -> Iterator[Figure]:
    """Run the simulated driver once; `count` is not used, because a minute of it is an average already."""
    with tempfile.TemporaryDirectory(prefix="optbench-scale-") as folder:
        line = [sys.executable, "-m", "benchmarks.scale", folder]
        subprocess.run(line, cwd=ROOT, check=True)
        line.append(str(_MEASURED_SECONDS))
        code = _in_terminal(line)
        if code:
            raise RuntimeError(f"{' '.join(line)} ended with exit code {code}")
        measured = json.loads((Path(folder) / "figures.json").read_text())
    trials = f"{measured['trials']:,} trials"
    yield Figure(
        "scale",
        f"{SLOTS:,} slots, {trials}: driver at {EVENTS_PER_SECOND:g} events/s",
        "10 % of a core",
        facts={
            "% of a core": 100 * measured["cpu_share"],
            "events/s": measured["events_per_second"],
            "median ms from event to next": measured["delay_ms"],
        },
    )
    yield Figure(
        "scale",
        f"{SLOTS:,} slots, {trials}: peak memory of the driver",
        "1 GiB",
        facts={"GiB": measured["peak_bytes"] / 2**30, "with a report": measured["report_bytes"] / 2**30},
    )
    yield Figure(
        "scale",
        f"{trials}, {measured['stored']:,} of them stored: from the command to the first event",
        "none set",
        facts={
            "s to plan": measured["plan_seconds"],
            "s to the first event": measured["start_seconds"],
            "s for a report": measured["report_seconds"],
        },
    )


def _in_terminal(line: Sequence[str]) -> int:
    """Run a command whose standard error is a terminal, so that the live display is drawn. Return its exit code."""
    ours, theirs = pty.openpty()
    threading.Thread(target=_discard, args=(ours,), daemon=True).start()
    done = subprocess.run(
        line,
        cwd=ROOT,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        check=False,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(theirs)
    return done.returncode


def _discard(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        return


@dataclass
class SimulatedExecutor:
    """Starts no process: running units send an event each in turn, `EVENTS_PER_SECOND` in all. Ends the process after the measurement."""

    seconds: float
    finished: Callable[[SimulatedExecutor], None]
    began: float = field(default_factory=time.monotonic)
    measured_from: tuple[float, float] | None = None
    events: int = 0
    delays: list[float] = field(default_factory=list)
    _turn: deque[tuple[Unit, Iterator[Any]]] = field(default_factory=deque)
    _waiting: dict[str, tuple[tuple[Unit, Iterator[Any]], float]] = field(default_factory=dict)
    _due: float = 0.0

    def open(
        self, trials: Sequence[Trial], report: Callable[[str], None], stop: StopRequest
    ) -> tuple[Slot, ...]:
        return tuple(Slot(f"node{n}:cpu", "cpu", ENVIRONMENT, 1, host_cores=1) for n in range(SLOTS))

    def start(self, unit: Unit, slot: Slot) -> None:
        self._turn.append((unit, contents(unit.trials[0])))

    def receive(self, timeout_seconds: float) -> list[Message]:
        now = time.monotonic()
        if self.measured_from is None:
            self.measured_from, self._due = (now, time.process_time()), now
        elif now - self.measured_from[0] > self.seconds:
            self.finished(self)
        time.sleep(max(0.0, min(timeout_seconds, self._due - now)))
        if time.monotonic() < self._due or not self._turn:
            return []
        self._due += 1 / EVENTS_PER_SECOND
        self.events += 1
        unit, rest = self._turn.popleft()
        self._waiting[unit.name] = (unit, rest), time.monotonic()
        return [Message(unit.name, unit.execution, next(rest))]

    def acknowledge(self, message: Message, *, stop: bool) -> None:
        one, sent = self._waiting.pop(message.unit)
        self.delays.append(time.monotonic() - sent)
        if isinstance(message.content, tuple):
            self._turn.append(one)

    def ask_to_stop(self, unit: Unit) -> None:
        pass

    def kill(self, unit: Unit, *, show_stacks: bool = False) -> str:
        return ""

    def close(self) -> None:
        pass


def contents(trial: Trial) -> Iterator[Any]:
    """Yield the contents of the messages of a trial."""
    for event in trial_events(trial):
        yield ((trial.id, event),)
    yield Ended("finished")


def trial_events(trial: Trial) -> Iterator[Event]:
    """Yield the events of a trial, with numbers that differ between trials, as many as of a real one."""
    draw = random.Random(trial.id)
    yield Started(
        environment=ENVIRONMENT | {"started_at": f"2026-11-29T01:{draw.randrange(60):02}:02+00:00"},
        parameters=1_000,
        parameter_bytes=4_000,
        initial_weights=f"{trial.seed:016x}",
        hyperparameters=[{"class": "torch.optim.sgd.SGD", "lr": 0.1, "momentum": 0.0, "parameters": 1_000}],
        splits={"train": 960, "validation": 320, "test": 320},
        steps=40,
        steps_per_epoch=10,
        precision="fp32",
        memory_format="contiguous",
        data_checksum="4a9b40c4",
    )
    for number in range(1, EVALUATIONS + 1):
        yield Evaluated(
            step=10 * number,
            epoch=float(number),
            samples=960 * number,
            train_seconds=number + draw.random(),
            cpu_seconds=number + draw.random(),
            evaluation_seconds=0.1 * number + draw.random(),
            train_loss=draw.random() / number,
            learning_rate=0.1,
            metrics={"validation": {"accuracy": draw.random(), "loss": draw.random()}},
            gradient_norm=draw.random(),
            loss_rises=draw.randrange(10 * number),
            gradient_evaluations=10 * number,
        )
    yield Finished(
        "completed",
        step=40,
        final={
            name: {"accuracy": draw.random(), "loss": draw.random()} for name in ("last", "best_validation")
        },
        best_step=30,
        train_seconds=EVALUATIONS + draw.random(),
        cpu_seconds=EVALUATIONS + draw.random(),
        evaluation_seconds=draw.random(),
        setup_seconds=draw.random(),
        state_bytes=4_000,
        step_peak_bytes=4_000,
        gradient_evaluations=40,
        data_wait_seconds=0.0,
        queued_seconds=draw.random() / 100,
        resources={
            "process_memory_bytes": {name: 5e8 * draw.random() for name in ("mean", "least", "most")},
            "cpu_utilisation": {"mean": 1.0, "least": 1.0, "most": 1.0},
            "cpu_steal": {"mean": 0.0, "least": 0.0, "most": 0.0},
            "samples": {"mean": 3.0},
        },
    )


def suite_file(folder: Path) -> Path:
    path = folder / "scale.yaml"
    entries = {f"SGD {number}": {"use": "sgd", "lr": 0.1 + 0.01 * number} for number in range(ENTRIES)}
    content = {
        "title": "Scale",
        "workload": {
            "model": {"name": "mlp", "hidden": [8]},
            "data": {
                "name": "synthetic",
                "shape": [6],
                "classes": 3,
                "train": 960,
                "validation": 320,
                "test": 320,
            },
            "batch_size": 96,
            "budget": "4 epochs",
        },
        "seeds": SEEDS,
        "engine": "plain",
        "sensitivity": {"lr": {"log": [1e-4, 10.0], "points": POINTS}},
        "optimizers": entries,
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def store(folder: Path) -> None:
    """Plan the suite and store most of its trials."""
    job = create_job(_loaded(folder), _options(folder))
    job.folder.create()
    for number, trial in enumerate(job.wanted):
        if number % 100 < 100 * _STORED:
            job.folder.write_trial(trial, trial_events(trial))


def drive(folder: Path, seconds: float) -> None:
    """Run the rest of the trials on the simulated executor for so long, and write `figures.json`. Does not return."""
    began, options = time.monotonic(), _options(folder)
    job = create_job(_loaded(folder), options)
    planned = time.monotonic()

    def finished(executor: SimulatedExecutor) -> None:
        assert executor.measured_from is not None
        wall, cpu = executor.measured_from
        elapsed, used = time.monotonic() - wall, time.process_time() - cpu  # before anything else is read
        figures = {
            "trials": len(job.wanted),
            "stored": sum(len(suite.logs) for suite in job.stored.read().suites),
            "plan_seconds": planned - began,
            "start_seconds": wall - began,
            "cpu_share": used / elapsed,
            "events_per_second": executor.events / elapsed,
            "delay_ms": 1e3 * sorted(executor.delays)[len(executor.delays) // 2],
            "peak_bytes": _peak_bytes(),
        }
        since = time.monotonic()
        save(job.stored.read(), job.folder.path)
        figures |= {"report_seconds": time.monotonic() - since, "report_bytes": _peak_bytes()}
        (folder / "figures.json").write_text(json.dumps(figures))
        os._exit(0)

    suite_run._executor = lambda *_: SimulatedExecutor(seconds, finished)
    try:
        suite_run.run_job(job, options, StopRequest(), TerminalObserver())
    except OptbenchError as error:
        sys.exit(str(error))


def _options(folder: Path) -> RunOptions:
    return RunOptions(results=folder / "results", executor="ray", command="optbench run scale")


def _loaded(folder: Path) -> Loaded:
    [loaded] = check_suites([str(suite_file(folder))], (), None, None)
    return loaded


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if len(sys.argv) == 2:
        store(Path(sys.argv[1]))
    else:
        drive(Path(sys.argv[1]), float(sys.argv[2]))
