"""Tuning of a small MLP: stacked trials of optbench against Optuna's usual objective function, which trains one model at a time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.running import ROOT, Figure, ratios, rounds, run

TRIALS, EPOCHS = 100, 10
BATCH, HIDDEN = 64, 64
RATES, MOMENTUM = (1e-3, 1.0), (1e-2, 0.5)  # of the learning rate, and of 1 minus the momentum


def tuning(count: int) -> Iterator[Figure]:
    """Measure trials per minute, with evaluations after each epoch, from the start of the first trial to the end of the last."""
    best: dict[str, list[float]] = {"optbench": [], "Optuna": []}
    whole: list[float] = []

    def stacked() -> float:
        workload = {
            "model": {"name": "mlp", "hidden": [HIDDEN]},
            "data": "digits",
            "batch_size": BATCH,
            "budget": {"epochs": EPOCHS},
        }
        entry = {
            "use": "torch.optim.SGD",
            "lr": {"log": list(RATES)},
            "momentum": {"one_minus_log": list(MOMENTUM)},
        }
        suite = {
            "workload": workload,
            "tuning": {"trials": TRIALS},
            "seeds": 1,
            "optimizers": {"SGD": entry},
        }
        ran = run(suite, "--device", "cpu")
        events = [(at, event) for at, event in ran.events if event.get("point")]
        starts = [at for at, event in events if event["event"] == "started"]
        ends = [at for at, event in events if event["event"] == "finished"]
        last = {
            e["trial"]: e["metrics"]["validation"]["accuracy"] for _, e in events if e["event"] == "evaluated"
        }
        assert len(ends) == TRIALS
        best["optbench"].append(max(last.values()))
        whole.append(ran.seconds)
        return 60 * TRIALS / (max(ends) - min(starts))

    def one_at_a_time() -> float:
        line = [
            sys.executable,
            "-m",
            "benchmarks.optuna_objective",
            "--trials",
            str(TRIALS),
            "--epochs",
            str(EPOCHS),
        ]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(line)}\n{done.stderr}")
        result = json.loads(done.stdout.splitlines()[-1])
        best["Optuna"].append(result["best"])
        return 60 * TRIALS / float(result["seconds"])

    pairs = rounds(max(1, count // 2), stacked, one_at_a_time)
    facts: dict[str, float | str] = {
        "trials per minute": statistics.median(ours for ours, _ in pairs),
        "of Optuna": statistics.median(theirs for _, theirs in pairs),
        "best validation accuracy": statistics.median(best["optbench"]),
        "of Optuna's": statistics.median(best["Optuna"]),
        "whole command with start-up and fresh seed, s": statistics.median(whole),
    }
    yield Figure(
        "tuning",
        f"MLP on digits, {TRIALS} trials of {EPOCHS} epochs: trials/min, optbench run / Optuna, one model at a time",
        "10",
        ratios(pairs),
        facts,
    )
