"""Write an SQLite store for MLflow: the suite as experiment, one run per trial, values in double precision."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from optbench.exporting._runs import Run, Written
from optbench.store.files import make_folder

LIBRARIES = ("mlflow", "sqlalchemy", "alembic")  # mlflow-skinny has no database
_DIGEST, _TRIAL = "optbench.digest", "optbench.trial_id"
_AT_ONCE = 1000  # metrics that MLflow takes in one call
_LONGEST = 6000  # characters of a parameter
_ENDS = {
    "completed": "FINISHED",
    "stopped": "FINISHED",
    "paused": "FINISHED",
    "interrupted": "KILLED",
    "unfinished": "KILLED",
}


def export(runs: Iterable[Run], output: Path) -> Written:
    """Write `<output>/mlflow.db`. NaN is kept; an infinity becomes the largest double, as MLflow stores it.

    Runs are identified by the id of their trial: complete ones are unchanged; an incomplete one, or one whose trial has changed,
    is deleted (MLflow keeps it among the deleted) and written again. Raises `OptbenchError` if it cannot be written.
    """
    make_folder(output)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    mlflow: Any = import_module("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{(output / 'mlflow.db').resolve()}")
    new = same = replaced = 0
    experiments: dict[str, str] = {}
    for run in runs:
        if run.suite not in experiments:
            experiments[run.suite] = _experiment(client, run.suite, output)
        experiment = experiments[run.suite]
        known = client.search_runs([experiment], filter_string=f"tags.`{_TRIAL}` = '{run.id}'")
        if any(of.data.tags.get(_DIGEST) == run.digest for of in known):
            same += 1
            continue
        for of in known:
            client.delete_run(of.info.run_id)
        _write(client, mlflow.entities, run, experiment)
        new, replaced = new + (not known), replaced + bool(known)
    return Written(new, same, replaced)


def next_step(output: Path) -> str:
    return f"mlflow ui --backend-store-uri sqlite:///{(output / 'mlflow.db').resolve()}"


def _experiment(client: Any, suite: str, output: Path) -> str:
    known = client.get_experiment_by_name(suite)
    if known is not None:
        if known.lifecycle_stage == "deleted":
            client.restore_experiment(known.experiment_id)
        return str(known.experiment_id)
    return str(client.create_experiment(suite, artifact_location=(output / "artifacts").resolve().as_uri()))


def _write(client: Any, entities: Any, run: Run, experiment: str) -> None:
    begun = round(1000 * run.started_at)
    tags = {
        _TRIAL: run.id,
        "optbench.status": run.status,
        "optbench.optimizer": run.optimizer,
        "optbench.workload": run.workload,
        "mlflow.note.content": run.detail[:_LONGEST],
    }
    name = f"{run.optimizer} seed {run.seed}"
    of = client.create_run(experiment, start_time=begun, tags=tags, run_name=name).info.run_id
    params = [entities.Param(key, str(value)[:_LONGEST]) for key, value in run.settings.items()]
    metrics = [
        entities.Metric(key, float(value), begun + _milliseconds(point.train_seconds), point.step)
        for point in run.points
        for key, value in point.values.items()
    ]
    last = run.points[-1] if run.points else None
    at = begun + (_milliseconds(last.train_seconds) if last else 0)
    metrics += [
        entities.Metric(f"final/{key}", float(value), at, last.step if last else 0)
        for key, value in run.final.items()
    ]
    for start in range(0, len(params), 100):
        client.log_batch(of, params=params[start : start + 100])
    for start in range(0, len(metrics), _AT_ONCE):
        client.log_batch(of, metrics=metrics[start : start + _AT_ONCE])
    client.set_terminated(of, status=_ENDS.get(run.status, "FAILED"), end_time=at)
    client.set_tag(of, _DIGEST, run.digest)  # last: a run without it was cut off


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds) if math.isfinite(seconds) else 0
