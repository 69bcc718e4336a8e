"""Disks that are full, read-only or cut short: stop before damage, say what is needed, go on afterwards, lose nothing."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from optbench.engine import checkpoint
from optbench.engine.loop import train
from optbench.errors import OptbenchError
from program import optbench
from real_runs import SUITE, Run, a_suite, ends
from torture import TIMED
from trials import CPU, finished, run, trials, untimed

WIDE = SUITE.replace("hidden: [8]", "hidden: [400, 400]")
OFTEN = ("--checkpoint-interval", "0")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """`small_disk(2)` is a file system of 2 MB; called again, it has the new size."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(megabytes: float, *options: str) -> Path:
        again = ["remount"] if place.is_mount() else []
        wanted = ",".join([*again, f"size={round(megabytes * 1024)}k", *options])
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", wanted, "tmpfs", place], capture_output=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


def measured(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("tiny/trials/*.jsonl")):
        for record in map(json.loads, path.read_text().splitlines()):
            if record["record"] in ("evaluated", "finished") and record.get("status") != "interrupted":
                found.append({key: value for key, value in record.items() if key not in TIMED})
    return found


def test_a_checkpoint_that_does_not_fit_stops_the_run_before_damage(
    tmp_path: Path, small_disk: Callable[..., Path]
) -> None:
    disk = small_disk(4)
    suite = a_suite(tmp_path, {"Adam": "torch.optim.Adam", "SGD": "torch.optim.SGD"}, text=WIDE)
    whole = optbench("run", suite, "--results", "whole", "--threads", "1", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    arguments = ("run", suite, "--results", disk, "--threads", "1", *OFTEN)
    full = optbench(*arguments, cwd=tmp_path)
    assert full.returncode == 2
    assert "the disk is full: a checkpoint needs" in full.stderr
    assert "run the same command again" in full.stderr
    assert "Traceback" not in full.stderr
    (end,) = (json.loads(path.read_text().splitlines()[-1]) for path in disk.glob("tiny/trials/*.jsonl"))
    assert (end["status"], end["at_fault"]) == ("interrupted", "infrastructure")
    assert not list(disk.glob("tiny/checkpoints/.*"))
    small_disk(40)
    again = optbench(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert measured(disk) == measured(tmp_path / "whole")


def test_a_disk_that_fills_up_loses_no_record(tmp_path: Path, small_disk: Callable[..., Path]) -> None:
    disk = small_disk(4)
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD"}, budget=400)
    arguments = ("run", str(suite), "--results", str(disk), "--threads", "1")
    running = Run(tmp_path, arguments)
    running.until(lambda: any(b'"evaluated"' in p.read_bytes() for p in disk.glob("tiny/trials/*.jsonl")))
    filler = fill(disk)
    code, _, errors = running.end()
    assert code == 2
    assert "the disk is full" in errors
    assert "bytes are needed" in errors
    (path,) = disk.glob("tiny/trials/*.jsonl")
    assert path.read_bytes().endswith(b"\n")
    kept = len(path.read_bytes().splitlines())
    assert optbench("report", disk, cwd=tmp_path).returncode == 0
    filler.unlink()
    again = optbench(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    steps = [record["step"] for record in measured(disk)]
    assert steps == [*range(6, 2401, 6), 2400]
    assert kept < len(path.read_bytes().splitlines())


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_full_disk_is_reported_before_anything_runs(
    state: str, tmp_path: Path, small_disk: Callable[..., Path]
) -> None:
    disk = small_disk(1)
    if state == "full":
        fill(disk)
    else:
        small_disk(1, "ro")
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    done = optbench("run", suite, "--results", disk, cwd=tmp_path)
    assert done.returncode == 2
    assert {"full": "full", "read-only": "read-only"}[state] in done.stderr


def test_results_on_a_read_only_disk_are_reported(tmp_path: Path, small_disk: Callable[..., Path]) -> None:
    disk = small_disk(8)
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    assert optbench("run", suite, "--results", disk, cwd=tmp_path).returncode == 0
    small_disk(8, "ro")
    done = optbench("report", disk, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "SGD" in done.stdout
    assert optbench("report", disk, "--output", disk / "x.md", cwd=tmp_path).returncode == 2


class Limited:
    """A file that fails beyond its first 20,000 bytes."""

    def __init__(self, file: Any, number: int) -> None:
        self.file, self.number, self.size = file, number, 0

    def write(self, content: bytes) -> int:
        self.size += len(content)
        if self.size > 20_000:
            raise OSError(self.number, os.strerror(self.number))
        return int(self.file.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EDQUOT, "the disk quota is exceeded"),
        (errno.EFBIG, "the file size limit"),
        (errno.ENOSPC, "the disk is full"),
    ],
)
def test_a_checkpoint_that_a_quota_cuts_short_interrupts_the_trial(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trial,) = trials(tmp_path, workload={"model": {"name": "mlp", "hidden": [200]}})
    opened = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, mode="r", *rest, **more: (
            Limited(opened(path, mode), number) if mode == "wb" else opened(path, mode, *rest, **more)
        ),
    )
    events = []
    with pytest.raises(checkpoint.NoSpace, match=words):
        events.extend(
            train(trial, CPU, data_root=tmp_path, checkpoint=tmp_path / "trial.pt", checkpoint_seconds=0.0)
        )
    assert (finished(events).status, finished(events).at_fault) == ("interrupted", "infrastructure")
    assert list(tmp_path.glob("*.pt*")) == list(tmp_path.glob(".*.pt*")) == []


def test_a_run_beyond_a_limit_on_file_sizes_ends_and_continues_later(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, {"Adam": "torch.optim.Adam", "SGD": "torch.optim.SGD"}, text=WIDE)
    limited = f"ulimit -f 64; exec {sys.executable} -m optbench run {suite} {' '.join(OFTEN)}"
    done = subprocess.run(["bash", "-c", limited], cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "ulimit -f" in done.stderr
    assert "Traceback" not in done.stderr
    assert [end["status"] for end in ends(tmp_path)] == ["interrupted"]
    again = optbench("run", suite, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert sorted(end["status"] for end in ends(tmp_path)) == ["completed", "completed", "interrupted"]


def test_a_full_disk_is_never_the_optimizers_fault(tmp_path: Path) -> None:
    (tmp_path / "writes.py").write_text(
        "import errno, torch\nclass Writes(torch.optim.SGD):\n    def step(self, closure=None):\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device')\n"
    )
    (trial,) = trials(tmp_path, optimizers={"A": {"use": "writes.py:Writes", "lr": 0.1}})
    events = []
    with pytest.raises(OptbenchError, match="make space"):
        events += train(trial, CPU, data_root=tmp_path)
    for event in train(trial, CPU, data_root=tmp_path):
        events.append(event)
        if event.kind == "finished":
            break
    assert (finished(events).status, finished(events).at_fault) == ("interrupted", "infrastructure")


def test_results_cut_at_any_byte_are_reported_and_completed(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD", "Adam": "torch.optim.Adam"})
    assert optbench("run", suite, "--threads", "1", cwd=tmp_path).returncode == 0
    whole = measured(tmp_path / "results")
    chance = random.Random(5)
    paths = [p for p in (tmp_path / "results/tiny").rglob("*") if p.is_file()]
    for _ in range(2):
        for path in paths:
            if path.exists() and chance.random() < 0.8:
                os.truncate(path, chance.randrange(path.stat().st_size + 1))
        reported = optbench("report", cwd=tmp_path)
        assert reported.returncode == 0, reported.stderr
        completed = optbench("run", suite, "--threads", "1", cwd=tmp_path)
        assert completed.returncode == 0, completed.stderr
        assert "note: " in completed.stderr
        assert measured(tmp_path / "results") == whole


@pytest.mark.parametrize("seed", range(8))
def test_a_checkpoint_with_changed_bytes_is_used_exactly_or_not_at_all(seed: int, tmp_path: Path) -> None:
    (trial,) = trials(tmp_path, optimizers={"A": {"use": "torch.optim.Adam", "lr": 0.1}})
    whole = [untimed(event) for event in run(trial, tmp_path)][1:]
    path = tmp_path / "trial.pt"
    asked = iter(range(1, 100))
    list(train(trial, CPU, data_root=tmp_path, checkpoint=path, should_stop=lambda: next(asked) > seed + 1))
    content, chance = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(chance.choice([1, 1, 5, 50])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    again = {e.step: untimed(e) for e in run(trial, tmp_path, checkpoint=path) if e.kind == "evaluated"}
    assert again
    assert all(record in whole for record in again.values())


def test_a_checkpoint_of_the_wrong_shape_means_starting_again(tmp_path: Path) -> None:
    (trial,) = trials(tmp_path)
    whole = [untimed(event) for event in run(trial, tmp_path)]
    path = tmp_path / "trial.pt"
    list(train(trial, CPU, data_root=tmp_path, checkpoint=path, should_stop=lambda: True))
    good = checkpoint.load(path, trial.id)
    assert good is not None
    for key in ("counts", "model", "optimizers", "tally", "clock", "random"):
        for value in (None, {"a": 1}, [{}]):
            checkpoint.save(path, {**good, key: value})
            again = [e for e in run(trial, tmp_path, checkpoint=path) if e.kind != "progressed"]
            assert [untimed(event) for event in again] == whole, key


def test_what_a_killed_writer_left_is_swept_up(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    trials_folder = tmp_path / "results/tiny/trials"
    trials_folder.mkdir(parents=True)
    left = trials_folder / ".some.jsonl.4194303.tmp"
    left.write_text("half a")
    assert optbench("run", suite, cwd=tmp_path).returncode == 0
    assert not left.exists()
    assert [end["status"] for end in ends(tmp_path)] == ["completed"]


def test_a_clock_that_jumps_changes_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (trial,) = trials(tmp_path)
    whole = [untimed(event) for event in run(trial, tmp_path)]
    chance = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: chance.choice([0.0, 1e9, 4e9, -5.0]))
    jumped = run(trial, tmp_path)
    assert [untimed(event) for event in jumped] == whole
    assert 0 < finished(jumped).train_seconds < 1e8  # a jump is of 1e9 seconds
