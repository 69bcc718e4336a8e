"""Sweeps: what the whole machine makes of many trials, against the usual loop run once a trial."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.answering import answer
from benchmarks.running import Figure, loop, ratios, rounds, run
from benchmarks.workloads import WORKLOADS, Bench, suite
from optbench.executor.process import StopRequest, child, receive

_CPU = ("--device", "cpu")


def _rate(trials: int, work: Bench, *options: str) -> float:
    """Samples a second of a sweep over `trials` learning rates, an even number, from the first swept trial's start to the last
    one's end, evaluations included. What a grid is extended by is left out."""
    factors = [round(10 ** ((number + 0.5) / trials - 0.5), 4) for number in range(trials)]
    told = suite(work, sensitivity={"lr": {"factors": factors}})
    swept = [(at, event) for at, event in run(told, *_CPU, *options).events if event.get("point")]
    started = [event["point"] for _, event in swept if event["event"] == "started"][:trials]
    mine = [(at, event) for at, event in swept if event["point"] in started]
    times = [at for at, event in mine if event["event"] in ("started", "finished")]
    done: int = sum(event["step"] for _, event in mine if event["event"] == "finished")
    return done * work.batch / (max(times) - min(times))


def _by_hand(kind: str, name: str, steps: int) -> float:
    return float(loop(kind, name, steps=steps)["samples_per_second"])


def convnet(count: int) -> Iterator[Figure]:
    work = replace(WORKLOADS["cnn_bf16"], steps=150, every=150, rate=0.5)  # a grid with its best inside
    pairs = rounds(max(1, count // 2), lambda: _rate(6, work), lambda: _by_hand("usual", "cnn_bf16", 30))
    yield Figure(
        "sweeps",
        "convnet, 6 trials: samples/s, optbench run / DataLoader loop one by one",
        "3.2",
        ratios(pairs),
    )


def mlp(count: int) -> Iterator[Figure]:
    work = WORKLOADS["mlp_64_crop"]
    pairs = rounds(
        max(1, count // 2),
        lambda: _rate(16, work),
        lambda: _rate(16, work, "--set", "engine=plain"),
        lambda: _by_hand("best", "mlp_64_crop", work.steps),
        lambda: _by_hand("usual", "mlp_64_crop", 60),
    )
    what = "MLP, 16 trials: samples/s,"
    yield Figure(
        "sweeps", f"{what} stacked engine / best hand-written loop one by one", "3", ratios(pairs, over=2)
    )
    yield Figure("sweeps", f"{what} stacked engine / DataLoader loop one by one", "60", ratios(pairs, over=3))
    yield Figure(
        "sweeps", f"{what} a process a core / DataLoader loop one by one", "12", ratios(pairs, over=3, of=1)
    )


def _process() -> float:
    """Seconds of a process with torch loaded that only says something, from nothing to nothing."""
    began = time.perf_counter()
    with child(answer) as started:
        assert receive(started, StopRequest(), patience=60) is True
        started.answer(False)
    return time.perf_counter() - began


def gap(count: int) -> Iterator[Figure]:
    """From the end of a swept trial to the moment when the next one, in a process of its own, is ready for its first step."""
    _process()  # starts the server
    alone = [_process() for _ in range(10 * count)]
    yield Figure("sweeps", "a trial's process with torch loaded, start to end", "50 ms", facts=_spread(alone))
    told = suite(
        WORKLOADS["mlp_64"], steps=20, engine="plain", sensitivity={"lr": {"factors": [0.5, 0.7, 1, 1.4, 2]}}
    )
    gaps = []
    for _ in range(max(1, count // 2)):
        swept = [(at, event) for at, event in run(told, *_CPU, "--jobs", "1").events if event.get("point")]
        ends = [at for at, event in swept if event["event"] == "finished"]
        starts = [at for at, event in swept if event["event"] == "started"]
        gaps += [start - end for end, start in zip(ends, starts[1:], strict=False)]
    yield Figure(
        "sweeps", "between two swept trials: process, data, model, optimizer", "none set", facts=_spread(gaps)
    )


def _spread(seconds: list[float]) -> dict[str, float | str]:
    return {
        "ms, median": 1000 * statistics.median(seconds),
        "least": 1000 * min(seconds),
        "most": 1000 * max(seconds),
    }
