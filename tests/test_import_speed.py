"""4,000 log files of a competition's size, imported and reported as a person would: `pytest -m slow -s` tells the seconds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

COLUMNS = (
    "accumulated_eval_time,accumulated_logging_time,accumulated_submission_time,global_step,preemption_count,score,"
    "test/accuracy,test/bleu,test/loss,test/num_examples,total_duration,train/accuracy,train/bleu,train/loss,"
    "validation/accuracy,validation/bleu,validation/loss,validation/num_examples"
)
SUBMISSIONS, STUDIES, WORKLOADS, TRIALS, ROWS = 10, 5, 16, 5, 54


def _tree(folder: Path) -> None:
    random = np.random.default_rng(0)
    names = [f"w{number}" for number in range(WORKLOADS)]
    spec = {"target_metric_name": "accuracy", "validation_target_value": 0.9, "step_hint": 10_000}
    content = {
        "base_workloads": names,
        "held_out_workloads": ["w0_variant"],
        "workloads": dict.fromkeys([*names, "w0_variant"], spec),
    }
    folder.mkdir(exist_ok=True)
    (folder / "targets.json").write_text(json.dumps(content))
    for submission in range(SUBMISSIONS):
        for study in range(STUDIES):
            for name in names:
                for trial in range(1, TRIALS + 1):
                    place = (
                        folder
                        / "logs"
                        / f"s{submission}"
                        / f"study_{study}"
                        / f"{name}_jax"
                        / f"trial_{trial}"
                    )
                    place.mkdir(parents=True)
                    table = random.uniform(size=(ROWS, COLUMNS.count(",") + 1))
                    table[:, 2] = np.cumsum(table[:, 2]) * 100
                    table[:, 3] = np.arange(ROWS)
                    lines = "\n".join(",".join(map(repr, row)) for row in table.tolist())
                    (place / "eval_measurements.csv").write_text(f"{COLUMNS}\n{lines}\n")
                    (place / "hparams.json").write_text(json.dumps({"learning_rate": 0.1, "beta1": 0.9}))


@pytest.mark.slow
def test_four_thousand_log_files_are_imported_and_reported_within_a_minute(tmp_path):
    _tree(tmp_path)
    commands = [
        ["import", "algoperf", "logs", "--targets", "targets.json", "--results", "results"],
        ["report", "results", "--leaderboard"],
        ["report", "results", "--output", "report.md"],
    ]
    begin = time.perf_counter()
    for command in commands:
        subprocess.run([sys.executable, "-m", "optbench", *command], cwd=tmp_path, check=True)
        print(f"{command[0]}: {time.perf_counter() - begin:.1f} s since the start")
    assert time.perf_counter() - begin < 60
