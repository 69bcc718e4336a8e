from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from algoperf_builder import HEADER, NEVER, reaching, targets_file, text, trial
from optbench.analysis.leaderboard import trial_times
from optbench.errors import OptbenchError
from optbench.importing.algoperf import import_algoperf
from optbench.importing.targets import read_targets
from optbench.store import SuiteFolder, make_plan, read
from results_builder import a_suite, trials_of


@pytest.fixture
def logs(tmp_path) -> Path:
    return tmp_path / "logs"


def do_import(tmp_path: Path, **changes):
    return import_algoperf(tmp_path / "logs", targets_file(tmp_path, **changes), tmp_path / "results")


def stored(tmp_path: Path):
    (suite,) = read([tmp_path / "results"]).suites
    assert suite.warnings == ()
    return suite


def only_log(tmp_path: Path):
    (log,) = stored(tmp_path).logs
    return log


def seconds(tmp_path: Path) -> list[float]:
    return sorted(trial_times(stored(tmp_path))["seconds"])


# --- what is kept


def test_a_trial_keeps_its_numbers_names_and_hyperparameters(tmp_path, logs):
    trial(logs, "adam", 2, "mnist_jax", 3, [(10, 5.0, 0.5), (20, 9.0, 0.95)], {"learning_rate": 0.001})
    found = do_import(tmp_path)
    log = only_log(tmp_path)
    assert (found.submissions, found.workloads, found.evaluations) == (("adam",), ("mnist",), 2)
    assert (log.trial["label"], log.trial["workload_name"]) == ("adam", "mnist")
    assert log.started.hyperparameters == [{"learning_rate": 0.001}]
    assert log.started.environment == {
        "imported": "algoperf",
        "framework": "jax",
        "study": 2,
        "trial": 3,
        "source": "adam/study_2/mnist_jax/trial_3",
    }
    last = log.evaluations[-1]
    assert (last.step, last.train_seconds, last.evaluation_seconds, last.train_loss) == (20, 9.0, 1.5, 0.1)
    assert last.metrics["validation"] == {"accuracy": 0.95}
    assert last.metrics["test"] == {"accuracy": 0.8}
    assert math.isnan(last.epoch)
    assert log.finished.status == "completed"


def test_the_command_that_repeats_an_import_names_the_results_folder(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, NEVER)
    do_import(tmp_path)
    assert stored(tmp_path).plan.command.endswith(f"--results {tmp_path / 'results'} --name logs")


def test_the_targets_file_is_part_of_the_plan(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, NEVER)
    do_import(tmp_path)
    plan = stored(tmp_path).plan
    assert plan.provenance["targets"] == json.loads((tmp_path / "targets.json").read_text())
    assert plan.provenance["leaderboard"] == {"base": ["mnist", "wmt"], "held_out": {"mnist_wide": "mnist"}}
    assert plan.rows[0].trial["workload"]["target"][0]["at_least"] == 0.9


def test_importing_twice_changes_nothing(tmp_path, logs):
    for number in (1, 2):
        trial(logs, "adam", 0, "mnist_jax", number, NEVER)
    first, second = do_import(tmp_path).written, do_import(tmp_path).written
    assert (first.new, first.same, first.replaced) == (2, 0, 0)
    assert (second.new, second.same, second.replaced) == (0, 2, 0)
    assert len(stored(tmp_path).logs) == 2


def test_a_log_that_has_grown_replaces_what_was_imported(tmp_path, logs):
    folder = trial(logs, "adam", 0, "mnist_jax", 1, NEVER)
    do_import(tmp_path)
    (folder / "eval_measurements.csv").write_text(text([*NEVER, (90, 700.0, 0.99)]))
    assert do_import(tmp_path).written.replaced == 1
    assert seconds(tmp_path) == [700.0]


def test_a_trial_that_left_the_logs_is_moved_out_of_the_way(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, reaching(10.0))
    trial(logs, "adam", 0, "mnist_jax", 2, reaching(20.0)).rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(logs / "adam" / "study_0" / "mnist_jax" / "trial_2")
    do_import(tmp_path)
    (logs / "adam" / "study_0" / "mnist_jax" / "trial_2").rename(tmp_path / "gone")
    assert do_import(tmp_path).written.set_aside == 1
    assert seconds(tmp_path) == [10.0]


