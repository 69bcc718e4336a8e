from __future__ import annotations

import math
from pathlib import Path

import pytest

from optbench.analysis.table import comparison
from optbench.errors import OptbenchError
from optbench.importing.tidy import ImportOptions, import_logs
from optbench.report import render
from optbench.report.records import records
from optbench.store import read
from program import optbench
from results_builder import a_suite, curve, diverged, write

MAPS = ("optimizer=opt", "seed=run", "epoch=ep", "accuracy=acc")
LOG = "opt,run,ep,acc\nAdam,0,1,0.5\nAdam,0,2,0.95\nSGD,0,1,0.4\nSGD,0,2,0.6\n"


def do_import(tmp_path: Path, *texts: str, **asked):
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"log{number}.csv")
        files[-1].write_text(text)
    return import_logs(
        "csv",
        files,
        tmp_path / "results",
        ImportOptions(**{"maps": MAPS, "targets": ("accuracy>=0.9",)} | asked),
    )


def stored(tmp_path: Path, folder: str = "results"):
    results = read([tmp_path / folder])
    assert results.suites[0].warnings == ()
    return results


def table(tmp_path: Path):
    return comparison(stored(tmp_path)).set_index("optimizer")


def test_a_log_with_mapped_columns_becomes_a_comparison(tmp_path):
    found = do_import(tmp_path, LOG)
    assert (found.optimizers, found.workloads, found.evaluations) == (("Adam", "SGD"), ("workload",), 4)
    rows = table(tmp_path)
    assert rows["epochs_to_target"].tolist() == [2, pytest.approx(math.nan, nan_ok=True)]
    assert rows["reached"].tolist() == [1, 0]
    assert rows["final_accuracy"].tolist() == [0.95, 0.6]
    assert rows["estimand"].unique().tolist() == ["last_validation"]


def test_columns_with_our_own_names_need_no_map(tmp_path):
    header = "optimizer,seed,step,seconds,val_accuracy,test_accuracy,train_loss,note"
    do_import(tmp_path, f"{header}\nAdam,3,10,1.5,0.95,0.9,0.2,hello\n", maps=())
    (log,) = stored(tmp_path).suites[0].logs
    (event,) = log.evaluations
    assert (log.trial["seed"], event.step, event.train_seconds, event.train_loss) == (3, 10, 1.5, 0.2)
    assert event.metrics == {"validation": {"accuracy": 0.95}, "test": {"accuracy": 0.9}}
    assert log.finished.final["last"] == {"accuracy": 0.9}


def test_what_optbench_records_can_be_imported_again(tmp_path):
    write(tmp_path / "own", a_suite(), {("SGD", 0): curve([0.5, 0.95]), ("Adam", 0): diverged()})
    own = read([tmp_path / "own"])
    do_import(tmp_path, records(own), maps=())
    before, after = comparison(own), comparison(stored(tmp_path))
    assert after["epochs_to_target"].dropna().tolist() == before["epochs_to_target"].dropna().tolist() == [2]
    assert after["workload"].tolist() == ["main", "main"]


def test_importing_twice_changes_nothing(tmp_path):
    first, second = do_import(tmp_path, LOG).written, do_import(tmp_path, LOG).written
    assert (first.new, second.new, second.same, second.set_aside) == (2, 0, 2, 0)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_are_seen_from_the_header(tmp_path, delimiter):
    assert do_import(tmp_path, LOG.replace(",", delimiter)).evaluations == 4


def test_several_workloads_each_with_a_target_of_its_own(tmp_path):
    log = "workload,opt,run,ep,acc\na,Adam,0,1,0.5\nb,Adam,0,1,0.5\na,SGD,0,1,0.4\nb,SGD,0,1,0.3\n"
    do_import(tmp_path, log, targets=("a:accuracy>=0.45", "b:accuracy<=0.3"))
    reached = comparison(stored(tmp_path)).set_index(["workload", "optimizer"])["reached"]
    assert reached.to_dict() == {("a", "Adam"): 1, ("a", "SGD"): 0, ("b", "Adam"): 0, ("b", "SGD"): 1}


def test_percent_becomes_fractions_with_the_option_and_is_refused_without(tmp_path):
    log = LOG.replace("0.95", "95").replace("0.5", "50").replace("0.4", "40").replace("0.6", "60")
    with pytest.raises(OptbenchError, match="--percent"):
        do_import(tmp_path, log)
    do_import(tmp_path, log, percent=("acc",))
    assert table(tmp_path)["final_accuracy"].tolist() == [0.95, 0.6]


def test_runs_of_the_same_name_pair_up_across_optimizers(tmp_path):
    log = "opt,run,ep,acc\nAdam,x,1,0.5\nAdam,y,1,0.6\nSGD,y,1,0.4\nSGD,x,1,0.3\n"
    do_import(tmp_path, log)
    logs = stored(tmp_path).suites[0].logs
    seeds = {(log.trial["label"], log.started.environment["run"]): log.trial["seed"] for log in logs}
    assert seeds == {("Adam", "x"): 0, ("Adam", "y"): 1, ("SGD", "x"): 0, ("SGD", "y"): 1}


def test_runs_with_names_of_their_own_are_numbered_for_each_optimizer(tmp_path):
    do_import(tmp_path, "opt,run,ep,acc\nAdam,17,1,0.5\nAdam,18,1,0.6\nSGD,19,1,0.4\n")
    assert sorted((log.trial["label"], log.trial["seed"]) for log in stored(tmp_path).suites[0].logs) == [
        ("Adam", 0),
        ("Adam", 1),
        ("SGD", 0),
    ]


