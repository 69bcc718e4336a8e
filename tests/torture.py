"""Kill a running suite at random moments, again and again, and compare what it measured with a run that nobody disturbed.

    python tests/torture.py 50            50 kills (`make torture N=50`)
    python tests/torture.py 50 --seed 7   the same moments again
    python tests/torture.py 20 --tuned    20 kills of tuned suites: all processes, the run, a trial's process, or Ctrl-C

Without `--tuned`, each kill is SIGKILL to the whole process group: in a step, an evaluation, a checkpoint, a record. The trials and every
record of each must be the same bit for bit, clocks aside. Exit code 1 and the difference if one is not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from optbench.executor.descendants import children

NET = """
from torch import nn

def net(shape, classes, dropout=0.2):
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout),
        nn.Linear(4 * height * width, classes),
    )
"""
SUITE = """
title: Torture
workload:
  model: {name: 'net.py:net'}
  data: {name: synthetic, shape: [3, 8, 8], classes: 4, train: 256, validation: 64, test: 64}
  batch_size: 16
  budget: BUDGET epochs
  evaluate: {every: 5 steps}
  augment: {crop: 1, flip: true}
  target: {metric: accuracy, at_least: 0.5}
schedule: {name: cosine, warmup: 10%}
seeds: 1
precision: PRECISION
optimizers:
OPTIMIZERS
"""
FP32 = """
  SGD: {use: torch.optim.SGD, lr: 0.05, momentum: 0.9, clip: {norm: 0.5}}
  AdamW: {use: torch.optim.AdamW, lr: 3e-3, amsgrad: true, ema: {decay: 0.9}}
  LBFGS: {use: torch.optim.LBFGS, lr: 0.1, max_iter: 3, schedule: constant}
  ScheduleFree: {use: schedulefree.AdamWScheduleFree, lr: 3e-3, schedule: constant}
"""
FP16 = """
  Adam: {use: torch.optim.Adam, lr: 3e-3, clip: {value: 0.1}}
"""
TUNED = """
title: Torture of tuning
workload:
  model: {name: mlp, hidden: [8]}
  data: {name: synthetic, shape: [6], classes: 3, train: 256, validation: 64, test: 64}
  batch_size: 16
  budget: BUDGET epochs
tuning: TUNING
seeds: 2
optimizers:
  SGD: {use: torch.optim.SGD, lr: {log: [1e-3, 10]}, momentum: {choice: [0, {one_minus_log: [1e-2, 0.5]}]}}
  LBFGS: {use: torch.optim.LBFGS, lr: {log: [1e-2, 1]}, max_iter: 2}
"""
#: stacked and plain trials, two studies, pruning; and a sampler whose points depend on the results
TUNINGS = {
    "pruned": "{trials: 4, studies: 2, prune: {rung: 1/4, keep: 1/2}}",
    "adaptive": "{trials: 12, sampler: tpe}",
}
#: told by a clock or by the machine, so never the same twice
TIMED = {
    "train_seconds", "cpu_seconds", "evaluation_seconds", "setup_seconds", "data_wait_seconds",
    "queued_seconds", "step_peak_bytes", "resources", "environment",
}  # fmt: skip


def suite_files(folder: Path, budget: int) -> list[Path]:
    (folder / "net.py").write_text(NET)
    paths = []
    for name, precision, optimizers in (("single", "fp32", FP32), ("half", "fp16", FP16)):
        text = SUITE.replace("BUDGET", str(budget)).replace("PRECISION", precision)
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(text.replace("OPTIMIZERS", optimizers.strip("\n")))
    return paths


def tuned_suite_files(folder: Path, budget: int) -> list[Path]:
    paths = [folder / f"{name}.yaml" for name in TUNINGS]
    for path in paths:
        text = TUNED.replace("BUDGET", str(max(4, budget)))
        path.write_text(text.replace("TUNING", TUNINGS[path.stem]))
    return paths


def start(suites: list[Path], results: Path) -> subprocess.Popen[bytes]:
    """The suites with a checkpoint after every step, each in reach of a kill."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "optbench", "run", *map(str, suites),
            "--results", str(results), "--threads", "1", "--reruns", "0",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPTBENCH_CHECKPOINT_SECONDS": "0"},
        start_new_session=True,
    )  # fmt: skip


def measured(results: Path) -> dict[str, list[dict[str, Any]]]:
    """Every trial's records without clocks, interruptions, killed attempts, and what is written twice on a second start."""
    found = {}
    for path in sorted(results.glob("*/trials/*.jsonl")):
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        kept: list[dict[str, Any]] = []
        for record in records:
            untimed = {key: value for key, value in record.items() if key not in TIMED}
            is_stop = record.get("status") == "interrupted" or record.get("at_fault") == "infrastructure"
            if record["record"] != "resumed" and not is_stop and untimed not in kept:
                kept.append(untimed)
        found[f"{path.parent.parent.name}/{path.name}"] = kept
    return found


