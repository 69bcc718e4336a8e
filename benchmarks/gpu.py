"""Benchmarks that need an NVIDIA GPU: `make gpu` runs them and writes `results/bench/gpu.json` and `gpu.md`.

python -m benchmarks.gpu [TOPIC...] [--output DIR]

Each benchmark takes its device and sizes as arguments, so that the tests can run it on a CPU with small sizes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.running import ROOT, Figure, ratios, rounds
from optbench.catalog.types import DataInfo
from optbench.engine.clock import synchronise
from optbench.engine.loop import train
from optbench.engine.memory_forecast import forecast
from optbench.engine.memory_forecast_check import with_measured
from optbench.engine.session import Session, prepare
from optbench.engine.stacked.loop import train_stack
from optbench.engine.step import training_step
from optbench.events import Evaluated, Finished
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Trial

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"use": "torch.optim.SGD", "lr": 0.01},
    "SGD + Momentum": {"use": "torch.optim.SGD", "lr": 0.01, "momentum": 0.9},
    "Adam": {"use": "torch.optim.Adam", "lr": 1e-3},
    "AdamW": {"use": "torch.optim.AdamW", "lr": 1e-3},
    "RMSprop": {"use": "torch.optim.RMSprop", "lr": 1e-4},
}


@dataclass(frozen=True)
class Work:
    """A model with its image size, number of samples and batch size."""

    model: Any
    pixels: int
    samples: int
    batch: int
    classes: int = 10


@dataclass(frozen=True)
class Sizes:
    """Sizes of the benchmarks. `steps`: steps per timed interval."""

    rounds: int
    steps: int
    convnet: Work
    large: Work
    small: Work  # limited by kernel launches
    mlp: Work
    stacked: int  # trials in one stack


FULL = Sizes(
    rounds=3,
    steps=100,
    convnet=Work("resnet18_cifar", 32, 50_000, 512),
    large=Work("torchvision.models.resnet50", 224, 1024, 128),
    small=Work({"name": "small_cnn", "width": 16}, 32, 20_000, 128),
    mlp=Work({"name": "mlp", "hidden": [64, 64]}, 28, 20_000, 128),
    stacked=64,
)
TINY = Sizes(
    rounds=1,
    steps=3,
    convnet=Work({"name": "small_cnn", "width": 4}, 8, 64, 8),
    large=Work({"name": "small_cnn", "width": 4}, 16, 64, 8),
    small=Work({"name": "small_cnn", "width": 4}, 8, 64, 8),
    mlp=Work({"name": "mlp", "hidden": [8]}, 8, 64, 8),
    stacked=3,
)


@dataclass(frozen=True)
class Place:
    """The device, a folder for temporary data and suites, and the sizes of the benchmarks."""

    device: torch.device
    folder: Path
    sizes: Sizes


def harness(place: Place) -> Iterator[Figure]:
    """Steps as `train` runs and tells them, against the same steps in a bare loop over the same batches."""
    for work in (place.sizes.convnet, place.sizes.small):
        trial = _trial(place, work, "SGD + Momentum", cuda_graph="off")
        pairs = rounds(
            place.sizes.rounds,
            lambda t=trial: _step_seconds(_records(t, place)),
            lambda t=trial: _bare_step_seconds(t, place),
        )
        what = f"{_name(work)}: step of a bare loop / step of a trial"
        yield Figure("harness", what, "0.98", ratios(pairs, over=0, of=1))


def _bare_step_seconds(trial: Trial, place: Place) -> float:
    session = _warm(trial, place)
    optimizer = session.optimizers.members[0]

    def step(number: int) -> None:
        batch = session.training_batches.batch(number)
        optimizer.zero_grad(set_to_none=True)
        with session.precision.autocast(place.device):
            loss = session.mean_loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return _seconds(step, place)


def throughput(place: Place) -> Iterator[Figure]:
    work = place.sizes.convnet
    trial = _trial(place, work, "SGD + Momentum")
    rates = [work.batch / _step_seconds(_records(trial, place)) for _ in range(place.sizes.rounds)]
    facts: dict[str, float | str] = {"images per second, minimum": min(rates), "maximum": max(rates)}
    yield Figure("throughput", _name(work), "15,000 images/s with ResNet-18 at 32 pixels", facts=facts)


def graphs(place: Place) -> Iterator[Figure]:
    """A small model, with its steps launched kernel by kernel and as graphs; with an update that is part of the graph and one that
    is not."""
    for label, implementation in (("AdamW", "fused"), ("SGD + Momentum", "default")):
        trial = _trial(place, place.sizes.small, label, implementation=implementation)
        sides = {name: trial.model_copy(update={"cuda_graph": name}) for name in ("on", "off")}
        ended: dict[str, Finished] = {}

        def seconds(name: str, sides: dict[str, Trial] = sides, ended: dict[str, Finished] = ended) -> float:
            events = _records(sides[name], place)
            ended[name] = events[-1]
            return _step_seconds(events)

        pairs = rounds(place.sizes.rounds, lambda s=seconds: s("on"), lambda s=seconds: s("off"))
        facts: dict[str, float | str] = {
            "captured": ended["on"].captured,
            "left outside": ended["on"].capture_note or "nothing",
        }
        yield Figure(
            "graphs",
            f"{label}, {implementation}: step as written / as a graph",
            "above 1",
            ratios(pairs, 0, 1),
            facts,
        )


def stacks(place: Place) -> Iterator[Figure]:
    """A model step in a stack against one alone, kernel by kernel."""
    alone = _trial(place, place.sizes.mlp, "SGD + Momentum", cuda_graph="off")
    count = place.sizes.stacked
    together = [
        alone.model_copy(
            update={"point": {"lr": 0.01 * (1 + number / count)}, "engine": "stacked", "cuda_graph": "auto"}
        )
        for number in range(count)
    ]

    def stacked() -> float:
        one = together[0].id
        told = [
            event for part in train_stack(together, place.device, data_root=place.folder) for event in part
        ]
        return _step_seconds([event for trial, event in told if trial == one])

    pairs = rounds(place.sizes.rounds, stacked, lambda: _step_seconds(_records(alone, place)))
    yield Figure(
        "stacks",
        f"{_name(place.sizes.mlp)}: step alone / step of one of {count} stacked",
        "30",
        ratios(pairs, over=0, of=1),
    )


def constant_input(place: Place) -> Iterator[Figure]:
    """The engine's batches against one batch used again and again: from the device, and streamed from the host."""
    for residency in ("device", "host"):
        session = _warm(_trial(place, place.sizes.large, "SGD + Momentum"), place, residency)
        real, fixed = session.training_batches.batch, session.training_batches.batch(0)

        def seconds(
            constant: bool, session: Session = session, real: Any = real, fixed: Any = fixed
        ) -> float:
            session.training_batches.batch = (lambda step: fixed) if constant else real  # type: ignore[method-assign]
            return _seconds(lambda step: _step(session, step), place)

        pairs = rounds(place.sizes.rounds, lambda s=seconds: s(False), lambda s=seconds: s(True))
        session.training_batches.close()
        what = f"{_name(place.sizes.large)}, data on the {residency}: constant input / the engine's batches"
        yield Figure("data", what, "0.97", ratios(pairs, over=0, of=1))