def test_results_that_optbench_measured_are_never_mixed_with_imported_ones(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, NEVER)
    folder = SuiteFolder.of(tmp_path / "results", "logs")
    folder.create()
    suite = a_suite()
    folder.write_plan(make_plan("logs", suite, trials_of(suite)))
    with pytest.raises(OptbenchError, match="another --name"):
        do_import(tmp_path)


# --- folders


def test_frameworks_are_distinguished_from_workloads_by_the_targets_file(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_wide_pytorch", 1, reaching(10.0))
    trial(logs, "adam", 0, "wmt", 1, reaching(20.0))
    do_import(tmp_path)
    found = {
        log.trial["workload_name"]: log.started.environment["framework"] for log in stored(tmp_path).logs
    }
    assert found == {"mnist_wide": "pytorch", "wmt": ""}


def test_runs_of_several_frameworks_are_all_kept_and_pooled_by_study(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, reaching(10.0))
    trial(logs, "adam", 0, "mnist_pytorch", 1, reaching(20.0))
    assert "several frameworks" in " ".join(do_import(tmp_path).findings)
    assert seconds(tmp_path) == [10.0, 20.0]
    assert trial_times(stored(tmp_path))["study"].tolist() == [0, 0]


def test_one_submission_can_be_imported_by_its_own_folder(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, NEVER)
    found = import_algoperf(logs / "adam", targets_file(tmp_path), tmp_path / "results")
    assert found.submissions == ("adam",)


def test_submissions_below_folders_of_teams_are_found(tmp_path, logs):
    trial(logs / "team_a", "adam", 0, "mnist_jax", 1, NEVER)
    trial(logs / "team_b", "adam", 0, "mnist_jax", 1, NEVER)
    trial(logs / "team_b", "sgd", 0, "mnist_jax", 1, NEVER)
    assert do_import(tmp_path).submissions == ("sgd", "team_a/adam", "team_b/adam")


def test_rulesets_are_never_mixed(tmp_path, logs):
    trial(logs / "external_tuning", "adam", 0, "mnist_jax", 1, NEVER)
    trial(logs / "self_tuning", "adam", 0, "mnist_jax", 1, NEVER)
    with pytest.raises(OptbenchError, match="scored separately"):
        do_import(tmp_path)


def test_a_study_that_lacks_a_workload_is_reported(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, reaching(10.0))
    trial(logs, "adam", 0, "wmt_jax", 1, reaching(10.0))
    trial(logs, "adam", 1, "mnist_jax", 1, reaching(10.0))
    assert "adam wmt: not in study 1" in " ".join(do_import(tmp_path).findings)


def test_workloads_without_a_target_are_left_out_and_reported(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, NEVER)
    trial(logs, "adam", 0, "finewebedu_lm_jax", 1, NEVER)
    found = do_import(tmp_path)
    assert found.workloads == ("mnist",)
    assert "'finewebedu_lm', which has no target: skipped (1;" in " ".join(found.findings)


@pytest.mark.parametrize("make", ["nothing", "file", "empty", "foreign"])
def test_a_folder_without_logs_is_an_error_that_states_what_was_expected(tmp_path, logs, make):
    if make == "file":
        logs.write_text("")
    elif make != "nothing":
        (logs / "some" / "folder").mkdir(parents=True) if make == "foreign" else logs.mkdir()
    with pytest.raises(OptbenchError, match="expected"):
        do_import(tmp_path)


# --- broken logs


def test_a_row_repeated_after_a_restart_counts_once(tmp_path, logs):
    curve = [(10, 5.0, 0.5), (20, 10.0, 0.6), (20, 10.0, 0.6), (30, 15.0, 0.95)]
    trial(logs, "adam", 0, "mnist_jax", 1, curve)
    assert "repeated after a restart: replaced (1;" in " ".join(do_import(tmp_path).findings)
    assert [event.step for event in only_log(tmp_path).evaluations] == [10, 20, 30]
    assert seconds(tmp_path) == [15.0]


def test_steps_that_go_back_replace_what_came_before_the_restart(tmp_path, logs):
    curve = [(10, 5.0, 0.5), (20, 10.0, 0.6), (30, 15.0, 0.7), (20, 11.0, 0.65), (30, 16.0, 0.95)]
    trial(logs, "adam", 0, "mnist_jax", 1, curve)
    do_import(tmp_path)
    assert [event.train_seconds for event in only_log(tmp_path).evaluations] == [5.0, 11.0, 16.0]
    assert seconds(tmp_path) == [16.0]


def test_a_restart_does_not_take_back_a_target_that_was_met(tmp_path, logs):
    curve = [(10, 5.0, 0.5), (20, 10.0, 0.95), (10, 6.0, 0.5), (20, 11.0, 0.5), (30, 20.0, 0.95)]
    trial(logs, "adam", 0, "mnist_jax", 1, curve)
    do_import(tmp_path)
    assert [event.step for event in only_log(tmp_path).evaluations] == [10, 20, 30]
    assert seconds(tmp_path) == [10.0]


def test_evaluations_that_are_nan_reach_nothing_and_later_ones_still_do(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, [(10, 5.0, "nan"), (20, 10.0, ""), (30, 15.0, 0.95)])
    assert "without a finite target metric: count as target not reached (2;" in " ".join(
        do_import(tmp_path).findings
    )
    assert seconds(tmp_path) == [15.0]


def test_metrics_that_are_no_numbers_are_counted(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, [(10, 5.0, "good"), (20, 10.0, "nan"), (30, 15.0, "0.95")])
    assert "metrics that are not numbers: treated as missing (1;" in " ".join(do_import(tmp_path).findings)
    assert seconds(tmp_path) == [15.0]


def test_a_run_that_ends_in_nan_diverged_and_never_reached(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, [(10, 5.0, 0.5), (20, 10.0, "nan")])
    do_import(tmp_path)
    assert only_log(tmp_path).finished.status == "diverged"
    assert seconds(tmp_path) == [math.inf]


def test_for_metrics_that_should_be_small_infinity_reaches_nothing(tmp_path, logs):
    loss = {"target_metric_name": "loss", "validation_target_value": 0.5, "target_metric_goal": "minimize"}
    header = "accumulated_submission_time,global_step,validation/loss"
    content = f"{header}\n5,10,inf\n6,20,-nan\n10,30,0.5\n"
    trial(logs, "adam", 0, "wmt_jax", 1, content)
    do_import(tmp_path, workloads={"wmt": loss}, base_workloads=["wmt"], held_out_workloads=[])
    assert seconds(tmp_path) == [10.0]


@pytest.mark.parametrize("metric", ["inf", "Infinity", "1e999"])
def test_infinity_reaches_no_target_of_a_metric_that_should_be_large(tmp_path, logs, metric):
    trial(logs, "adam", 0, "mnist_jax", 1, [(10, 5.0, "NaN"), (20, 10.0, metric), (30, 15.0, 0.95)])
    do_import(tmp_path)
    assert seconds(tmp_path) == [15.0]


def test_columns_may_come_in_any_order_with_others_among_them(tmp_path, logs):
    content = "new,validation/accuracy,global_step,accumulated_submission_time\nx,0.95,10,7.5\n"
    trial(logs, "adam", 0, "mnist_jax", 1, content)
    do_import(tmp_path)
    assert seconds(tmp_path) == [7.5]


def test_a_header_repeated_after_a_restart_may_change_the_columns(tmp_path, logs):
    content = (
        text([(10, 5.0, 0.5)]) + "global_step,accumulated_submission_time,validation/accuracy\n20,9,0.95\n"
    )
    trial(logs, "adam", 0, "mnist_jax", 1, content)
    do_import(tmp_path)
    assert seconds(tmp_path) == [9.0]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        HEADER + "\n",
        "x" * 200_000,
        "\x00\x00\x00",
        "garbage",
        "a,b\n1,2\n",
        None,
        "\ufeff",
        HEADER + "\n1,2",
    ],
)
def test_logs_without_an_evaluation_count_as_never_reached_and_are_reported(tmp_path, logs, content):
    trial(logs, "adam", 0, "mnist_jax", 1, content, {})
    found = do_import(tmp_path)
    assert "target not reached (1; first: adam/study_0" in " ".join(found.findings)
    assert only_log(tmp_path).finished.status == "failed"
    assert seconds(tmp_path) == [math.inf]


