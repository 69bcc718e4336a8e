"""Benchmarks of the optimizer step: its implementations on real shapes, and the cost of compiling in the first and second trial."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Iterator

from benchmarks.running import OPTBENCH, ROOT, Figure, run
from benchmarks.workloads import WORKLOADS, suite

_COMPARED = (
    "torch.optim.Adam(lr=1e-3)",
    "torch.optim.AdamW(lr=1e-3, weight_decay=0.05)",
    "torch.optim.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)",
    "torch.optim.Adagrad(lr=0.01)",
    "torch.optim.RMSprop(lr=1e-3)",
)


def steps(count: int) -> Iterator[Figure]:
    """Time all implementations, interleaved, on the parameters of ResNet-18 with `optbench steps`."""
    line = [
        *OPTBENCH,
        "steps",
        "torchvision.models.resnet18",
        "--rounds",
        str(max(5, count)),
        "--threads",
        "2",
    ]
    for name in _COMPARED:
        line += ["--optimizer", name]
    done = subprocess.run([*line, "--format", "csv"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}\n{done.stderr}")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    for label in dict.fromkeys(row["optimizer"] for row in rows):
        by_implementation = {
            row["implementation"]: row for row in rows if row["optimizer"] == label and not row["problem"]
        }
        fast = {
            name: float(row["times_faster_than_forloop"])
            for name, row in by_implementation.items()
            if name != "forloop"
        }
        best = max(fast, key=lambda name: fast[name])
        facts: dict[str, float | str] = {name: f"{value:.2f} x" for name, value in fast.items()}
        facts["best / lower bound"] = f"{float(by_implementation[best]['times_the_floor']):.2f} x"
        yield Figure("steps", f"{label} on ResNet-18: for-loop / {best}", "2", (fast[best],), facts)


def compiling(count: int) -> Iterator[Figure]:
    """Run two trials of one workload with an empty cache: the first compiles, the second uses the cache."""
    work = WORKLOADS["cnn"]
    compiled_suite = suite(work, steps=20, seeds=2)
    compiled_suite["workload"]["compile"] = True
    ran = run(compiled_suite, "--device", "cpu", "--threads", "2")
    first, second = (event["setup_seconds"] for event in ran.of("finished"))
    facts: dict[str, float | str] = {"set-up of the first trial, s": first, "of the second, s": second}
    yield Figure("compile", "small convnet, fp32, `compile: true`", "compiled once", facts=facts)
