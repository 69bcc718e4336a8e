"""Tables as loggers, spreadsheets and people write them: no value is lost, and nothing becomes NaN without a message."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest

from optbench.analysis.frames import passages_frame
from optbench.analysis.table import comparison
from optbench.errors import OptbenchError
from optbench.importing.tidy import Imported, ImportOptions, import_logs
from optbench.report.records import records
from optbench.store import Results, read
from program import optbench
from results_builder import a_suite, curve, diverged, finished, started, write

HEADER = "optimizer,seed,epoch,validation_accuracy\n"


def do_import(tmp_path: Path, content: str | bytes, name: str = "log.csv", **asked: object) -> Imported:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return import_logs("csv", [path], tmp_path / "results", ImportOptions(**asked))  # type: ignore[arg-type]


def stored(tmp_path: Path) -> Results:
    return read([tmp_path / "results"])


def statuses(tmp_path: Path) -> dict[str, str]:
    logs = stored(tmp_path).suites[0].logs
    return {log.trial["label"]: log.finished.status for log in logs}


def finals(tmp_path: Path, key: str = "optimizer") -> dict[str, float]:
    table = comparison(stored(tmp_path))
    return dict(zip(table[key], table["final_metric"], strict=True))


def reached_at(tmp_path: Path, unit: str) -> dict[str, float]:
    table = comparison(stored(tmp_path))
    return dict(zip(table["optimizer"], table[f"{unit}_to_target"], strict=True))


def curve_of(tmp_path: Path, label: str = "SGD") -> list[tuple[int, float]]:
    (log,) = (log for log in stored(tmp_path).suites[0].logs if log.trial["label"] == label)
    values = log.evaluations.metric("validation", "accuracy")
    return [(event.step, value) for event, value in zip(log.evaluations, values, strict=True)]


# --- rows of several kinds


LIGHTNING = """optimizer,run,epoch,step,train_acc_step,train_loss_step,val_acc,val_loss,train_acc_epoch,test_acc
SGD,0,0,49,0.50,1.2,,,,
SGD,0,0,99,,,0.71,0.9,,
SGD,0,0,99,,,,,0.55,
SGD,0,1,149,0.70,0.8,,,,
SGD,0,1,199,,,0.83,0.6,,
SGD,0,1,199,,,,,0.72,
SGD,0,2,200,,,,,,0.82
"""


def test_rows_of_one_step_are_one_evaluation(tmp_path):
    do_import(tmp_path, LIGHTNING, targets=("acc>=0.8",))
    (log,) = stored(tmp_path).suites[0].logs
    assert [event.step for event in log.evaluations] == [99, 199, 200]
    first = log.evaluations[0]
    assert first.metrics == {"validation": {"acc": 0.71, "loss": 0.9}, "train": {"acc_epoch": 0.55}}
    assert (statuses(tmp_path), finals(tmp_path)) == ({"SGD": "completed"}, {"SGD": 0.82})
    assert reached_at(tmp_path, "steps") == {"SGD": 199}


def test_the_interval_of_a_passage_begins_at_the_last_evaluation_that_has_the_metric(tmp_path):
    log = "optimizer,seed,step,val_acc,val_loss\nA,0,10,0.5,\nA,0,15,,0.9\nA,0,20,0.9,\n"
    do_import(tmp_path, log, targets=("acc>=0.8",))
    (passage,) = passages_frame(stored(tmp_path)).to_dict("records")
    assert (passage["steps_low"], passage["steps"]) == (10, 20)


def test_the_final_metric_is_of_the_last_evaluation_that_has_it(tmp_path):
    log = """name,seed,_step,_runtime,epoch,train/loss,val/accuracy
