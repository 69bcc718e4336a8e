"""A cluster of 2,000 slots without processes: what the driver uses to plan, dispatch, store and show 100,000 trials.

`python -m benchmarks.scale FOLDER SECONDS` is the driver; the topic starts it in a terminal of its own.
"""

from __future__ import annotations

import json
import os
import pty
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.running import ROOT, Figure
from optbench.errors import OptbenchError
from optbench.events import Evaluated, Event, Finished, Started
from optbench.executor.api import Ended, Message, Slot, StopRequest, Unit
from optbench.suite.types import Trial

SLOTS = 2_000
ENTRIES, POINTS, SEEDS = 20, 50, 100  # 100,000 trials of sweeps and 2,000 timed ones
EVALUATIONS = 4
EVENTS_PER_SECOND = 50.0
_MEASURED_SECONDS = 60
_STORED = 0.9  # of the trials before the run, so that the store is as large as it gets

ENVIRONMENT: dict[str, Any] = {
    "optbench": "0.1.0",
    "torch": "2.14.1",
    "device": "cpu",
    "device_name": "simulated",
    "threads": 1,
    "float32_matmul_precision": "highest",
    "host": "simulated",
}


def scale(count: int) -> Iterator[Figure]:
    """Run the simulated driver once; `count` is not used, because a minute of it is an average already."""
    with tempfile.TemporaryDirectory(prefix="optbench-scale-") as folder:
        line = [sys.executable, "-m", "benchmarks.scale", folder, str(_MEASURED_SECONDS)]
        code = _in_terminal(line)
        if code:
            raise RuntimeError(f"{' '.join(line)} ended with exit code {code}")
        measured = json.loads((Path(folder) / "figures.json").read_text())
    yield Figure(
        "scale",
        f"{SLOTS:,} slots, {measured['trials']:,} trials: driver at {EVENTS_PER_SECOND:g} events/s",
        "10 % of a core",
        facts={
            "% of a core": 100 * measured["cpu_share"],
            "events/s": measured["events_per_second"],
            "median ms from event to next": measured["delay_ms"],
        },
    )
    yield Figure(
        "scale",
        f"{SLOTS:,} slots, {measured['trials']:,} trials: peak memory of the driver",
        "1 GiB",
        facts={"GiB": measured["peak_bytes"] / 2**30},
    )
    yield Figure(
        "scale",
        f"{measured['trials']:,} trials, {measured['stored']:,} of them stored: from the command to the first event",
        "none set",
        facts={"s": measured["start_seconds"]},
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
    yield Started(
        environment=ENVIRONMENT,
        parameters=1_000,
        parameter_bytes=4_000,
        initial_weights=f"{trial.seed:016x}",
        hyperparameters=[{"lr": 0.1}],
        splits={"train": 960, "validation": 320, "test": 320},
        steps=40,
        steps_per_epoch=10,
        precision="fp32",
    )
    for number in range(1, EVALUATIONS + 1):
        value = 0.5 + 0.1 * number
        yield Evaluated(
            step=10 * number,
            epoch=float(number),
            samples=960.0 * number,
            train_seconds=float(number),
            cpu_seconds=float(number),
            evaluation_seconds=0.1 * number,
            train_loss=1.0 / number,
            learning_rate=0.1,
            metrics={"validation": {"accuracy": value, "loss": 1.0 / number}},
        )
    yield Finished(
        "completed",
        step=40,
        final={"last": {"accuracy": 0.9, "loss": 0.25}},
        train_seconds=float(EVALUATIONS),
        cpu_seconds=float(EVALUATIONS),
        state_bytes=4_000,
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


def drive(folder: Path, seconds: float) -> None:
    """Store most trials of the suite, then run the rest on the simulated executor and write `figures.json`. Does not return."""
    from optbench.cli.commands.run import TerminalObserver
    from optbench.runner import suite_run
    from optbench.runner.job import check_suites, create_job
    from optbench.runner.options import RunOptions

    options = RunOptions(results=folder / "results", executor="ray", command="optbench run scale")
    suite = str(suite_file(folder))
    [loaded] = check_suites([suite], (), None, None)
    job = create_job(loaded, options)
    job.folder.create()
    stored = 0
    for number, trial in enumerate(job.wanted):
        if number % 100 < 100 * _STORED:
            job.folder.write_trial(trial, trial_events(trial))
            stored += 1
    began = time.monotonic()
    [loaded] = check_suites([suite], (), None, None)
    job = create_job(loaded, options)

    def finished(executor: SimulatedExecutor) -> None:
        assert executor.measured_from is not None
        wall, cpu = executor.measured_from
        elapsed = time.monotonic() - wall
        figures = {
            "trials": len(job.wanted),
            "stored": stored,
            "start_seconds": wall - began,
            "cpu_share": (time.process_time() - cpu) / elapsed,
            "events_per_second": executor.events / elapsed,
            "delay_ms": 1e3 * sorted(executor.delays)[len(executor.delays) // 2],
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        (folder / "figures.json").write_text(json.dumps(figures))
        os._exit(0)

    @contextmanager
    def simulated(*_: Any) -> Iterator[SimulatedExecutor]:
        yield SimulatedExecutor(seconds, finished)

    suite_run._executor = simulated
    try:
        suite_run.run_job(job, options, StopRequest(), TerminalObserver())
    except OptbenchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    drive(Path(sys.argv[1]), float(sys.argv[2]))