def memory(place: Place) -> Iterator[Figure]:
    """The allocator's peak over a few steps, by optimizer, as multiples of the forecast."""
    work = place.sizes.large
    info = DataInfo(0, 0, 0, (3, work.pixels, work.pixels), work.classes)
    rows = [_trial(place, work, label) for label in OPTIMIZERS]
    checked = with_measured(forecast(rows, info), rows, info, place.device)
    facts: dict[str, float | str] = {
        row.label: row.measured_bytes / row.total_bytes
        if row.measured_bytes and row.total_bytes
        else "failed"
        for row in checked
    }
    yield Figure("memory", f"{_name(work)}: peak / forecast", "0.95 to 1.2", facts=facts)


def step_peaks(place: Place) -> Iterator[Figure]:
    """What a step holds for a moment beyond state and gradients: torch's foreach makes copies that its fused steps do not."""
    for implementation in ("foreach", "fused"):
        facts: dict[str, float | str] = {}
        for label in OPTIMIZERS:
            trial = _trial(place, place.sizes.convnet, label, every=1, implementation=implementation)
            started, *_, end = _records(trial, place)
            peak = end.step_peak_bytes
            facts[label] = "unknown" if peak is None else peak / started.parameter_bytes
        yield Figure("memory", f"peak inside a {implementation} step / parameters", "told", facts=facts)


TOPICS: dict[str, Callable[[Place], Iterator[Figure]]] = {
    "harness": harness,
    "throughput": throughput,
    "graphs": graphs,
    "stacks": stacks,
    "data": constant_input,
    "memory": memory,
    "step-peaks": step_peaks,
}