adam,0,50,5.2,1,1.1,
adam,0,51,5.9,1,,0.71
adam,0,101,9.8,2,,0.84
adam,0,102,10.1,2,0.79,
"""
    found = do_import(tmp_path, log, maps=("optimizer=name",), targets=("accuracy>=0.8",))
    assert (statuses(tmp_path), finals(tmp_path)) == ({"adam": "completed"}, {"adam": 0.84})
    assert reached_at(tmp_path, "seconds") == {"adam": 9.8}
    assert "without a validation or test metric: skipped (2;" in found.findings[0]


def test_a_test_row_at_the_end_gives_the_final_metric_and_takes_nothing_back(tmp_path):
    log = "optimizer,seed,epoch,validation_accuracy,test_accuracy\nSGD,0,1,0.71,\nSGD,0,2,0.83,\nSGD,0,2,,0.82\n"
    do_import(tmp_path, log + "Adam,0,1,0.75,\nAdam,0,2,0.88,\nAdam,0,3,,0.87\n", targets=("accuracy>=0.8",))
    assert finals(tmp_path) == {"SGD": 0.82, "Adam": 0.87}
    assert set(statuses(tmp_path).values()) == {"completed"}
    assert reached_at(tmp_path, "epochs") == {"SGD": 2, "Adam": 2}


def test_a_workload_has_the_metrics_that_it_has_values_of(tmp_path):
    log = """optimizer,workload,seed,step,test/accuracy,validation/accuracy,validation/ssim
