"""Logs of other tools: each becomes the same runs, whatever the tool."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from optbench.errors import OptbenchError
from optbench.importing.readers import known_readers, reader
from optbench.importing.tidy import Imported, ImportOptions, import_logs
from optbench.store import read
from program import optbench
from results_builder import a_suite, write
from results_builder import curve as trial_of

#: what each log below has, of each optimizer: step and validation accuracy
CURVES = {"adam": [(10, 0.5), (20, 0.9)], "sgd": [(10, 0.4), (20, 0.6)]}


def do_import(kind: str, tmp_path: Path, *paths: Path, **asked: object) -> Imported:
    asked = {"targets": ("accuracy>=0.8",), "name": "logs"} | asked
    return import_logs(kind, paths, tmp_path / "results", ImportOptions(**asked))  # type: ignore[arg-type]


def curves(tmp_path: Path) -> dict[str, list[tuple[int, float]]]:
    (suite,) = read([tmp_path / "results"]).suites
    return {
        log.trial["label"]: list(
            zip(
                (event.step for event in log.evaluations),
                log.evaluations.metric("validation", "accuracy"),
                strict=True,
            )
        )
        for log in suite.logs
    }


def seconds(tmp_path: Path, label: str) -> list[float]:
    (suite,) = read([tmp_path / "results"]).suites
    (log,) = (log for log in suite.logs if log.trial["label"] == label)
    return [event.train_seconds for event in log.evaluations]


def file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_readers_are_found_by_their_files_and_each_is_a_command(tmp_path):
    assert list(known_readers()) == ["csv", "jsonl", "lightning", "mlflow", "tensorboard", "wandb"]
    for kind in known_readers():
        assert f"optbench import {kind}" in optbench("import", kind, "--help", cwd=tmp_path).stdout


def test_an_unknown_reader_is_an_error_with_the_nearest():
    with pytest.raises(OptbenchError, match="did you mean 'mlflow'"):
        reader("mlfow")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "lightning", "mlflow", "wandb"])
def test_a_path_that_is_not_there_is_an_error(tmp_path, kind):
    with pytest.raises(OptbenchError, match="gone"):
        do_import(kind, tmp_path, tmp_path / "gone")


@pytest.mark.parametrize("kind", ["lightning", "mlflow"])
def test_a_folder_without_logs_is_an_error_that_states_what_is_expected(tmp_path, kind):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptbenchError, match=r"expected .*me"):
        do_import(kind, tmp_path, tmp_path / "empty")


# --- JSON lines


def test_json_lines_with_nested_objects(tmp_path):
    rows = [
        {"optimizer": name, "seed": 0, "step": step, "val": {"accuracy": value}, "note": [1, 2]}
        for name, curve in CURVES.items()
        for step, value in curve
    ]
    log = file(tmp_path / "log.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    assert do_import("jsonl", tmp_path, log).evaluations == 4
    assert curves(tmp_path) == CURVES


def test_json_lines_of_single_runs_and_rows_of_training(tmp_path):
    paths = []
    for name, curve in CURVES.items():
        rows = [{"step": step - 1, "loss": 0.5} for step, _ in curve]
        rows += [{"step": step, "eval_accuracy": value} for step, value in curve]
        paths.append(file(tmp_path / name / "0" / "log.jsonl", "\n".join(map(json.dumps, rows))))
    do_import("jsonl", tmp_path, *paths, runs="{optimizer}/{seed}/log.jsonl")
    assert curves(tmp_path) == CURVES


def test_the_trainer_state_of_hugging_face(tmp_path):
    paths = []
    for name, curve in CURVES.items():
        history = [{"step": step, "eval_accuracy": value, "eval_runtime": 3.0} for step, value in curve]
        text = json.dumps({"log_history": history, "best_metric": None})
        paths.append(file(tmp_path / name / "0" / "trainer_state.json", text))
    do_import("jsonl", tmp_path, *paths, runs="{optimizer}/{seed}/trainer_state.json")
    assert curves(tmp_path) == CURVES


def test_nan_in_json_is_a_divergence_and_null_is_a_missing_value(tmp_path):
    log = '{"optimizer": "a", "seed": 0, "step": 1, "val_loss": NaN}\n{"optimizer": "b", "seed": 0, "step": 1, "val_loss": 0.5}\n'
    do_import(
        "jsonl",
        tmp_path,
        file(tmp_path / "log.jsonl", log + log.replace("1,", "2,").replace("0.5", "null")),
        targets=(),
    )
    (suite,) = read([tmp_path / "results"]).suites
    assert {log.trial["label"]: log.finished.status for log in suite.logs} == {
        "a": "diverged",
        "b": "completed",
    }


@pytest.mark.parametrize("line", ["{", "[1]", "3", "text", '{"a":' * 10_000])
def test_a_line_that_is_no_json_object_is_an_error_with_its_number(tmp_path, line):
    log = file(tmp_path / "log.jsonl", f'{{"optimizer": "a"}}\n{line}\n{{"optimizer": "a"}}\n')
    with pytest.raises(OptbenchError, match=r"log\.jsonl:2: "):
        do_import("jsonl", tmp_path, log)


def test_a_last_line_that_was_cut_off_is_left_out_and_counted(tmp_path):
    row = '{"optimizer": "a", "seed": 0, "step": 1, "val_accuracy": 0.5}'
    found = do_import("jsonl", tmp_path, file(tmp_path / "log.jsonl", f"{row}\n{row[:20]}"))
    assert "incomplete lines at the end of the file: skipped (1;" in found.findings[0]


# --- Lightning


def lightning(folder: Path, curve: list[tuple[int, float]], **settings: object) -> Path:
    """A log of epochs of 10 steps, as Lightning writes it: counted from 0, with rows of training."""
    rows = "".join(
        f"{step // 10 - 1},{step - 1},,{value}\n{step // 10 - 1},{step - 1},0.1,\n" for step, value in curve
    )
    file(folder / "metrics.csv", "epoch,step,train_loss_epoch,val_accuracy\n" + rows)
    if settings:
        file(folder / "hparams.yaml", json.dumps(settings))
    return folder


def test_the_folders_of_lightning_are_optimizer_and_run(tmp_path):
    for name, curve in CURVES.items():
        lightning(tmp_path / "all" / name / "lightning_logs" / "version_0", curve)
    do_import("lightning", tmp_path, tmp_path / "all")
    assert curves(tmp_path) == CURVES


def test_hyperparameters_of_lightning_name_the_run(tmp_path):
    for version, (name, curve) in enumerate(CURVES.items()):
        folder = tmp_path / "lightning_logs" / f"version_{version}"
        lightning(folder, curve, optimizer=name, seed=7, val_size=0.1, epoch=99)
    do_import("lightning", tmp_path, tmp_path / "lightning_logs")
    assert curves(tmp_path) == CURVES
    (suite,) = read([tmp_path / "results"]).suites
    assert {log.trial["seed"] for log in suite.logs} == {7}
    assert suite.plan.rows[0].trial["workload"]["budget"]["value"] == 2


def epochs(tmp_path: Path) -> list[float]:
    (suite,) = read([tmp_path / "results"]).suites
    return [event.epoch for event in suite.logs[0].evaluations]


def test_epochs_and_steps_of_lightning_are_counted_from_one(tmp_path):
    log = "epoch,step,train_loss,val_accuracy,test_accuracy\n0,4,0.5,,\n0,9,,0.5,\n1,19,,0.9,\n2,20,,,0.8\n"
    file(tmp_path / "logs" / "adam" / "0" / "metrics.csv", log)
    do_import("lightning", tmp_path, tmp_path / "logs")
    assert curves(tmp_path) == {"adam": [(10, 0.5), (20, 0.9)]}
    assert epochs(tmp_path) == [1.0, 2.0]
    (suite,) = read([tmp_path / "results"]).suites
    assert suite.logs[0].evaluations[-1].metrics["test"] == {"accuracy": 0.8}


def test_evaluations_within_epochs_of_lightning_have_fractions_of_epochs(tmp_path):
    rows = "".join(f"{step // 10},{step},0.5\n" for step in (4, 9, 14, 19, 24))
    file(tmp_path / "logs" / "adam" / "0" / "metrics.csv", "epoch,step,val_accuracy\n" + rows)
    do_import("lightning", tmp_path, tmp_path / "logs")
    assert epochs(tmp_path) == [0.5, 1.0, 1.5, 2.0, 2.5]


def test_an_epoch_of_lightning_that_is_not_a_number_is_an_error_with_its_line(tmp_path):
    file(tmp_path / "logs" / "adam" / "0" / "metrics.csv", "epoch,step,val_accuracy\n0,9,0.5\nx,19,0.6\n")
    with pytest.raises(
        OptbenchError, match=r"metrics\.csv:3: expected a number in column 'epoch'; found 'x'"
    ):
        do_import("lightning", tmp_path, tmp_path / "logs")


# --- MLflow


def mlflow_run(
    root: Path, run: str, curve: list[tuple[int, float]], stage: str = "active", **params: str
) -> None:
    meta = {"run_id": run, "run_name": f"name of {run}", "lifecycle_stage": stage, "start_time": 1000}
    file(root / "0" / run / "meta.yaml", json.dumps(meta))
    lines = "".join(f"{1000 + 100 * step} {value} {step}\n" for step, value in reversed(curve))
    file(root / "0" / run / "metrics" / "val" / "accuracy", lines)
    for name, value in params.items():
        file(root / "0" / run / "params" / name, value)


def test_the_folder_of_mlflow(tmp_path):
    file(tmp_path / "mlruns" / "0" / "meta.yaml", "experiment_id: '0'\n")
    for name, curve in CURVES.items():
        mlflow_run(tmp_path / "mlruns", f"r{name}", curve, optimizer=name, seed="3", val_size="0.2")
    mlflow_run(tmp_path / "mlruns", "old", CURVES["sgd"], "deleted", optimizer="sgd", seed="3")
    found = do_import("mlflow", tmp_path, tmp_path / "mlruns")
    assert curves(tmp_path) == CURVES
    assert seconds(tmp_path, "adam") == [1.0, 2.0]
    assert "deleted runs: skipped (1;" in " ".join(found.findings)


def test_runs_of_mlflow_without_parameters_are_named_by_the_run(tmp_path):
    mlflow_run(tmp_path / "mlruns", "r1", CURVES["sgd"])
    assert do_import("mlflow", tmp_path, tmp_path / "mlruns").optimizers == ("name of r1",)


def test_a_line_of_mlflow_that_cannot_be_read_is_an_error_with_its_number(tmp_path):
    mlflow_run(tmp_path / "mlruns", "r1", CURVES["sgd"])
    file(tmp_path / "mlruns" / "0" / "r1" / "metrics" / "val" / "loss", "1 0.5 1\n2 x 2\n")
    with pytest.raises(OptbenchError, match="loss:2: expected 'timestamp value step'"):
        do_import("mlflow", tmp_path, tmp_path / "mlruns")


# --- Weights & Biases


def test_charts_of_wandb_have_a_column_per_run_and_are_joined(tmp_path):
    names = [f"{name}-0 - val/accuracy" for name in CURVES]
    header = ",".join(f'"{name}{end}"' for name in names for end in ("", "__MIN", "__MAX"))
    rows = [
        f'"{step}",' + ",".join(f'"{CURVES[name][index][1]}"' for name in CURVES for _ in range(3))
        for index, step in enumerate((10, 20))
    ]
    accuracy = file(tmp_path / "accuracy.csv", "\n".join([f'"Step",{header}', *rows]))
    loss = file(
        tmp_path / "loss.csv", '"Step","adam-0 - val/loss","sgd-0 - val/loss"\n10,0.7,\n10,,0.8\n20,0.5,0.6\n'
    )
    do_import("wandb", tmp_path, accuracy, loss, runs="{optimizer}-{seed}")
    assert curves(tmp_path) == CURVES
    (suite,) = read([tmp_path / "results"]).suites
    assert {log.trial["label"]: log.evaluations[-1].metrics["validation"]["loss"] for log in suite.logs} == {
        "adam": 0.5,
        "sgd": 0.6,
    }


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_histories_of_wandb(tmp_path, suffix):
    paths = []
    for name, curve in CURVES.items():
        rows = [{"_step": step, "_runtime": 1.5 * step, "val/accuracy": value} for step, value in curve]
        text = "\n".join(map(json.dumps, rows))
        if suffix == "csv":
            text = "_step,_runtime,val/accuracy\n" + "\n".join(
                ",".join(map(str, row.values())) for row in rows
            )
        paths.append(file(tmp_path / f"{name}_0.{suffix}", text))
    do_import("wandb", tmp_path, *paths, runs="{optimizer}_{seed}")
    assert curves(tmp_path) == CURVES
    assert seconds(tmp_path, "sgd") == [15.0, 30.0]


def test_epochs_and_steps_of_lightning_in_wandb_are_counted_from_one(tmp_path):
    rows = [
        {"_step": 0, "_runtime": 1.0, "epoch": 0, "trainer/global_step": 4, "train_loss": 0.5},
        {"_step": 1, "_runtime": 2.0, "epoch": 0, "trainer/global_step": 9, "val/accuracy": 0.5},
        {"_step": 2, "_runtime": 3.0, "epoch": 1, "trainer/global_step": 19, "val/accuracy": 0.9},
        {"_step": 3, "_runtime": 4.0, "epoch": 2, "trainer/global_step": 20, "test/accuracy": 0.8},
    ]
    history = file(tmp_path / "adam_0.jsonl", "\n".join(map(json.dumps, rows)))
    do_import("wandb", tmp_path, history, runs="{optimizer}_{seed}")
    assert curves(tmp_path) == {"adam": [(10, 0.5), (20, 0.9)]}
    assert epochs(tmp_path) == [1.0, 2.0]


def test_an_evaluation_at_step_0_is_reported(tmp_path):
    rows = "optimizer,seed,step,val_accuracy\na,0,0,0.1\na,0,10,0.9\nb,0,10,0.9\n"
    found = do_import("csv", tmp_path, file(tmp_path / "log.csv", rows))
    assert [text for text in found.findings if "counts from 0 (1; first: workload a 0)" in text]


# --- TensorBoard


def test_without_tensorboard_the_message_names_the_extra(tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(OptbenchError, match=r"pip install 'optbench\[tensorboard\]'"):
        do_import("tensorboard", tmp_path, tmp_path)


def events(folder: Path, tag: str, curve: list[tuple[int, float]], start: float = 100.0) -> None:
    record_writer = pytest.importorskip(
        "tensorboard.summary.writer.record_writer", reason="needs tensorboard"
    )
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"events.out.tfevents.{len(list(folder.iterdir()))}").open("wb") as opened:
        writer = record_writer.RecordWriter(opened)
        writer.write(Event(wall_time=start, file_version="brain.Event:2").SerializeToString())
        for step, value in curve:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            event = Event(wall_time=start + step, step=step, summary=summary)
            writer.write(event.SerializeToString())


def rounded(found: dict[str, list[tuple[int, float]]]) -> dict[str, list[tuple[int, float]]]:
    return {name: [(step, round(value, 6)) for step, value in curve] for name, curve in found.items()}


@pytest.mark.parametrize("tag", ["val/accuracy", "Accuracy/val", "validation_accuracy"])
def test_event_files_in_folders_of_optimizer_and_seed(tmp_path, tag):
    for name, curve in CURVES.items():
        events(tmp_path / "runs" / name / "0", tag, curve)
        events(tmp_path / "runs" / name / "0", "Loss/train", [(step, 1.0) for step, _ in curve])
    do_import("tensorboard", tmp_path, tmp_path / "runs")
    assert rounded(curves(tmp_path)) == CURVES
    assert seconds(tmp_path, "adam") == [10.0, 20.0]


def test_the_splits_of_keras_are_folders_of_one_run(tmp_path):
    for name, curve in CURVES.items():
        events(tmp_path / "runs" / name / "train", "accuracy", curve)
        events(tmp_path / "runs" / name / "validation", "accuracy", curve)
    assert do_import("tensorboard", tmp_path, tmp_path / "runs").written.new == 2
    assert rounded(curves(tmp_path)) == CURVES


def test_what_pytorch_writes_into_subfolders_is_part_of_the_run(tmp_path):
    for name, curve in CURVES.items():
        run = tmp_path / "runs" / f"{name}_s0"
        events(run, "Loss/train", [(step, 1.0) for step, _ in curve])
        events(run / "accuracy_val", "accuracy", curve)
        events(run / "1795909491.7822452", "hparam/best", [(0, 0.9)])
    do_import("tensorboard", tmp_path, tmp_path / "runs", runs="{optimizer}_s{seed}")
    assert rounded(curves(tmp_path)) == CURVES


def test_an_export_to_tensorboard_can_be_imported(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    write(
        tmp_path / "own",
        a_suite(seeds=1),
        {("SGD", 0): trial_of([0.5, 0.75]), ("Adam", 0): trial_of([0.25, 0.5])},
    )
    assert optbench("export", "tensorboard", "own", "--output", "events", cwd=tmp_path).returncode == 0
    do_import("tensorboard", tmp_path, tmp_path / "events", maps=("optimizer=label",))
    assert curves(tmp_path) == {"SGD": [(10, 0.5), (20, 0.75)], "Adam": [(10, 0.25), (20, 0.5)]}


def test_an_event_file_that_was_cut_off_is_read_up_to_there(tmp_path):
    events(tmp_path / "runs" / "adam" / "0", "val/accuracy", CURVES["adam"])
    (log,) = (tmp_path / "runs" / "adam" / "0").iterdir()
    log.write_bytes(log.read_bytes()[:-5])
    do_import("tensorboard", tmp_path, tmp_path / "runs")
    assert rounded(curves(tmp_path)) == {"adam": CURVES["adam"][:1]}
