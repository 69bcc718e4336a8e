"""`optbench export`: what TensorBoard, Weights & Biases and MLflow read back is what `optbench records` tells."""

from __future__ import annotations

import importlib
import math
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from optbench.analysis.frames import evaluations_frame
from optbench.cli.app import app
from optbench.errors import OptbenchError
from optbench.exporting import exporter, known_tools
from optbench.exporting._runs import Run, runs_of
from optbench.store import read
from results_builder import a_suite, curve, diverged, evaluated, failed, finished, started, write

TOOLS = ("mlflow", "tensorboard", "wandb")
LABELS = ("SGD", "🦁 <b>Lion</b> / 100%")


def needs(tool: str) -> Any:
    return pytest.importorskip(tool, reason=f"pip install 'optbench[{tool}]' to test against the real reader")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole trial, one that diverged, one with NaN and infinities, one that crashed before its first evaluation."""
    wild = [
        started(),
        evaluated(1, 0.1234567890123456, train_loss=math.nan, gradient_norm=math.inf),
        evaluated(2, 0.2, train_loss=-math.inf),
        finished(0.2, epochs=2),
    ]
    events = {
        (LABELS[0], 0): curve([1 / 3, 2 / 3, 0.91]),
        (LABELS[0], 1): failed(),
        (LABELS[1], 0): diverged(),
        (LABELS[1], 1): wild,
    }
    write(tmp_path / "results", a_suite(LABELS, seeds=2), events)
    return tmp_path / "results"


def export(tool: str, folder: Path, output: Path) -> Result:
    return CliRunner().invoke(
        app, ["export", tool, str(folder), "--output", str(output)], catch_exceptions=False
    )


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_has_the_values_of_the_records_bit_for_bit(folder: Path) -> None:
    results = read([folder])
    runs = {run.id: run for run in runs_of(results)}
    assert len(runs) == 4
    records = evaluations_frame(results)
    told = 0
    for record in records[records["epoch"].notna()].to_dict("records"):
        run = runs[record["trial_id"]]
        [point] = [point for point in run.points if point.step == record["step"]]
        for name, value in point.values.items():
            stored = record[name.replace("/", "_")]
            assert struct.pack("d", stored) == struct.pack("d", value), name
            told += 1
    assert told > 80
    assert {run.status for run in runs.values()} == {"completed", "diverged", "failed"}


def test_tools_are_found_by_their_files() -> None:
    assert tuple(known_tools()) == TOOLS
    with pytest.raises(OptbenchError, match="did you mean 'tensorboard'"):
        exporter("tensorbord")


@pytest.mark.parametrize(
    ("tool", "library"), [*((tool, tool) for tool in TOOLS), ("mlflow", "sqlalchemy")], ids=str
)
def test_a_missing_library_is_reported_with_what_to_install(
    tool: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name == library:
            raise ModuleNotFoundError(name)
        return real(name, *rest) if name.startswith("optbench") else None

    monkeypatch.setattr("optbench.exporting.import_module", without)
    with pytest.raises(OptbenchError, match=rf"requires {library}, .*pip install 'optbench\[{tool}\]'"):
        exporter(tool)


def test_tensorboard_reads_what_was_measured(folder: Path, tmp_path: Path) -> None:
    needs("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = tmp_path / "tb"
    export("tensorboard", folder, output)
    for run in runs_of(read([folder])):
        found = EventAccumulator(str(output / run.suite / run.name), size_guidance={"scalars": 0})
        found.Reload()
        tags = found.Tags()["scalars"]
        for name in {name for point in run.points for name in point.values}:
            shown = [(e.step, e.wall_time, e.value) for e in found.Scalars(name)]
            wanted = [
                (point.step, point.train_seconds, float(np.float32(point.values[name])))
                for point in run.points
                if name in point.values
            ]
            assert repr(shown) == repr(wanted)
        assert {f"final/{name}" for name in run.final} <= set(tags)
        [text] = found.Tensors("status")
        assert text.tensor_proto.string_val[0].decode().startswith(run.status)
        assert statuses(output / run.suite / run.name) == [2 if not run.is_successful else 1]
    before = content(output)
    assert "0 runs new, 4 unchanged" in export("tensorboard", folder, output).stdout
    assert content(output) == before


def statuses(folder: Path) -> list[int]:
    """Of the ends of sessions, as the plugin for hyperparameters reads them."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import metadata

    found = []
    for event in EventFileLoader(str(next(folder.iterdir()))).Load():
        for value in event.summary.value:
            if value.tag == metadata.SESSION_END_INFO_TAG:
                data = metadata.parse_session_end_info_plugin_data(value.metadata.plugin_data.content)
                found.append(data.status)
            if value.tag == metadata.SESSION_START_INFO_TAG:
                start = metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
                assert start.hparams["workload.batch_size"].number_value == 64
    return found


