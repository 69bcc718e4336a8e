"""Sweeps: what the whole machine makes of many trials, against the usual loop run once a trial."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.running import Figure, loop, ratios, rounds, run
from benchmarks.workloads import WORKLOADS, suite

_CPU = ("--device", "cpu")


def _rate(name: str, trials: int, steps: int, *options: str) -> float:
    """Samples a second of a sweep over `trials` learning rates, from the first swept trial's start to the last one's end."""
    work = WORKLOADS[name]
    factors = [round(10 ** (number / trials - 0.5), 4) for number in range(trials)]
    told = suite(work, steps=steps, sensitivity={"lr": {"factors": factors}})
    ran = run(told, *_CPU, *options)
    swept = [(at, event) for at, event in ran.events if event.get("point")]
    times = [at for at, event in swept if event["event"] in ("started", "finished")]
    done: int = sum(event["step"] for _, event in swept if event["event"] == "finished")
    return done * work.batch / (max(times) - min(times))


def _usual(name: str, steps: int) -> float:
    return float(loop("usual", name, steps=steps)["samples_per_second"])


def convnet(count: int) -> Iterator[Figure]:
    pairs = rounds(max(1, count // 2), lambda: _rate("cnn_bf16", 6, 60), lambda: _usual("cnn_bf16", 30))
    yield Figure(
        "sweeps",
        "convnet, 6 trials: samples/s, optbench run / DataLoader loop one by one",
        "3.2",
        ratios(pairs),
    )


def mlp(count: int) -> Iterator[Figure]:
    few = max(1, count // 2)
    pairs = rounds(
        few,
        lambda: _rate("mlp_64", 16, 2000),
        lambda: _rate("mlp_64", 16, 2000, "--set", "engine=plain"),
        lambda: _rate("mlp_64", 4, 2000, "--set", "engine=plain", "--jobs", "1", "--threads", "2"),
        lambda: _usual("mlp_64", 60),
    )
    what = "MLP, 16 trials: samples/s,"
    yield Figure("sweeps", f"{what} stacked engine / plain engine one by one", "3", ratios(pairs, over=2))
    yield Figure("sweeps", f"{what} stacked engine / DataLoader loop one by one", "60", ratios(pairs, over=3))
    yield Figure(
        "sweeps", f"{what} a process a core / DataLoader loop one by one", "12", ratios(pairs, over=3, of=1)
    )