a,imagenet,1,100,0.50,0.52,
a,imagenet,1,200,0.60,0.63,
a,fastmri,1,100,,,0.70
a,fastmri,1,200,,,0.72
"""
    do_import(tmp_path, log)
    table = comparison(stored(tmp_path)).set_index("workload")
    assert table["final_metric"].to_dict() == {"imagenet": 0.6, "fastmri": 0.72}
    assert table["metric"].to_dict() == {"imagenet": "accuracy", "fastmri": "ssim"}
    assert table["estimand"].to_dict() == {"imagenet": "last", "fastmri": "last_validation"}
    assert table["diverged"].tolist() == [0, 0]


def test_a_log_of_training_alone_has_a_final_metric_of_training(tmp_path):
    do_import(tmp_path, "optimizer,seed,step,train_acc\nSGD,0,1,0.5\nSGD,0,2,0.6\n")
    assert finals(tmp_path) == {"SGD": 0.6}
    assert comparison(stored(tmp_path))["estimand"].tolist() == ["last_train"]


def test_columns_of_training_logged_before_those_of_validation_are_no_restart(tmp_path):
    training = "".join(f"SGD,0,{step},{1 / step},\n" for step in range(1, 7))
    found = do_import(
        tmp_path, f"optimizer,seed,step,train_acc,val_accuracy\n{training}SGD,0,2,,0.5\nSGD,0,4,,0.6\n"
    )
    assert curve_of(tmp_path) == [(2, 0.5), (4, 0.6)]
    assert not any("restart" in line for line in found.findings)


# --- order


def test_a_log_with_the_newest_row_first_is_read_in_the_order_of_its_steps(tmp_path):
    log = "optimizer,seed,step,validation_accuracy\nSGD,0,300,0.90\nSGD,0,200,0.83\nSGD,0,100,0.71\n"
    found = do_import(tmp_path, log, targets=("accuracy>=0.8",))
    assert reached_at(tmp_path, "steps") == {"SGD": 200}
    assert "not ordered by step: sorted (1;" in found.findings[0]


def test_a_restart_replaces_what_contradicts_it(tmp_path):
    log = "optimizer,seed,step,validation_accuracy\n"
    log += "".join(
        f"SGD,0,{step},{value}\n" for step, value in [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.25), (4, 0.4)]
    )
    found = do_import(tmp_path, log)
    assert curve_of(tmp_path) == [(1, 0.1), (2, 0.25), (4, 0.4)]
    assert "as after a restart: replaced (2;" in found.findings[0]


# --- numbers


@pytest.mark.parametrize(
    "log",
    [
        "optimizer;seed;epoch;validation_accuracy\nSGD;0;1;0,71\nSGD;0;2;0,83\n",
        "optimizer\tseed\tepoch\tvalidation_accuracy\nSGD\t0\t1\t0,710\nSGD\t0\t2\t,83\n",
        HEADER + 'SGD,0,1,"0,71"\nSGD,0,2,"8,3e-1"\n',
        HEADER + "SGD,0,1,71.0%\nSGD,0,2,83 %\n",
        HEADER + "SGD,0,1,0.71\nSGD,0,2,0.83\n,,,\n,,,\n\n",
        '"optimizer","seed","epoch","validation_accuracy"\r\n"SGD","0","1","0.71"\r\n"SGD","0","2","0.83"\r\n',
        "sep=;\noptimizer;seed;epoch;validation_accuracy\nSGD;0;1;0.71\nSGD;0;2;0.83\n",
        '"sep=;"\r\noptimizer;seed;epoch;validation_accuracy\r\nSGD;0;1;71,0 %\r\nSGD;0;2;83,0%\r\n',
        "optimizer|seed|epoch|validation_accuracy\nSGD|0|1|0.71\nSGD|0|2|0.83\n",
        "optimizer,seed,epoch,validation_accuracy,,\nSGD,0,1,0.71,,\nSGD,0,2,0.83,,\n",
        HEADER + "SGD,0,1,0.71\n" + HEADER + "SGD,0,2,0.83\n",
        HEADER + "SGD,0,1,0.71\nepoch,optimizer,seed,validation_accuracy\n2,SGD,0,0.83\n",
        "Optimizer,Seed,Epoch,Val Accuracy\nSGD,0,1,0.71\nSGD,0,2,0.83\n",
        "optimizer,seed,epoch,eval/accuracy\nSGD,0,1,0.71\nSGD,0,2,0.83\n",
    ],
)
def test_every_way_to_write_a_table_gives_the_same_evaluations(tmp_path, log):
    do_import(tmp_path, log)
    assert curve_of(tmp_path) == [(1, 0.71), (2, 0.83)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings_are_recognised(tmp_path, encoding):
    found = do_import(tmp_path, (HEADER + "Bäcker,0,1,0.71\n").encode(encoding))
    assert found.optimizers == ("Bäcker",)
    assert any("Windows-1252" in line for line in found.findings) == (encoding == "cp1252")


def test_a_file_cut_off_within_a_character_stays_utf_8(tmp_path):
    found = do_import(tmp_path, (HEADER + "Bäcker,0,1,0.71\nB").encode() + b"\xc3")
    assert found.optimizers == ("Bäcker",)


def test_a_gzip_file_is_decompressed(tmp_path):
    do_import(tmp_path, gzip.compress((HEADER + "SGD,0,1,0.71\n").encode()), "log.csv.gz")
    assert stored(tmp_path).suites[0].name == "log"


def test_percent_signs_and_the_option_percent_divide_once(tmp_path):
    do_import(tmp_path, HEADER + "SGD,0,1,71.0%\nSGD,0,2,83\n", percent=("validation_accuracy",))
    assert [value for _, value in curve_of(tmp_path)] == [0.71, 0.83]


@pytest.mark.parametrize(
    "steps", [("1,000", "2,000"), ("1 000", "2 000"), ("1'000", "2'000"), ("1e3", "2000.0")]
)
def test_thousands_separators_of_steps_are_read(tmp_path, steps):
    rows = "".join(f'SGD,0,"{step}",0.5\n' for step in steps)
    do_import(tmp_path, "optimizer,seed,step,val_accuracy\n" + rows.replace("0.5", "0.6", 1))
    assert [step for step, _ in curve_of(tmp_path)] == [1000, 2000]


@pytest.mark.parametrize("step", ["1,000", "1.000"])
def test_a_step_that_may_be_1_or_1000_is_refused_beside_decimal_commas(tmp_path, step):
    with pytest.raises(OptbenchError, match=rf"log\.csv:2: .*found '{step}'"):
        do_import(tmp_path, f"optimizer;seed;step;val_accuracy\nSGD;0;{step};0,71\n")


@pytest.mark.parametrize("word", ["N/A", "n/a", "None", "null", "NULL", "-", "–", "#N/A", "<NA>", " "])
def test_words_for_missing_are_blank_cells(tmp_path, word):
    do_import(tmp_path, HEADER + f"SGD,0,1,0.71\nSGD,0,2,{word}\nSGD,0,3,0.83\nSGD,0,4,{word}\n")
    assert statuses(tmp_path) == {"SGD": "completed"}
    assert curve_of(tmp_path) == [(1, 0.71), (3, 0.83)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("SGD,0,2,good", r"log\.csv:3: expected a number in column 'validation_accuracy'; found 'good'"),
        ("SGD,0,x,0.5", r"log\.csv:3: expected a number in column 'epoch'; found 'x'"),
        ("SGD,0,inf,0.5", r"log\.csv:3: expected a finite epoch of at least 0"),
        ("SGD,0,-1,0.5", r"log\.csv:3: expected a finite epoch of at least 0"),
        ('SGD,0,2,"0,5,1"', r"log\.csv:3: expected a number"),
        ('SGD,0,2,"0.5', r"log\.csv:3: invalid CSV"),
    ],
)
def test_a_cell_that_cannot_be_read_is_an_error_with_its_line(tmp_path, row, message):
    with pytest.raises(OptbenchError, match=message):
        do_import(tmp_path, HEADER + f"SGD,0,1,0.4\n{row}\n")


@pytest.mark.parametrize("step", ["inf", "-5", "1.5", "1e300"])
def test_an_impossible_step_is_an_error_with_its_line(tmp_path, step):
    with pytest.raises(OptbenchError, match=r"log\.csv:2: expected a .*step"):
        do_import(tmp_path, f"optimizer,seed,step,val_accuracy\nSGD,0,{step},0.5\n")


def test_an_infinite_epoch_ends_the_program_with_a_message(tmp_path):
    (tmp_path / "i.csv").write_text(
        "optimizer,seed,epoch,step,validation_accuracy\nA,0,1,10,0.5\nA,0,inf,20,0.6\n"
    )
    done = optbench("import", "csv", "i.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "i.csv:3: expected a finite epoch" in done.stderr


def test_columns_of_text_with_the_name_of_a_metric_are_left_out_and_reported(tmp_path):
    found = do_import(tmp_path, "optimizer,seed,epoch,val_accuracy,val_image\nSGD,0,1,0.71,a.png\n")
    assert curve_of(tmp_path) == [(1, 0.71)]
    assert "columns without any number: skipped (1;" in found.findings[0]


def test_two_columns_of_one_metric_are_an_error(tmp_path):
    with pytest.raises(
        OptbenchError, match=r"'val_accuracy' and 'eval_accuracy' both match validation\.accuracy"
    ):
        do_import(tmp_path, "optimizer,seed,epoch,val_accuracy,eval_accuracy\nSGD,0,1,0.7,0.8\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\x00\x01\x02\x03" * 100, "binary data"),
        (b"PK\x03\x04rest", "Excel"),
        (b"\x1f\x8bnothing", "damaged gzip"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "binary data"),
    ],
)
def test_what_is_no_table_is_an_error(tmp_path, content, message):
    with pytest.raises(OptbenchError, match=rf"log\.csv: .*{message}"):
        do_import(tmp_path, content)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_an_endless_device_is_an_error(tmp_path):
    with pytest.raises(OptbenchError, match="a device: expected a file"):
        import_logs("csv", [Path("/dev/zero")], tmp_path / "results", ImportOptions())


def test_a_folder_is_an_error(tmp_path):
    with pytest.raises(OptbenchError, match="a folder: expected a file"):
        import_logs("csv", [tmp_path], tmp_path / "results", ImportOptions())


# --- NaN


DENSE = "optimizer,seed,epoch,val_accuracy,val_loss\nSGD,0,1,0.5,1.0\nSGD,0,2,0.1,nan\n"


def test_a_loss_that_ends_in_nan_is_a_divergence_whatever_the_accuracy_is(tmp_path):
    do_import(tmp_path, DENSE)
    assert statuses(tmp_path) == {"SGD": "diverged"}


@pytest.mark.parametrize("nan", ["nan", "NaN", "-nan", "1.#IND", "NAN"])
def test_a_metric_that_ends_in_nan_is_a_divergence(tmp_path, nan):
    do_import(tmp_path, HEADER + f"SGD,0,1,0.5\nSGD,0,2,{nan}\nAdam,0,1,{nan}\nAdam,0,2,0.6\n")
    assert statuses(tmp_path) == {"SGD": "diverged", "Adam": "completed"}


def test_a_training_loss_that_ends_in_nan_is_a_divergence(tmp_path):
    do_import(tmp_path, "optimizer,seed,epoch,train_loss,val_accuracy\nSGD,0,1,2.0,0.5\nSGD,0,2,NaN,0.1\n")
    assert statuses(tmp_path) == {"SGD": "diverged"}


@pytest.mark.parametrize("fill", ["nan", "NaN", ""])
def test_nan_in_rows_of_another_kind_is_a_missing_value(tmp_path, fill):
    log = "optimizer,seed,step,train_loss,val_accuracy,test_accuracy\n"
    log += f"SGD,0,50,1.1,{fill},{fill}\nSGD,0,51,{fill},0.71,{fill}\nSGD,0,101,{fill},0.84,{fill}\n"
    do_import(tmp_path, log + f"SGD,0,102,0.7,{fill},{fill}\nSGD,0,103,{fill},{fill},0.82\n")
    assert (statuses(tmp_path), finals(tmp_path)) == ({"SGD": "completed"}, {"SGD": 0.82})


def test_nan_beside_a_finite_training_loss_is_a_missing_value_if_the_metric_comes_back(tmp_path):
    log = "optimizer,seed,step,train_loss,val_accuracy\nSGD,0,1,1.1,nan\nSGD,0,2,0.9,0.71\nSGD,0,3,0.8,nan\n"
    do_import(tmp_path, log)
    assert (statuses(tmp_path), finals(tmp_path)) == ({"SGD": "completed"}, {"SGD": 0.71})


@pytest.mark.parametrize("value", ["-inf", "inf", "nan"])
def test_what_is_not_finite_reaches_no_target(tmp_path, value):
    log = f"optimizer,seed,epoch,validation_loss\nB,0,1,1.0\nB,0,2,{value}\nB,0,3,0.9\n"
    do_import(tmp_path, log, targets=("loss<=0.1",))
    assert comparison(stored(tmp_path))["reached"].tolist() == [0]


# --- names


def test_runs_called_1_and_1_0_are_two_runs(tmp_path):
    found = do_import(tmp_path, HEADER + "SGD,1,1,0.5\nSGD,1.0,1,0.6\nSGD,01,1,0.7\n")
    logs = stored(tmp_path).suites[0].logs
    assert (found.written.new, len(logs)) == (3, 3)
    assert {log.started.environment["run"]: log.trial["seed"] for log in logs} == {"1": 0, "1.0": 1, "01": 2}
    assert "names are the same number: treated as different runs" in found.findings[0]


def test_labels_that_spreadsheets_would_run_survive_records_and_import(tmp_path):
    labels = ["=1+1", "+x", "-x", "@x", "＝1", "＋1", "－1", "＠x", "'=1", "plain"]
    write(tmp_path / "own", a_suite(labels, seeds=1), {(label, 0): curve([0.5]) for label in labels})
    found = do_import(tmp_path, records(read([tmp_path / "own"])))
    assert list(found.optimizers) == labels


def test_a_diverged_trial_of_ours_stays_one(tmp_path):
    write(tmp_path / "own", a_suite(seeds=1), {("SGD", 0): curve([0.5]), ("Adam", 0): diverged()})
    do_import(tmp_path, records(read([tmp_path / "own"])))
    assert statuses(tmp_path) == {"SGD": "completed", "Adam": "diverged"}


@pytest.mark.parametrize(("status", "counts"), [("diverged", True), ("failed", True), ("interrupted", False)])
def test_a_trial_of_ours_that_ended_before_its_first_evaluation_stays_one(tmp_path, status, counts):
    lost = [started(), finished(status=status, epochs=0)]
    write(tmp_path / "own", a_suite(seeds=1), {("SGD", 0): curve([0.5]), ("Adam", 0): lost})
    do_import(tmp_path, records(read([tmp_path / "own"])))
    assert statuses(tmp_path) == {"SGD": "completed", "Adam": status}
    rows = comparison(stored(tmp_path)).set_index("optimizer")
    assert (rows.loc["Adam", "diverged"] + rows.loc["Adam", "failed"] == 1) == counts


def test_a_row_with_a_status_and_no_evaluation_is_a_trial(tmp_path):
    do_import(tmp_path, HEADER.replace("\n", ",status\n") + "SGD,0,1,0.5,completed\nAdam,0,,,diverged\n")
    assert statuses(tmp_path) == {"SGD": "completed", "Adam": "diverged"}
    assert comparison(stored(tmp_path)).set_index("optimizer")["diverged"].to_dict() == {"SGD": 0, "Adam": 1}


def test_records_in_json_can_be_imported(tmp_path):
    write(tmp_path / "own", a_suite(seeds=1), {("SGD", 0): curve([0.5]), ("Adam", 0): diverged()})
    (tmp_path / "records.json").write_text(records(read([tmp_path / "own"]), "json"))
    import_logs("jsonl", [tmp_path / "records.json"], tmp_path / "results", ImportOptions())
    assert statuses(tmp_path) == {"SGD": "completed", "Adam": "diverged"}


def test_rows_of_two_trials_with_one_name_are_refused(tmp_path):
    log = "optimizer,seed,trial_id,epoch,val_accuracy\nSGD,0,aa,1,0.5\nSGD,0,bb,1,0.6\n"
    with pytest.raises(OptbenchError, match=r"log\.csv:3: run '0' of 'SGD' has rows of the trials aa and bb"):
        do_import(tmp_path, log)


@pytest.mark.parametrize("pattern", ["{optimizer}_s{seed}", "{optimizer}_s{seed}.csv"])
def test_runs_can_be_named_by_their_files(tmp_path, pattern):
    paths = []
    for name in ("sgd_s0", "sgd_s1", "adam_s0"):
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text("epoch,val_acc\n1,0.5\n")
    found = import_logs("csv", paths, tmp_path / "results", ImportOptions(runs=pattern, name="runs"))
    assert (found.optimizers, found.written.new) == (("sgd", "adam"), 3)
    runs = [(log.trial["seed"], log.started.environment["run"]) for log in stored(tmp_path).suites[0].logs]
    assert sorted(runs) == [(0, "0"), (0, "0"), (1, "1")]


@pytest.mark.parametrize("pattern", ["{lr}", "plain", "{seed}{seed}"])
def test_a_wrong_pattern_of_runs_is_an_error(tmp_path, pattern):
    with pytest.raises(OptbenchError, match="--runs: expected a pattern"):
        do_import(tmp_path, "epoch,val_acc\n1,0.5\n", runs=pattern)


def test_a_hundred_thousand_rows_are_read_in_seconds(tmp_path):
    rows = "".join(f"SGD,{seed},{step},0.5,{1 / step},\n" for seed in range(10) for step in range(1, 10_001))
    found = do_import(tmp_path, "optimizer,seed,step,val_accuracy,train_loss,note\n" + rows)
    assert found.evaluations == 100_000
    assert math.isfinite(finals(tmp_path)["SGD"])
