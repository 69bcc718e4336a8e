"""Offline runs for Weights & Biases, to be sent with `wandb sync` or not at all: nothing here needs the network or an account."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from optbench.exporting._runs import Run, Written
from optbench.store.files import make_folder, write_whole

LIBRARIES = ("wandb",)
#: written into the folder of a complete run, by which a repeated export recognises it
_MARK = "optbench-digest"


def export(runs: Iterable[Run], output: Path) -> Written:
    """Write `<output>/wandb/offline-run-*-<id>/`, one per trial: the suite as project, the optimizer as group, the status in the summary.

    Steps are W&B's own; `train_seconds` is a series as the others. A run that was cut off, or whose trial has changed, is
    written again. Raises `OptbenchError` if it cannot be written.
    """
    make_folder(output)
    new = same = replaced = 0
    for run in runs:
        known = list((output / "wandb").glob(f"offline-run-*-{run.id}"))
        whole = [folder for folder in known if _digest(folder) == run.digest]
        if whole:
            same += 1
            continue
        for folder in known:
            shutil.rmtree(folder)
        _write(run, output)
        new, replaced = new + (not known), replaced + bool(known)
    return Written(new, same, replaced)


def next_step(output: Path) -> str:
    return f"wandb sync {output}/wandb/offline-run-*"


def _digest(folder: Path) -> str:
    try:
        return (folder / _MARK).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _write(run: Run, output: Path) -> None:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    wandb: Any = import_module("wandb")
    settings = wandb.Settings(
        mode="offline",
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    written = wandb.init(
        project=_name(run.suite),
        group=run.optimizer[:128],
        name=f"{run.optimizer[:100]} seed {run.seed}",
        job_type=run.workload[:64],
        id=run.id,
        dir=str(output),
        config=dict(run.settings),
        settings=settings,
    )
    folder = Path(written.settings.sync_dir)
    try:
        for point in run.points:
            written.log(point.values, step=point.step)
        for name, value in run.final.items():
            written.summary[f"final/{name}"] = value
        written.summary["status"] = run.status
        written.summary["detail"] = run.detail
    finally:
        written.finish(exit_code=0 if run.is_successful else 1)
    write_whole(folder / _MARK, run.digest + "\n")


def _name(text: str) -> str:
    """Return a name without characters that W&B rejects in a project's name, of at most 128 characters."""
    return "".join("-" if character in "/\\#?%:" else character for character in text)[:128]
