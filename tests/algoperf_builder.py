"""Folders of AlgoPerf logs, small enough to score by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEADER = (
    "accumulated_eval_time,accumulated_submission_time,global_step,test/accuracy,train/loss,"
    "validation/accuracy,validation/num_examples"
)
#: (step, seconds, validation accuracy) an evaluation
Curve = Sequence[tuple[float, float, float | str]]


def targets_file(folder: Path, **changes: Any) -> Path:
    """Base workloads `mnist` and `wmt` with target 0.9, `mnist_wide` held out, `mnist_deep` not scored."""
    accuracy = {"target_metric_name": "accuracy", "validation_target_value": 0.9, "step_hint": 100}
    content: dict[str, Any] = {
        "benchmark_version": "0.0",
        "base_workloads": ["mnist", "wmt"],
        "held_out_workloads": ["mnist_wide"],
        "workloads": dict.fromkeys(("mnist", "mnist_wide", "mnist_deep", "wmt"), accuracy),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "targets.json"
    path.write_text(json.dumps(content | changes))
    return path


def text(curve: Curve) -> str:
    return (
        "\n".join([HEADER, *(f"1.5,{seconds},{step},0.8,0.1,{value},100" for step, seconds, value in curve)])
        + "\n"
    )


def trial(
    logs: Path,
    submission: str,
    study: int,
    workload: str,
    number: int,
    content: Curve | str | None,
    hparams: Mapping[str, Any] | str | None = None,
) -> Path:
    """`content`: a curve, the file's text, or None for no file."""
    folder = logs / submission / f"study_{study}" / workload / f"trial_{number}"
    folder.mkdir(parents=True)
    if content is not None:
        written = content if isinstance(content, str) else text(content)
        (folder / "eval_measurements.csv").write_text(written)
    if hparams is not None:
        (folder / "hparams.json").write_text(hparams if isinstance(hparams, str) else json.dumps(hparams))
    return folder


def reaching(seconds: float) -> Curve:
    """Meets the target of 0.9 after that time."""
    return [(1, 1.0, 0.1), (50, seconds, 0.95), (60, seconds + 10, 0.5)]


NEVER: Curve = [(1, 1.0, 0.1), (50, 500.0, 0.89)]