def test_tensorboard_bytes_do_not_depend_on_the_process(folder: Path, tmp_path: Path) -> None:
    needs("tensorboard")
    code = "import sys; from optbench.cli.app import app; app(sys.argv[1:])"
    for name in ("a", "b"):
        arguments = ["export", "tensorboard", str(folder), "--output", str(tmp_path / name)]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    assert content(tmp_path / "a") == content(tmp_path / "b")


@pytest.mark.slow
def test_mlflow_reads_what_was_measured(folder: Path, tmp_path: Path) -> None:
    mlflow = needs("mlflow")
    output = tmp_path / "ml"
    export("mlflow", folder, output)
    assert "0 runs new, 4 unchanged" in export("mlflow", folder, output).stdout
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{output / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("digits").experiment_id
    stored = {of.data.tags["optbench.trial_id"]: of for of in client.search_runs([experiment])}
    runs = {run.id: run for run in runs_of(read([folder]))}
    assert stored.keys() == runs.keys()
    ends = {"completed": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}
    for name, run in runs.items():
        of = stored[name]
        assert of.info.status == ends[run.status]
        assert of.data.tags["optbench.status"] == run.status
        assert of.data.params["workload.batch_size"] == "64"
        for metric in {metric for point in run.points for metric in point.values}:
            shown = {m.step: m.value for m in client.get_metric_history(of.info.run_id, metric)}
            wanted = {p.step: as_mlflow(p.values[metric]) for p in run.points if metric in p.values}
            assert repr(sorted(shown.items())) == repr(sorted(wanted.items())), metric


def as_mlflow(value: float) -> float:
    """Its store has NaN, and the greatest double for an infinity."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else float(value)


def test_wandb_reads_what_was_measured(folder: Path, tmp_path: Path) -> None:
    needs("wandb")
    output = tmp_path / "wb"
    export("wandb", folder, output)
    before = {name for name in content(output) if name.endswith(".wandb")}
    assert "0 runs new, 4 unchanged" in export("wandb", folder, output).stdout
    assert {name for name in content(output) if name.endswith(".wandb")} == before
    runs = {run.id: run for run in runs_of(read([folder]))}
    assert len(before) == len(runs)
    for file in before:
        run = runs[Path(file).stem.removeprefix("run-")]
        check_wandb(output / file, run)


def check_wandb(file: Path, run: Run) -> None:
    import json

    history: dict[int, dict[str, Any]] = {}
    summary: dict[str, Any] = {}
    config: dict[str, Any] = {}
    exit_code = None
    for record in wandb_records(file):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            history[int(items["_step"])] = items
        elif kind == "summary":
            items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.summary.update}
            summary |= items
        elif kind == "run":
            config |= {i.key: json.loads(i.value_json) for i in record.run.config.update}
        elif kind == "exit":
            exit_code = record.exit.exit_code
    assert sorted(history) == [point.step for point in run.points]
    for point in run.points:
        for name, value in point.values.items():
            shown = history[point.step][name]
            assert repr(float(shown)) == repr(float(value)), name
    assert summary["status"] == run.status
    assert exit_code == (0 if run.is_successful else 1)
    assert config["workload.batch_size"] == 64


def wandb_records(file: Path) -> Iterator[Any]:
    """W&B's transaction log with its own messages: LevelDB's log format, 7 bytes of header, then blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, block, position, parts = file.read_bytes(), 32 * 1024, 7, b""
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        if block - position % block < 7:
            position += block - position % block
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        position += 7
        parts += data[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def test_what_a_killed_export_left_is_written_again(folder: Path, tmp_path: Path) -> None:
    needs("tensorboard")
    output = tmp_path / "out"
    export("tensorboard", folder, output)
    file = next(output.rglob("events*"))
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    assert "1 replaced" in export("tensorboard", folder, output).stdout
    assert file.read_bytes() == whole


def test_a_wandb_run_without_its_mark_is_written_again(folder: Path, tmp_path: Path) -> None:
    needs("wandb")
    output = tmp_path / "out"
    export("wandb", folder, output)
    next(output.rglob("optbench-digest")).unlink()
    assert "0 runs new, 3 unchanged, 1 replaced" in export("wandb", folder, output).stdout
    assert len(list(output.rglob("*.wandb"))) == 4


def test_a_file_in_the_place_of_the_folder_is_reported(folder: Path, tmp_path: Path) -> None:
    needs("tensorboard")
    (tmp_path / "file").touch()
    with pytest.raises(OptbenchError, match="expected a folder"):
        export("tensorboard", folder, tmp_path / "file")