def test_a_torn_last_line_and_lines_of_garbage_are_left_out_and_counted(tmp_path, logs):
    content = text([(10, 5.0, 0.5), (20, 9.0, 0.95)]) + "!!,?,x,,,,\n1.5,12.0,3"
    trial(logs, "adam", 0, "mnist_jax", 1, content)
    assert "unreadable lines: skipped (2;" in " ".join(do_import(tmp_path).findings)
    assert len(only_log(tmp_path).evaluations) == 2


def test_a_log_without_the_target_metric_never_reaches_it(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, "global_step,accumulated_submission_time\n10,5\n")
    assert "without the column validation/accuracy" in " ".join(do_import(tmp_path).findings)
    assert seconds(tmp_path) == [math.inf]


def test_bytes_that_are_no_text_do_not_stop_an_import(tmp_path, logs):
    folder = trial(logs, "adam", 0, "mnist_jax", 1, NEVER)
    (folder / "eval_measurements.csv").write_bytes(text(reaching(9.0)).encode() + b"\xff\xfe\x80,\x00\n")
    do_import(tmp_path)
    assert seconds(tmp_path) == [9.0]


@pytest.mark.parametrize("hparams", [None, "", "{", "[1]", '{"lr": NaN}'])
def test_missing_or_broken_hyperparameters_cost_nothing_else(tmp_path, logs, hparams):
    trial(logs, "adam", 0, "mnist_jax", 1, reaching(10.0), hparams)
    findings = " ".join(do_import(tmp_path).findings)
    assert "hparams.json" in findings or hparams == '{"lr": NaN}'
    assert seconds(tmp_path) == [10.0]


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path, logs):
    trial(logs, "adam", 0, "mnist_jax", 1, "\ufeff" + text(reaching(10.0)).replace("\n", "\r\n"))
    do_import(tmp_path)
    assert seconds(tmp_path) == [10.0]


