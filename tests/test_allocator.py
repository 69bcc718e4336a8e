"""The allocator of CPU trials: fewer page faults, the same bits, recorded, off by a flag, left alone where it isn't glibc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from optbench.engine import allocator
from optbench.engine.environment import environment

ON_GLIBC = pytest.mark.skipif(allocator.allocator_name() != "glibc", reason="needs glibc's own allocator")
SCRIPT = """
import json, resource, sys
from pathlib import Path
import torch
from optbench.engine import allocator
from trials import evaluations, run, trials
torch.set_num_threads(1)
images = {"model": {"name": "small_cnn", "width": 4}, "data": {"name": "synthetic", "shape": [1, 8, 8], "classes": 3,
          "train": 96, "validation": 32, "test": 32}}
(trial,) = trials(Path(sys.argv[1]), workload=images)
def measured():
    losses = [record.train_loss.hex() for record in evaluations(run(trial, Path(sys.argv[1])))]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):  # tuned, the first two or three may still need fresh pages: the heap grows before it can be used again
        torch.ones(9 << 20)
    return losses, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first, allocator_before = measured(), allocator.describe_allocator()
allocator.keep_freed_memory("cpu")
print(json.dumps({"plain": first, "tuned": measured(), "named": [allocator_before, allocator.describe_allocator()]}))
"""


@ON_GLIBC
def test_tuned_memory_changes_page_faults_and_no_bit(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(told.stdout.splitlines()[-1])
    assert facts["named"] == ["glibc", "glibc, tuned"]
    assert facts["tuned"][0] == facts["plain"][0]
    assert facts["tuned"][1] < facts["plain"][1] / 2


@pytest.mark.parametrize(
    ("device", "named"),
    [("cuda", "glibc"), ("cpu", "musl")],
)
def test_it_is_left_alone_unless_a_cpu_trial_may_tune_it(
    device: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocator, "allocator_name", lambda: named)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("it was touched"))
    allocator.keep_freed_memory(device)
    assert allocator.describe_allocator() == named


def test_settings_of_the_users_own_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_is_glibc", lambda: True)
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    assert allocator.allocator_name() == "glibc, set by the environment"


def test_the_record_names_it() -> None:
    assert environment(torch.device("cpu"), "")["allocator"] == allocator.describe_allocator()