def _trial(place: Place, work: Work, label: str, every: int = 0, **more: Any) -> Trial:
    """`more` are keys of the suite. It evaluates five times; what is timed begins with the first evaluation."""
    every = every or place.sizes.steps // 2 + 1
    data = {"name": "synthetic", "shape": [3, work.pixels, work.pixels], "classes": work.classes}
    suite = {
        "workload": {
            "model": work.model,
            "data": {**data, "train": work.samples, "validation": 64, "test": 64},
            "batch_size": work.batch,
            "budget": f"{5 * every} steps",
            "evaluate": {"every": f"{every} steps"},
            "augment": {"crop": 2, "flip": True},
        },
        "precision": "bf16",
        "implementation": "fused",
        "seeds": 1,
        "optimizers": {label: OPTIMIZERS[label]},
    } | more
    path = place.folder / "gpu.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return plan(load(path))[0]


def _records(trial: Trial, place: Place) -> list[Any]:
    events = list(train(trial, place.device, data_root=place.folder))
    if events[-1].status != "completed":
        raise RuntimeError(f"{trial.label}: {events[-1].status}: {events[-1].detail}")
    return events


def _step_seconds(events: list[Any]) -> float:
    """Return the training seconds per step after the first evaluation, when libraries are loaded and graphs captured."""
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    first, last = evaluations[0], evaluations[-1]
    return (last.train_seconds - first.train_seconds) / (last.step - first.step)


def _warm(trial: Trial, place: Place, residency: str = "device") -> Session:
    session = prepare(trial, place.device, place.folder)
    if residency == "host":
        session.training_batches.residency = "host"
        session.training_batches._inputs = torch.from_numpy(session.splits.train.inputs)
    session.model.train()
    for number in range(min(10, place.sizes.steps)):
        _step(session, number)
    return session


def _step(session: Session, number: int) -> None:
    training_step(session, number, number, want_norm=False)


def _seconds(step: Callable[[int], None], place: Place) -> float:
    """Return the mean seconds of one step."""
    synchronise(place.device)
    since = time.perf_counter()
    for number in range(place.sizes.steps):
        step(number)
    synchronise(place.device)
    return (time.perf_counter() - since) / place.sizes.steps


def _name(work: Work) -> str:
    name = work.model if isinstance(work.model, str) else work.model["name"]
    return f"{name.rpartition('.')[2]}, {work.pixels} pixels, batches of {work.batch}, bf16"


def measure(topics: list[str], place: Place, output: Path, machine: str) -> None:
    """Run the topics and write the results after each, so that a later failure loses nothing."""
    output.mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []
    for topic in topics:
        figures += TOPICS[topic](place)
        content = {"machine": machine, "figures": [figure.as_dict() for figure in figures]}
        (output / "gpu.json").write_text(json.dumps(content, indent=1) + "\n")
        (output / "gpu.md").write_text(_page(figures, machine))


def _page(figures: list[Figure], machine: str) -> str:
    lines = [
        "# Benchmarks of optbench on a GPU",
        "",
        "Written by `make gpu`; ratios are medians of interleaved rounds with their range.",
        f"Measured on {machine}.",
        "",
        "| topic | what | goal | measured |",
        "| :-- | :-- | :-- | :-- |",
    ]
    for figure in figures:
        facts = (
            f"{name} {value if isinstance(value, str) else format(value, '.4g')}"
            for name, value in figure.facts.items()
        )
        measured = "; ".join(filter(None, (figure.shown, ", ".join(facts))))
        lines.append(f"| {figure.topic} | {figure.what} | {figure.goal} | {measured} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "topics", nargs="*", metavar="TOPIC", help=f"one of {', '.join(TOPICS)}; default: all"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.topics) - set(TOPICS))
    if unknown:
        parser.error(f"unknown topic {', '.join(unknown)}; expected one or more of {', '.join(TOPICS)}")
    if not torch.cuda.is_available():
        sys.exit("torch finds no NVIDIA GPU: nothing was measured or written")
    device = torch.device("cuda:0")
    with tempfile.TemporaryDirectory() as folder:
        machine = f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
        measure(
            arguments.topics or list(TOPICS), Place(device, Path(folder), FULL), arguments.output, machine
        )
    print(f"{arguments.output}/gpu.json, gpu.md")


if __name__ == "__main__":
    main()
