"""Sweeps: what the whole machine makes of many trials, against the usual loop run once a trial."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.idle_worker import report_torch_loaded
from benchmarks.running import Figure, loop, ratios, rounds, run
from benchmarks.workloads import WORKLOADS, Bench, suite
from optbench.cpu_cores import cores
from optbench.executor.api import StopRequest
from optbench.executor.process import child, receive


@dataclass
class _Sweep:
    """A sweep over `trials` learning rates, an even number. What a grid is extended by is left out."""

    trials: int
    work: Bench
    options: tuple[str, ...] = ()
    trained: list[float] = field(
        default_factory=list
    )  # samples a second without evaluations and starts, a number a run

    def rate(self) -> float:
        """Return samples per second, from the first swept trial's start to the last one's end, evaluations included."""
        count = self.trials
        factors = [round(10 ** ((number + 0.5) / count - 0.5), 4) for number in range(count)]
        swept_suite = suite(self.work, sensitivity={"lr": {"factors": factors}})
        events = run(swept_suite, "--device", "cpu", *self.options).events
        lowest, highest = (0.999 * factors[0] * self.work.rate, 1.001 * factors[-1] * self.work.rate)
        swept = [(at, event) for at, event in events if event.get("point")]
        grid_events = [(at, event) for at, event in swept if lowest <= event["point"]["lr"] <= highest]
        times = [at for at, event in grid_events if event["event"] in ("started", "finished")]
        ends = [event for _, event in grid_events if event["event"] == "finished"]
        samples: int = sum(end["step"] for end in ends) * self.work.batch
        self.trained.append(samples * cores() / sum(end["train_seconds"] for end in ends))
        return samples / (max(times) - min(times))

    def against(self, rival: Sequence[float]) -> dict[str, float | str]:
        apart = statistics.median(ours / other for ours, other in zip(self.trained, rival, strict=True))
        return {"evaluations and starts apart": f"{apart:.3g} x"}


def _by_hand(kind: str, name: str, steps: int) -> float:
    return float(loop(kind, name, steps=steps)["samples_per_second"])


def convnet(count: int) -> Iterator[Figure]:
    """Measure a grid whose best value is inside, so that it is not extended."""
    sweep = _Sweep(6, replace(WORKLOADS["cnn_bf16"], steps=150, every=150, rate=0.5))
    pairs = rounds(max(1, count // 2), sweep.rate, lambda: _by_hand("usual", "cnn_bf16", 30))
    yield Figure(
        "sweeps",
        "convnet, 6 trials: samples/s, optbench run / DataLoader loop one by one",
        "3.2",
        ratios(pairs),
        sweep.against([usual for _, usual in pairs]),
    )


def on_ray(count: int) -> Iterator[Figure]:
    """Measure the same sweep on a Ray cluster of this machine and by the local executor, on the same cores. Needs `optbench[ray]`."""
    if importlib.util.find_spec("ray") is None:
        return
    work = replace(WORKLOADS["cnn_bf16"], steps=150, every=150, rate=0.5)
    local, ray = _Sweep(6, work), _Sweep(6, work, ("--executor", "ray"))
    pairs = rounds(count, ray.rate, local.rate)
    facts = {"samples/s on Ray": statistics.median(rate for rate, _ in pairs)}
    yield Figure(
        "sweeps", "convnet, 6 trials: samples/s, --executor ray / local", "0.95", ratios(pairs), facts
    )


def mlp(count: int) -> Iterator[Figure]:
    work = WORKLOADS["mlp_64_crop"]
    stacked, plain = _Sweep(16, work), _Sweep(16, work, ("--set", "engine=plain"))
    pairs = rounds(
        max(1, count // 2),
        stacked.rate,
        plain.rate,
        lambda: _by_hand("best", "mlp_64_crop", work.steps),
        lambda: _by_hand("usual", "mlp_64_crop", 60),
    )
    best, usual = ([values[side] for values in pairs] for side in (2, 3))
    for what, goal, sweep, rival, (over, of) in (
        ("stacked engine / best hand-written loop", "3", stacked, best, (2, 0)),
        ("stacked engine / DataLoader loop", "60", stacked, usual, (3, 0)),
        ("one process per core / DataLoader loop", "12", plain, usual, (3, 1)),
    ):
        yield Figure(
            "sweeps",
            f"MLP, 16 trials: samples/s, {what} one by one",
            goal,
            ratios(pairs, over=over, of=of),
            sweep.against(rival),
        )


def _process() -> float:
    """Return the seconds to start and end a process that has torch loaded and sends one message."""
    began = time.perf_counter()
    with child(report_torch_loaded) as started:
        assert receive(started, StopRequest(), patience=60) is True
        started.answer(False)
    return time.perf_counter() - began


def gap(count: int) -> Iterator[Figure]:
    """Measure the time from the end of a swept trial until the next one, in its own process, is ready for its first step."""
    _process()  # starts the server
    alone = [_process() for _ in range(10 * count)]
    yield Figure("sweeps", "a trial's process with torch loaded, start to end", "50 ms", facts=_spread(alone))
    swept_suite = suite(
        WORKLOADS["mlp_64"], steps=20, engine="plain", sensitivity={"lr": {"factors": [0.5, 0.7, 1, 1.4, 2]}}
    )
    gaps = []
    for _ in range(max(1, count // 2)):
        swept = [
            (at, event)
            for at, event in run(swept_suite, "--device", "cpu", "--jobs", "1").events
            if event.get("point")
        ]
        ends = [at for at, event in swept if event["event"] == "finished"]
        starts = [at for at, event in swept if event["event"] == "started"]
        gaps += [start - end for end, start in zip(ends, starts[1:], strict=False)]
    yield Figure(
        "sweeps", "between two swept trials: process, data, model, optimizer", "none set", facts=_spread(gaps)
    )


def _spread(seconds: list[float]) -> dict[str, float | str]:
    return {
        "ms, median": 1000 * statistics.median(seconds),
        "minimum": 1000 * min(seconds),
        "maximum": 1000 * max(seconds),
    }
