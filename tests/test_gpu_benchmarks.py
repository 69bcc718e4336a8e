"""`make gpu`: every measurement runs, on a CPU and tiny, and without a GPU it says so."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def place(tmp_path: Path) -> gpu.Place:
    return gpu.Place(torch.device("cpu"), tmp_path, gpu.TINY)


@pytest.mark.parametrize("topic", gpu.TOPICS)
def test_every_topic_gives_its_figures(topic: str, place: gpu.Place) -> None:
    gpu.measure([topic], place, place.folder / "out", "a test")
    figures = json.loads((place.folder / "out" / "gpu.json").read_text())["figures"]
    assert figures
    for figure in figures:
        numbers = [*figure["ratio"], *(v for v in figure["facts"].values() if not isinstance(v, str))]
        assert figure["ratio"] or figure["facts"]
        assert all(math.isfinite(number) and number >= 0 for number in numbers)
        assert figure["what"] in (place.folder / "out" / "gpu.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_benchmark_fails_with_a_message(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "benchmarks.gpu", "--output", str(tmp_path / "out")]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no NVIDIA GPU" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_checks_for_a_gpu_run_as_far_as_a_cpu_can() -> None:
    line = [sys.executable, "-m", "pytest", "tests/gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OPTBENCH_GPU_CHECKS": "dry"}
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 40
