"""Benchmarks of one trial: against the best and the usual loop, against constant input; evaluation; the allocator."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.running import ROOT, Figure, loop, ratios, rounds, run, samples_per_second, timed
from benchmarks.workloads import WORKLOADS, suite

_THREADS = ("--threads", "2", "--device", "cpu")


def _optbench_rate(name: str, *options: str) -> float:
    work = WORKLOADS[name]
    return samples_per_second(run(suite(work), *_THREADS, *options), work.batch)


def _loop_rate(kind: str, name: str, steps: int | None = None) -> float:
    return float(loop(kind, name, steps=steps or WORKLOADS[name].steps)["samples_per_second"])


def overhead(count: int) -> Iterator[Figure]:
    goals = {"cnn": "0.98", "cnn_bf16": "0.98", "mlp_128": "0.95"}
    for name, goal in goals.items():
        pairs = rounds(count, partial(_optbench_rate, name), partial(_loop_rate, "best", name))
        yield Figure(
            "overhead", f"{name}: samples/s, optbench run / best hand-written loop", goal, ratios(pairs)
        )


def start_up(count: int) -> Iterator[Figure]:
    """From typing the command to the end of one step of the only trial, its evaluations included; the loop: its whole process."""
    work = WORKLOADS["mlp_128"]
    line = [sys.executable, "-m", "benchmarks.loops", "best", "mlp_128", "--steps", "1"]

    def ours() -> float:
        ran = run(suite(work, steps=1), *_THREADS)
        return next(at for at, event in ran.events if event["event"] == "finished")

    pairs = rounds(count, ours, lambda: timed(line)[0])
    extra = [mine - other for mine, other in pairs]
    facts: dict[str, float | str] = {
        "seconds longer, median": statistics.median(extra),
        "minimum": min(extra),
        "maximum": max(extra),
    }
    yield Figure(
        "start-up",
        "optbench run to the end of one step, beyond a script that does the same",
        "1 s",
        facts=facts,
    )


def usual(count: int) -> Iterator[Figure]:
    goals = {"cnn_bf16": "2.3", "cnn": "1.7", "mlp_128_crop": "5.5", "mlp_512_crop": "10"}
    for name, goal in (goals | {"mlp_128": "none set", "mlp_512": "none set"}).items():
        steps = 30 if name.startswith("cnn") else 60
        pairs = rounds(count, partial(_optbench_rate, name), partial(_loop_rate, "usual", name, steps))
        yield Figure("usual loop", f"{name}: samples/s, optbench run / DataLoader loop", goal, ratios(pairs))


def accuracy(count: int) -> Iterator[Figure]:
    """Compare test accuracies after the same number of steps, over seeds."""
    for name, steps in (("cnn_bf16", 120), ("mlp_128", 860)):
        work = WORKLOADS[name]
        seeds = list(range(max(3, count)))
        ran = run(suite(work, steps=steps, seeds=seeds), *_THREADS)
        ours = [event["final"]["last"]["accuracy"] for event in ran.of("finished")]
        theirs = [loop("usual", name, steps=steps, seed=seed, accuracy=True)["accuracy"] for seed in seeds]
        facts: dict[str, float | str] = {
            "optbench, mean": statistics.mean(ours),
            "sd": statistics.stdev(ours),
            "usual loop, mean": statistics.mean(theirs),
            "sd of it": statistics.stdev(theirs),
            "seeds": float(len(seeds)),
        }
        yield Figure(
            "accuracy", f"{name}: test accuracy after {steps} steps", "equal over seeds", facts=facts
        )


def data(count: int) -> Iterator[Figure]:
    """Compare the engine's steps on its own batches with the same steps on one constant batch."""
    for name in ("cnn", "cnn_bf16"):
        line = [sys.executable, "-m", "benchmarks.batch_cost", name, "--rounds", str(2 * count)]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
        result = json.loads(done.stdout)
        facts: dict[str, float | str] = {"ms per batch": 1000 * result["batch_seconds"]}
        yield Figure(
            "data",
            f"{name}: samples/s, the engine on its own batches / on one batch",
            "0.97",
            tuple(result["ratios"]),
            facts,
        )


def evaluation(count: int) -> Iterator[Figure]:
    """Seconds of evaluating 10,000 test pictures over seconds of training on 60,000, both from a trial's own records."""
    for name in ("cnn", "cnn_bf16", "mlp_128"):
        work = WORKLOADS[name]
        shares = []
        for _ in range(max(1, count // 2)):
            ran = run(suite(work, steps=2 * work.every), *_THREADS)
            last, size = ran.of("evaluated")[-1], ran.of("started")[0]["splits"]["validation"]
            evaluated = last["evaluation_seconds"] / (2 * size)
            trained = last["train_seconds"] / (last["step"] * work.batch)
            shares.append(10_000 * evaluated / (60_000 * trained))
        facts: dict[str, float | str] = {
            "share of training, median": statistics.median(shares),
            "maximum": max(shares),
        }
        yield Figure(
            "evaluation", f"{name}: a test set of a sixth of the training set", "at most 0.06", facts=facts
        )


def allocator(count: int) -> Iterator[Figure]:
    for name in ("cnn", "cnn_bf16"):
        pairs = rounds(
            count, partial(_optbench_rate, name), partial(_optbench_rate, name, "--allocator", "default")
        )
        yield Figure(
            "allocator",
            f"{name}: samples/s, tuned glibc thresholds / defaults",
            "up to 1.28",
            ratios(pairs),
        )


def neighbour(count: int) -> Iterator[Figure]:
    """A timed trial with another program busy on one core, against the same trial alone; and what its record says of it."""
    work = WORKLOADS["mlp_128"]
    for threads in (2, 1):
        queued: dict[bool, list[float]] = {True: [], False: []}

        def side(busy: bool, threads: int = threads, queued: dict[bool, list[float]] = queued) -> float:
            line = [sys.executable, "-c", "while True: pass"]
            with subprocess.Popen(line) if busy else contextlib.nullcontext() as other:
                ran = run(suite(work, steps=200), "--threads", str(threads), "--device", "cpu")
                if other is not None:
                    other.kill()
            (end,) = ran.of("finished")
            queued[busy].append(end["queued_seconds"] / end["train_seconds"] / threads)
            return samples_per_second(ran, work.batch)

        pairs = rounds(max(1, count // 2), partial(side, True), partial(side, False))
        facts: dict[str, float | str] = {
            "queued share": statistics.median(queued[True]),
            "alone": statistics.median(queued[False]),
        }
        yield Figure(
            "neighbour",
            f"mlp_128, {threads} thread{'s' * (threads > 1)}: samples/s beside a busy program / alone",
            "flagged above a queued share of 0.05",
            ratios(pairs),
            facts,
        )