def test_without_epochs_the_report_shows_steps_and_without_seconds_no_seconds(tmp_path):
    do_import(tmp_path, LOG.replace("ep,", "step,"), maps=("optimizer=opt", "accuracy=acc"))
    text = render(stored(tmp_path))
    header = text[: text.index("──")]
    assert "steps" in header
    assert "epochs" not in header
    assert "seconds" not in header


def test_without_steps_evaluations_are_numbered_by_their_clock_and_repeats_replaced(tmp_path):
    log = "opt,run,seconds,acc\nAdam,0,1.5,0.5\nAdam,0,3,0.6\nAdam,0,3,0.7\nAdam,0,4.5,0.95\n"
    do_import(tmp_path, log, maps=("optimizer=opt", "accuracy=acc"))
    (found,) = stored(tmp_path).suites[0].logs
    assert [(event.step, event.train_seconds) for event in found.evaluations] == [
        (1, 1.5),
        (2, 3.0),
        (3, 4.5),
    ]
    assert found.evaluations[1].metrics["validation"]["accuracy"] == 0.7


def test_lines_of_training_between_evaluations_are_left_out_and_reported(tmp_path):
    found = do_import(tmp_path, LOG + "SGD,0,3,\n")
    assert found.evaluations == 4
    assert "without a validation or test metric: skipped (1;" in found.findings[0]


def test_a_run_that_never_saw_a_number_diverged_and_is_not_dropped(tmp_path):
    do_import(tmp_path, LOG + "SGD,1,1,\nSGD,1,2,\nSGD,2,1,nan\n")
    row = table(tmp_path).loc["SGD"]
    assert (row["trials"], row["diverged"], row["reached"]) == (3, 2, 0)


def test_torn_and_nameless_rows_are_left_out_and_counted(tmp_path):
    found = do_import(tmp_path, LOG + "SGD,0\n,0,1,0.5\n")
    told = " ".join(found.findings)
    assert "cells than the header: skipped (1; first:" in told
    assert "without an optimizer, run or workload: skipped (1;" in told
    assert found.evaluations == 4


def test_one_run_in_two_files_is_an_error_and_different_runs_are_not(tmp_path):
    with pytest.raises(OptbenchError, match=r"is in .*log0\.csv too"):
        do_import(tmp_path, LOG, LOG)
    assert do_import(tmp_path, LOG, LOG.replace(",0,", ",1,")).written.new == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"maps": ()}, "no column for the optimizer"),
        ({"maps": ("optimizer=opt", "accuracy=acc")}, "no column for step, epoch or seconds"),
        ({"maps": ("optimizer=opt", "epoch=ep")}, "no column for a metric"),
        ({"maps": ("optimizer=opt", "epoch=ep", "accuracy=ac")}, "did you mean 'acc'"),
        ({"maps": ("optimizer", *MAPS)}, "expected FIELD=COLUMN"),
        ({"percent": ("accu",)}, "--percent: no column"),
        ({"targets": ("accuracy>0.9",)}, "expected METRIC>=VALUE"),
        ({"targets": ("accuracy>=much",)}, "expected METRIC>=VALUE"),
        ({"targets": ("acuracy>=0.9",)}, "did you mean 'validation.accuracy'"),
        ({"targets": ("cifar:accuracy>=0.9",)}, "no workload 'cifar'"),
        ({"baseline": "AdamW"}, "no such optimizer: 'AdamW'"),
    ],
)
def test_wrong_flags_state_what_is_wrong(tmp_path, asked, message):
    with pytest.raises(OptbenchError, match=message):
        do_import(tmp_path, LOG, **asked)


@pytest.mark.parametrize("content", ["", "\n\n", "opt,run,ep,acc\n", "opt,opt,ep,acc\n1,2,3,4\n"])
def test_a_file_without_evaluations_is_an_error_with_its_name(tmp_path, content):
    with pytest.raises(OptbenchError, match=r"log0\.csv"):
        do_import(tmp_path, content)


def test_the_command_line_imports_and_reports(tmp_path):
    (tmp_path / "runs.csv").write_text(LOG)
    maps = [part for text in MAPS for part in ("--map", text)]
    steps = [
        [
            "import",
            "csv",
            "runs.csv",
            *maps,
            "--target",
            "accuracy>=0.9",
            "--baseline",
            "SGD",
            "--results",
            "r",
        ],
        ["report", "r", "--format", "csv"],
    ]
    outputs = [optbench(*step, cwd=tmp_path).stdout for step in steps]
    assert "2 trials new" in outputs[0]
    assert outputs[1].splitlines()[1].startswith("runs,workload,2 epochs,validation accuracy >= 0.9,Adam")
    command = stored(tmp_path / "r", "").suites[0].plan.command
    assert command.endswith("--target 'accuracy>=0.9' --baseline SGD --results r --name runs")


@pytest.mark.parametrize(
    ("field", "meant"),
    [("sed", "seed"), ("stpe", "step"), ("optimiser", "optimizer"), ("lr", "learning_rate")],
)
def test_a_misspelt_field_is_an_error_that_names_the_field(tmp_path, field, meant):
    with pytest.raises(OptbenchError, match=f"no field '{field}': did you mean '{meant}'"):
        do_import(tmp_path, LOG, maps=(*MAPS, f"{field}=acc"))


def test_a_metric_may_have_any_name_and_with_its_split_that_of_a_field(tmp_path):
    for name in ("recon", "loss", "top5", "validation.speed"):
        do_import(tmp_path, LOG, maps=(*MAPS[:3], f"{name}=acc"), targets=(f"{name}>=0.9",))
        assert stored(tmp_path).suites[0].plan.metrics.keys() == {name.removeprefix("validation.")}