# --- the targets file


def targets(tmp_path: Path, **changes):
    return read_targets(targets_file(tmp_path, **changes))


def one(**spec):
    return {"workloads": {"mnist": spec}, "base_workloads": ["mnist"], "held_out_workloads": []}


def test_the_targets_file_of_the_documentation_is_read(tmp_path):
    page = Path(__file__).parents[1] / "docs" / "importing.md"
    (tmp_path / "targets.json").write_text(
        page.read_text(encoding="utf-8").split("```json\n")[1].split("```")[0]
    )
    found = read_targets(tmp_path / "targets.json")
    assert (found.base, found.held_out) == (("mnist",), {"mnist_wide": "mnist"})
    assert str(found.budgets["mnist"]) == "600 seconds"


def test_directions_come_from_the_goal_or_else_from_the_metrics_name(tmp_path):
    value = {"validation_target_value": 1.0}
    by_name = targets(tmp_path, **one(target_metric_name="wer", **value))
    assert by_name.targets["mnist"].at_most == 1.0
    stated = targets(tmp_path, **one(target_metric_name="loss", target_metric_goal="maximize", **value))
    assert stated.targets["mnist"].at_least == 1.0
    with pytest.raises(OptbenchError, match="target_metric_goal"):
        targets(tmp_path, **one(target_metric_name="novelty", **value))


def test_a_variant_belongs_to_the_longest_base_its_name_starts_with(tmp_path):
    spec = {"target_metric_name": "accuracy", "validation_target_value": 0.5}
    names = ["wmt", "wmt_big", "wmt_big_gelu"]
    found = targets(
        tmp_path,
        workloads=dict.fromkeys(names, spec),
        base_workloads=["wmt", "wmt_big"],
        held_out_workloads=["wmt_big_gelu"],
    )
    assert found.held_out == {"wmt_big_gelu": "wmt_big"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_workloads": ["minst"]}, "did you mean 'mnist'"),
        ({"base_workloads": "mnist"}, "expected a list"),
        ({"base_workloads": [], "held_out_workloads": []}, "at least one workload"),
        ({"held_out_workloads": ["wmt"], "base_workloads": ["mnist"]}, "not a variant of any base workload"),
        ({"workloads": {}}, "expected a mapping of workloads"),
        (one(target_metric_name="loss"), "validation_target_value"),
        (one(target_metric_name="loss", validation_target_value=True), "validation_target_value"),
        (one(validation_target_value=1), "target_metric_name"),
        (one(target_metric_name="loss", validation_target_value=1, target_metric_goal="up"), "'minimize' or"),
    ],
)
def test_a_wrong_targets_file_states_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(OptbenchError, match=message):
        targets(tmp_path, **changes)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_targets_file_that_is_no_json_mapping_is_an_error_with_its_place(tmp_path, content):
    path = tmp_path / "targets.json"
    path.write_text(content)
    with pytest.raises(OptbenchError, match=r"targets\.json:1"):
        read_targets(path)


def test_a_missing_targets_file_is_an_error(tmp_path):
    with pytest.raises(OptbenchError, match="cannot read"):
        read_targets(tmp_path / "none.json")
