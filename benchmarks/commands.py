"""Benchmarks of the command line: start-up, check, plan, and reports of many trials."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.running import OPTBENCH, Figure, timed
from optbench.events import Evaluated, Finished, Started
from optbench.store import SuiteFolder, make_plan
from optbench.suite.load import load
from optbench.suite.metric_facts import MetricFacts
from optbench.suite.plan import plan

_QUICK = {
    "--help": (["--help"], "0.2 s"),
    "list optimizers": (["list", "optimizers"], "0.2 s"),
    "check digits": (["check", "digits"], "0.5 s"),
    "check resnet50": (["check", "resnet50"], "0.5 s"),
}


def quick(count: int) -> Iterator[Figure]:
    for name, (arguments, goal) in _QUICK.items():
        seconds = [timed([*OPTBENCH, *arguments])[0] for _ in range(max(3, count))]
        facts: dict[str, float | str] = {
            "seconds, median": statistics.median(seconds),
            "minimum": min(seconds),
            "maximum": max(seconds),
        }
        yield Figure("commands", f"optbench {name}", goal, facts=facts)


def planning(count: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = _write_suite(Path(folder), "many", entries=100, seeds=1000)
        seconds = [
            timed([*OPTBENCH, "plan", str(path), "--results", folder])[0] for _ in range(max(1, count // 2))
        ]
    facts: dict[str, float | str] = {"seconds, median": statistics.median(seconds), "maximum": max(seconds)}
    yield Figure("commands", "optbench plan of 100,000 trials", "3 s", facts=facts)


def reports(count: int) -> Iterator[Figure]:
    """Report 10,000 trials of 100 records each, as 1 and as 100 suites: cold (nothing cached), then warm."""
    for suites, entries, seeds in ((1, 20, 500), (100, 10, 10)):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(suites):
                _write_trials(Path(folder), f"suite_{number}", entries, seeds, records=100)
            line = [
                *OPTBENCH,
                "report",
                folder,
                "--format",
                "markdown",
                "--output",
                str(Path(folder) / "r.md"),
            ]
            cache = {"XDG_CACHE_HOME": str(Path(folder) / "cache")}
            cold = timed(line, env=cache)
            warm = [timed(line, env=cache) for _ in range(max(2, count // 2))]
        facts: dict[str, float | str] = {
            "seconds cold": cold[0],
            "MiB cold": cold[1],
            "seconds warm, median": statistics.median(seconds for seconds, _ in warm),
            "MiB warm": max(used for _, used in warm),
        }
        yield Figure(
            "commands",
            f"optbench report over 10,000 trials of 100 records in {suites} suite{'s' * (suites > 1)}",
            "15 s cold, 5 s warm, 1 GiB",
            facts=facts,
        )


def _write_suite(folder: Path, name: str, entries: int, seeds: int) -> Path:
    suite: dict[str, Any] = {
        "workload": {
            "model": "small_cnn",
            "data": "digits",
            "batch_size": 64,
            "budget": "100 epochs",
            "target": {"metric": "accuracy", "at_least": 0.9},
        },
        "seeds": seeds,
        "optimizers": {
            f"SGD {number}": {"use": "torch.optim.SGD", "lr": 0.001 * (number + 1)}
            for number in range(entries)
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return path


def _write_trials(folder: Path, name: str, entries: int, seeds: int, records: int) -> None:
    """Write artificial trials to a store; the final accuracy depends on entry and seed."""
    loaded = load(_write_suite(folder, name, entries, seeds))
    trials = plan(loaded)
    store = SuiteFolder.of(folder, loaded.name)
    store.create()
    facts = {"accuracy": MetricFacts(True, 0.0, 1.0, "fraction")}
    store.write_plan(make_plan(loaded.name, loaded.suite, trials, "optbench run many", {}, facts))
    environment = {"optbench": "0", "torch": "0", "device": "cpu", "device_name": "made up", "threads": 1}
    for number, trial in enumerate(trials):
        height = 0.88 + 0.1 * ((number * 7919) % 1000) / 1000
        events: list[Any] = [
            Started(
                environment,
                1000,
                4000,
                f"weights {trial.seed}",
                [{"lr": 0.1}],
                {"train": 6400},
                records * 100,
                100,
                "fp32",
            )
        ]
        for epoch in range(1, records + 1):
            metrics = {"validation": {"accuracy": height * epoch / (epoch + 3), "loss": 1 / epoch}}
            events.append(
                Evaluated(
                    step=100 * epoch,
                    epoch=float(epoch),
                    samples=6400 * epoch,
                    train_seconds=0.5 * epoch,
                    cpu_seconds=0.499 * epoch,
                    evaluation_seconds=0.1 * epoch,
                    train_loss=1 / epoch,
                    learning_rate=0.1,
                    metrics=metrics,
                )
            )
        final = {"last": {"accuracy": height, "loss": 0.1}}
        events.append(
            Finished(
                "completed",
                step=100 * records,
                final=final,
                train_seconds=50.0,
                cpu_seconds=49.9,
                state_bytes=4000,
            )
        )
        store.write_trial(trial, events)
