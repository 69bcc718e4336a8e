"""Run all benchmarks, or the named topics, and write `results/bench/bench.json` and `bench.md` after each topic.

python -m benchmarks [TOPIC...] [--rounds N] [--output DIR]

Results of other topics in the file are kept if they are from this machine and these versions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import commands, optimizers, scale, sweeps, tasks, training, tuning
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
    "tasks": tasks.tasks,
    "steps": optimizers.steps,
    "compile": optimizers.compiling,
    "convnet-sweep": sweeps.convnet,
    "mlp-sweep": sweeps.mlp,
    "gap": sweeps.gap,
    "tuning": tuning.tuning,
    "commands": commands.quick,
    "plan": commands.planning,
    "report": commands.reports,
    "scale": scale.scale,
    "ray": sweeps.on_ray,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "topics", nargs="*", metavar="TOPIC", help=f"one of {', '.join(TOPICS)}; default: all"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="interleaved rounds of a comparison (default 5)"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.topics) - set(TOPICS))
    if unknown:
        parser.error(f"unknown topic {', '.join(unknown)}; expected one or more of {', '.join(TOPICS)}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    machine = _machine()
    measured = _previous_topics(arguments.output / "bench.json", machine)
    for name in arguments.topics or TOPICS:
        began, figures = time.time(), []
        for figure in TOPICS[name](arguments.rounds):
            print(_line(figure), flush=True)
            figures.append(figure.as_dict())
        measured[name] = {"minutes": (time.time() - began) / 60, "figures": figures}
        _write(arguments.output, machine, {name: measured[name] for name in TOPICS if name in measured})
    print(f"{arguments.output}/bench.json, bench.md")


def _previous_topics(path: Path, machine: dict[str, str]) -> dict[str, Any]:
    """Return earlier results from this machine and these versions, by topic."""
    if not path.is_file():
        return {}
    content = json.loads(path.read_text())
    topics: dict[str, Any] = content["topics"] if content["machine"] == machine else {}
    return topics


def _write(folder: Path, machine: dict[str, str], topics: dict[str, Any]) -> None:
    content = {"machine": machine, "topics": topics}
    (folder / "bench.json").write_text(json.dumps(content, indent=1) + "\n")
    figures = [figure for topic in topics.values() for figure in topic["figures"]]
    (folder / "bench.md").write_text(_page(figures, machine))


def _line(figure: Figure) -> str:
    return f"{figure.what}: {_measured(figure.as_dict())}  [goal {figure.goal}]"


def _measured(figure: dict[str, Any]) -> str:
    facts = (f"{name} {_number(value)}" for name, value in figure["facts"].items())
    return ", ".join(filter(None, (figure["shown"], *facts)))


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _page(figures: list[dict[str, Any]], machine: dict[str, str]) -> str:
    lines = [
        "# Benchmarks of optbench",
        "",
        "Written by `make bench`; ratios are medians of interleaved rounds with their range; above 1, optbench is better.",
        f"Measured on {', '.join(machine.values())}.",
        "",
        "| topic | what | goal | measured |",
        "| :-- | :-- | :-- | :-- |",
    ]
    lines += [f"| {f['topic']} | {f['what']} | {f['goal']} | {_measured(f)} |" for f in figures]
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