def torture(kills: int, seed: int, folder: Path, say: Any = print, *, tuned: bool = False) -> dict[str, Any]:
    """Facts about the kills; raises AssertionError with the first difference."""
    chance = random.Random(seed)
    suites = (tuned_suite_files if tuned else suite_files)(folder, budget=max(2, round(kills / 6)))
    began = time.monotonic()
    whole = start(suites, folder / "whole")
    assert whole.wait() == 0, whole.stderr.read().decode() if whole.stderr else ""
    undisturbed_seconds = time.monotonic() - began
    done = mid_trial = torn = 0
    while True:
        process = start(suites, folder / "killed")
        limit = None
        if done < kills:
            if chance.random() < 0.8:
                wait_for_work(process, folder / "killed")
            limit = chance.expovariate(1 / 0.3)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            KILLS[chance.choice(list(KILLS)) if tuned else "all"](process, chance)
            code = process.wait()
            done += 1
            mid_trial += any((folder / "killed").glob("*/checkpoints/*.pt"))
            torn += b"of an incomplete record" in (process.stderr.read() if process.stderr else b"")
            continue
        errors = process.stderr.read().decode() if process.stderr else ""
        assert code == 0, f"exit code {code} after {done} kills:\n{errors}"
        if done < kills:  # too few steps for so many kills: once more from the start, over what is there
            compare(folder)
            shutil.rmtree(folder / "killed")
            say(f"  {done} kills and every record the same; again from the start")
            continue
        break
    records = compare(folder)
    resumed = sum(
        '"record": "resumed"' in line
        for path in (folder / "killed").glob("*/trials/*.jsonl")
        for line in path.read_text().splitlines()
    )
    left = [
        str(path)
        for path in (folder / "killed").rglob("*")
        if path.name.startswith(".") or path.suffix == ".pt"
    ]
    assert not left, f"left behind: {left}"
    return {
        "kills": done,
        "kills_with_a_checkpoint_on_disk": mid_trial,
        "torn_records_repaired": torn,
        "resumptions_recorded": resumed,
        "records_compared": records,
        "undisturbed_seconds": round(undisturbed_seconds, 1),
        "seconds": round(time.monotonic() - began, 1),
        "seed": seed,
    }


def kill_all(process: subprocess.Popen[bytes], chance: random.Random) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_run(process: subprocess.Popen[bytes], chance: random.Random) -> None:
    process.kill()


def interrupt(process: subprocess.Popen[bytes], chance: random.Random) -> None:
    process.send_signal(signal.SIGINT)


def kill_worker(process: subprocess.Popen[bytes], chance: random.Random) -> None:
    """Kill one of the processes that the run has started; without any, the run. The run goes on and reports the trial as failed."""
    pids = children(process.pid)
    for pid in pids:
        pids += children(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(chance.choice(pids) if pids else process.pid, signal.SIGKILL)


KILLS = {"all": kill_all, "run": kill_run, "interrupt": interrupt, "worker": kill_worker}


def wait_for_work(process: subprocess.Popen[bytes], results: Path) -> None:
    """Until a trial writes a checkpoint, so that most kills hit measuring and not the imports before it."""
    since = time.time_ns()
    while process.poll() is None and latest_checkpoint(results) <= since:
        time.sleep(0.01)


def latest_checkpoint(results: Path) -> int:
    latest = 0
    for path in results.glob("*/checkpoints/*"):
        with contextlib.suppress(FileNotFoundError):
            latest = max(latest, path.stat().st_mtime_ns)
    return latest


def compare(folder: Path) -> int:
    """Number of records that are equal. Raises AssertionError with the first pair that is not."""
    expected, found = measured(folder / "whole"), measured(folder / "killed")
    assert expected.keys() == found.keys(), f"trials differ: {expected.keys() ^ found.keys()}"
    for name, records in expected.items():
        for one, other in zip(records, found[name], strict=False):
            assert one == other, f"{name}:\n  undisturbed {one}\n  killed      {other}"
        assert len(records) == len(found[name]), f"{name}: {len(records)} records became {len(found[name])}"
    return sum(map(len, expected.values()))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kills", type=int, nargs="?", default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--tuned", action="store_true", help="tuned suites, and other kinds of kills")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    try:
        print(json.dumps(torture(options.kills, options.seed, folder, tuned=options.tuned), indent=2))
    except AssertionError as error:
        print(f"seed {options.seed}, see {folder}: {error}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
