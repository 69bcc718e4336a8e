"""Measure everything, or the topics named, and write `results/bench/bench.json` and `bench.md`.

python -m benchmarks [TOPIC...] [--rounds N] [--output DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import commands, optimizers, sweeps, training
from benchmarks.running import ROOT, Figure

TOPICS: dict[str, Callable[[int], Iterator[Figure]]] = {
    "overhead": training.overhead,
    "start-up": training.start_up,
    "usual": training.usual,
    "accuracy": training.accuracy,
    "data": training.data,
    "evaluation": training.evaluation,
    "allocator": training.allocator,
    "neighbour": training.neighbour,
    "steps": optimizers.steps,
    "compile": optimizers.compiling,
    "convnet-sweep": sweeps.convnet,
    "mlp-sweep": sweeps.mlp,
    "gap": sweeps.gap,
    "commands": commands.quick,
    "plan": commands.planning,
    "report": commands.reports,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(TOPICS)}; default: all")
    parser.add_argument(
        "--rounds", type=int, default=5, help="interleaved rounds of a comparison (default 5)"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench")
    asked = parser.parse_args()
    unknown = sorted(set(asked.topics) - set(TOPICS))
    if unknown:
        parser.error(f"no topic {', '.join(unknown)}; expected some of {', '.join(TOPICS)}")
    began, figures = time.time(), []
    for name in asked.topics or TOPICS:
        for figure in TOPICS[name](asked.rounds):
            print(_line(figure), flush=True)
            figures.append(figure)
    asked.output.mkdir(parents=True, exist_ok=True)
    machine = _machine()
    content = {
        "machine": machine,
        "minutes": (time.time() - began) / 60,
        "figures": [f.as_dict() for f in figures],
    }
    (asked.output / "bench.json").write_text(json.dumps(content, indent=1) + "\n")
    (asked.output / "bench.md").write_text(_page(figures, machine))
    print(f"{asked.output}/bench.json, bench.md")


def _line(figure: Figure) -> str:
    facts = ", ".join(f"{name} {_number(value)}" for name, value in figure.facts.items())
    return f"{figure.what}: {', '.join(filter(None, (figure.shown, facts)))}  [goal {figure.goal}]"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _page(figures: list[Figure], machine: dict[str, str]) -> str:
    lines = [
        "# What optbench costs and saves",
        "",
        "Written by `make bench`; ratios are medians of interleaved rounds with their range, above 1 in optbench's favour.",
        f"Measured on {', '.join(machine.values())}.",
        "",
        "| topic | what | goal | measured |",
        "| :-- | :-- | :-- | :-- |",
    ]
    for figure in figures:
        facts = ", ".join(f"{name} {_number(value)}" for name, value in figure.facts.items())
        measured = "; ".join(filter(None, (figure.shown, facts)))
        lines.append(f"| {figure.topic} | {figure.what} | {figure.goal} | {measured} |")
    return "\n".join(lines) + "\n"


def _machine() -> dict[str, str]:
    import torch

    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": f"{os.cpu_count()} cores",
        "python": f"Python {platform.python_version()}",
        "torch": f"torch {torch.__version__}",
    }


if __name__ == "__main__":
    main()
