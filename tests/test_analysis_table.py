"""From records to the comparison table, through the store."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from optbench.analysis.frames import evaluations_frame, passages_frame, trials_frame
from optbench.analysis.table import COLUMNS, comparison
from optbench.analysis.warnings import warnings_frame
from optbench.events import Resumed
from optbench.report import render
from optbench.report.records import records
from optbench.store import Results, make_plan, read
from results_builder import (
    ENVIRONMENT,
    a_suite,
    curve,
    diverged,
    evaluated,
    failed,
    finished,
    reaching,
    started,
    trials_of,
    write,
    write_trials,
)


def results(tmp_path: Path, suite, events) -> Results:
    write(tmp_path, suite, events)
    return read([tmp_path])


def row(table: pd.DataFrame, optimizer: str) -> pd.Series:
    (found,) = table[table["optimizer"] == optimizer].to_dict("records")
    return pd.Series(found)


def kinds(found: Results) -> list[str]:
    return warnings_frame(found)["kind"].tolist()


def message(found: Results, kind: str) -> str:
    table = warnings_frame(found)
    return table[table["kind"] == kind]["message"].item()


# --- frames


@pytest.mark.parametrize("bound", ["at_least", "at_most"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_not_finite_reaches_no_target(tmp_path, bound, value):
    suite = a_suite(seeds=1, target={"metric": "accuracy", bound: 0.9})
    finite = 0.95 if bound == "at_least" else 0.05
    events = {("SGD", 0): curve([0.5 if bound == "at_least" else 0.99, value, finite])}
    found = passages_frame(results(tmp_path, suite, events))
    assert found["epochs"].tolist() == [3]


def test_trials_frame_has_one_row_per_planned_trial_run_or_not(tmp_path):
    found = trials_frame(results(tmp_path, a_suite(seeds=2), {("SGD", 0): reaching(3), ("SGD", 1): failed()}))
    assert found["status"].tolist() == ["completed", "failed", "not run", "not run"]
    assert found["complete"].tolist() == [True, True, False, False]
    first = found.iloc[0]
    assert (first["steps"], first["train_seconds"], first["state_bytes"]) == (100, 5.0, 8000)
    assert first["last_accuracy"] == 0.95


def test_the_last_evaluation_has_the_test_metrics_that_the_table_shows(tmp_path):
    found = results(tmp_path, a_suite(seeds=1), {("SGD", 0): curve([0.5, 0.7], final=0.66)})
    told = evaluations_frame(found)["test_accuracy"]
    assert told.isna().tolist() == [True, False]
    assert told.iloc[-1] == 0.66


def test_evaluations_frame_has_a_row_an_evaluation(tmp_path):
    found = evaluations_frame(results(tmp_path, a_suite(seeds=1), {("SGD", 0): curve([0.5, 0.7])}))
    assert found["step"].tolist() == [10, 20]
    assert found["validation_accuracy"].tolist() == [0.5, 0.7]
    assert found["optimizer"].tolist() == ["SGD", "SGD"]


@pytest.mark.parametrize("status", ["diverged", "failed", "out_of_memory", "interrupted"])
def test_a_trial_that_ended_before_its_first_evaluation_is_a_row_that_reports_it(tmp_path, status):
    lost = [started(), finished(status=status, epochs=0)]
    found = evaluations_frame(
        results(tmp_path, a_suite(seeds=1), {("SGD", 0): lost, ("Adam", 0): curve([0.5])})
    )
    assert found["optimizer"].tolist() == ["SGD", "Adam"]
    assert found["status"].tolist() == [status, "completed"]
    assert found["at_fault"].tolist() == [lost[-1].at_fault, ""]
    assert found["step"].tolist() == [0, 10]
    assert found["validation_accuracy"].isna().tolist() == [True, False]
    assert found["epoch"].isna().tolist() == [True, False]


def test_records_have_the_columns_of_the_metrics_also_where_no_trial_was_evaluated(tmp_path):
    lost = [started(), finished(status="diverged", epochs=0)]
    found = evaluations_frame(results(tmp_path, a_suite(seeds=1), {("SGD", 0): lost}))
    assert found["validation_accuracy"].isna().tolist() == [True]


def test_what_only_some_trials_record_stays_a_whole_number_and_is_empty_in_the_others(tmp_path):
    watched = [
        started(),
        evaluated(1, 0.5, exploded_steps=3, gradient_norm=0.25),
        evaluated(2, 0.7),
        finished(),
    ]
    events = {("SGD", 0): curve([0.5]), ("Adam", 0): watched}
    found = results(tmp_path, a_suite(seeds=1), events)
    told = evaluations_frame(found)[["optimizer", "exploded_steps", "gradient_norm"]]
    assert told["exploded_steps"].tolist() == [None, 3, None]
    assert records(found).splitlines()[2].split(",").count("3") == 1
    assert told["gradient_norm"].isna().tolist() == [True, False, True]


def test_results_without_evaluations_give_empty_frames_with_their_columns(tmp_path):
    found = results(tmp_path, a_suite(), {})
    assert "step" in evaluations_frame(found)
    assert "reached" in passages_frame(found)
    assert set(COLUMNS) <= set(comparison(found))


def test_a_passage_lies_between_two_evaluations_in_every_unit(tmp_path):
    (found,) = passages_frame(results(tmp_path, a_suite(seeds=1), {("SGD", 0): reaching(3)})).to_dict(
        "records"
    )
    assert found["reached"]
    assert (found["epochs_low"], found["epochs"]) == (2, 3)
    assert (found["steps_low"], found["steps"]) == (20, 30)
    assert (found["samples_low"], found["samples"]) == (1280, 1920)
    assert (found["seconds_low"], found["seconds"]) == (1.0, 1.5)


def test_a_target_met_exactly_is_reached_and_one_that_is_not_a_number_is_not(tmp_path):
    events = {("SGD", 0): curve([math.nan, 0.9]), ("Adam", 0): curve([math.nan, 0.8999])}
    found = passages_frame(results(tmp_path, a_suite(seeds=1), events))
    assert found["reached"].tolist() == [True, False]
    assert found["epochs"].iloc[0] == 2


def test_a_diverged_trial_is_censored_at_the_whole_budget(tmp_path):
    (found,) = passages_frame(results(tmp_path, a_suite(seeds=1), {("SGD", 0): diverged(2)})).to_dict(
        "records"
    )
    assert not found["reached"]
    assert (found["epochs"], found["steps"], found["samples"]) == (10, 100, 6400)
    assert found["seconds"] == pytest.approx(5.0)  # at its own pace


def test_what_the_infrastructure_ended_is_missing_not_censored(tmp_path):
    events = {
        ("SGD", 0): [started(), evaluated(1, 0.95), finished(status="interrupted")],
        ("SGD", 1): failed("infrastructure"),
        ("SGD", 2): reaching(3),
    }
    found = results(tmp_path, a_suite(labels=["SGD"]), events)
    assert len(passages_frame(found)) == 1
    entry = row(comparison(found), "SGD")
    assert (entry["planned"], entry["trials"], entry["missing"]) == (3, 1, 2)


def test_seconds_of_a_resumed_trial_are_left_out_and_its_epochs_are_not(tmp_path):
    events = reaching(4)
    resumed = [*events[:3], Resumed(step=10), *events[3:]]
    found = results(
        tmp_path, a_suite(labels=["SGD"], seeds=2), {("SGD", 0): resumed, ("SGD", 1): reaching(5)}
    )
    entry = row(comparison(found), "SGD")
    assert entry["seconds_to_target"] == 2.5
    assert (entry["epochs_to_target"], entry["timed"]) == (4.5, 1)
    assert "1 trial excluded" in message(found, "resumed")


# --- the table


def test_the_table_by_hand(tmp_path):
    events = {("SGD", seed): reaching(3 + seed, 0.95 + seed / 100) for seed in range(3)}
    entry = row(comparison(results(tmp_path, a_suite(labels=["SGD"]), events)), "SGD")
    assert (entry["trials"], entry["reached"]) == (3, 3)
    assert (entry["epochs_to_target"], entry["steps_to_target"], entry["samples_to_target"]) == (4, 40, 2560)
    assert (entry["epochs_to_target_min"], entry["epochs_to_target_max"]) == (3, 5)
    assert entry["seconds_to_target"] == 2.0
    assert entry["interval_note"] == "needs 6 seeds"
    assert entry["final_metric"] == entry["final_accuracy"] == pytest.approx(0.96)
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert entry["final_metric_high"] - entry["final_metric"] == pytest.approx(half, rel=1e-5)
    assert (entry["memory_overhead"], entry["step_peak_overhead"]) == (2.0, 0.25)


def test_memory_that_differs_between_seeds_is_a_range(tmp_path):
    def events(**changes):
        return [*curve([0.5])[:-1], finished(epochs=1, **changes)]

    of_seed = {("SGD", seed): events(state_bytes=size) for seed, size in enumerate((8000, 12000, 8000))}
    of_seed |= {("Adam", 0): events(status="diverged", state_bytes=0), ("Adam", 1): events()}
    found = results(tmp_path / "a", a_suite(), of_seed)
    table = comparison(found).set_index("optimizer")
    assert table.loc["SGD", ["memory_overhead_min", "memory_overhead"]].tolist() == [2.0, 3.0]
    assert table.loc["Adam", ["memory_overhead_min", "memory_overhead"]].tolist() == [2.0, 2.0]
    text = render(found, "markdown")
    assert "| 2.00x–3.00x |" in text
    assert "–2.00x" not in text
    assert "bytes; the range over seeds where they differ." in text
    alike = results(tmp_path / "b", a_suite(), {key: events() for key in of_seed})
    assert "memory_overhead_min" not in comparison(alike)
    assert "the range over seeds where" not in render(alike, "markdown")


def test_time_to_target_has_an_interval_from_six_seeds_on(tmp_path):
    events = {("SGD", seed): reaching(3 + seed) for seed in range(6)}
    entry = row(comparison(results(tmp_path, a_suite(labels=["SGD"], seeds=6), events)), "SGD")
    assert (entry["epochs_to_target_low"], entry["epochs_to_target_high"]) == (2, 8)


def test_units_that_an_imported_log_does_not_contain_stay_empty(tmp_path):
    unknown = {"samples": math.nan, "train_seconds": math.nan, "cpu_seconds": math.nan}
    events = [started(), evaluated(1, 0.5, **unknown), evaluated(2, 0.95, **unknown), finished(0.95)]
    found = results(tmp_path, a_suite(labels=["SGD"], seeds=1), {("SGD", 0): events})
    entry = row(comparison(found), "SGD")
    assert entry["epochs_to_target"] == 2
    assert math.isnan(entry["samples_to_target"])
    assert math.isnan(entry["seconds_to_target"])


def test_time_to_target_is_empty_if_half_or_fewer_arrived_never_their_mean(tmp_path):
    events = {("SGD", seed): reaching(3) if seed < 2 else curve([0.5] * 10) for seed in range(4)}
    entry = row(comparison(results(tmp_path, a_suite(labels=["SGD"], seeds=4), events)), "SGD")
    assert math.isnan(entry["epochs_to_target"])
    assert (entry["reached"], entry["epochs_budget"]) == (2, 10)
    assert entry["epochs_restricted_mean"] == pytest.approx(6.5)


def test_every_target_has_its_row(tmp_path):
    targets = [{"metric": "accuracy", "at_least": value} for value in (0.4, 0.9)]
    found = comparison(
        results(tmp_path, a_suite(labels=["SGD"], seeds=1, target=targets), {("SGD", 0): reaching(3)})
    )
    assert found["target"].tolist() == ["validation accuracy >= 0.4", "validation accuracy >= 0.9"]
    assert found["epochs_to_target"].tolist() == [1, 3]


def test_a_target_changed_after_the_run_is_read_from_the_plan(tmp_path):
    write(tmp_path, a_suite(labels=["SGD"], seeds=1), {("SGD", 0): reaching(3)})
    easier = a_suite(labels=["SGD"], seeds=1, target={"metric": "accuracy", "at_least": 0.4})
    found = comparison(results(tmp_path, easier, {}))
    assert found["epochs_to_target"].tolist() == [1]


def test_a_workload_without_target_has_one_row_an_optimizer(tmp_path):
    found = comparison(results(tmp_path, a_suite(seeds=1, target=[]), {("SGD", 0): reaching(3)}))
    assert found["target"].tolist() == ["", ""]
    assert found["final_metric"].iloc[0] == 0.95


def test_the_estimand_is_the_suites(tmp_path):
    scores = {"last": {"accuracy": 0.8}, "best_validation": {"accuracy": 0.9}}
    suite = a_suite(labels=["SGD"], seeds=1, final="best_validation")
    found = comparison(results(tmp_path, suite, {("SGD", 0): [started(), finished(final=scores)]}))
    assert found[["estimand", "final_metric"]].values.tolist() == [["best_validation", 0.9]]


def test_a_trial_that_stopped_at_its_target_has_no_final_metric(tmp_path):
    events = [started(), evaluated(1, 0.5), evaluated(2, 0.95), finished(status="stopped", epochs=2)]
    suite = a_suite(labels=["SGD"], seeds=1, stop_at_target=True)
    entry = row(comparison(results(tmp_path, suite, {("SGD", 0): events})), "SGD")
    assert (entry["reached"], entry["stopped"], entry["epochs_to_target"]) == (1, 1, 2)
    assert math.isnan(entry["final_metric"])


def test_divergence_counts_as_the_worst_accuracy(tmp_path):
    events = {("SGD", seed): diverged() if seed == 0 else reaching(3, 0.9) for seed in range(3)}
    entry = row(comparison(results(tmp_path, a_suite(labels=["SGD"]), events)), "SGD")
    assert entry["final_metric"] == pytest.approx(0.6)
    assert (entry["imputed"], entry["diverged"]) == (1, 1)
    assert math.isnan(entry["final_metric_low"])


def test_divergence_counts_as_the_worst_loss_that_was_measured(tmp_path):
    suite = a_suite(metrics=["loss"], target={"metric": "loss", "at_most": 0.1}, seeds=2)
    events = {
        ("SGD", 0): diverged(),
        ("SGD", 1): curve([0.3, 0.9]),
        ("Adam", 0): curve([0.4, 0.9]),
        ("Adam", 1): curve([0.4, 0.9]),
    }
    entry = row(comparison(results(tmp_path, suite, events)), "SGD")
    assert entry["final_loss"] == pytest.approx((0.9 + 0.1) / 2)


@pytest.mark.parametrize(
    ("end", "counted"),
    [
        (finished(status="out_of_memory", at_fault=""), True),
        (finished(status="failed", at_fault="optimizer"), True),
        (finished(status="failed", at_fault=""), False),
        (finished(status="out_of_memory", at_fault="infrastructure"), False),
    ],
)
def test_only_the_optimizers_own_failures_are_held_against_it(tmp_path, end, counted):
    events = {("SGD", 0): [started(), end], ("SGD", 1): reaching(3, 0.9)}
    entry = row(comparison(results(tmp_path, a_suite(labels=["SGD"], seeds=2), events)), "SGD")
    assert entry["trials"] == (2 if counted else 1)
    assert entry["final_metric"] == pytest.approx(0.45 if counted else 0.9)


def test_an_optimizer_that_never_finished_a_trial_is_in_no_best_group(tmp_path):
    events = {("SGD", seed): reaching(3, 0.9 + seed / 100) for seed in range(5)}
    events |= {("Adam", seed): diverged() for seed in range(5)}
    table = comparison(results(tmp_path, a_suite(seeds=5), events))
    assert row(table, "SGD")["best_group"]
    assert not row(table, "Adam")["best_group"]


def test_the_final_metric_of_an_entry_that_always_diverged_is_what_its_difference_uses(tmp_path):
    events = {("SGD", seed): reaching(3, 0.9 + seed / 100) for seed in range(5)}
    events |= {("Adam", seed): diverged() for seed in range(5)}
    table = comparison(results(tmp_path, a_suite(seeds=5), events))
    adam, sgd = row(table, "Adam"), row(table, "SGD")
    assert adam["final_metric"] == 0
    assert adam["difference"] == pytest.approx(adam["final_metric"] - sgd["final_metric"])


def test_no_p_value_of_a_difference_contradicts_the_group(tmp_path):
    """With four entries: A - SGD has p = 0.040 adjusted over three comparisons, and 0.079 over all six pairs."""
    gains = {"SGD": [0.0] * 5, "A": [1, 2, 3, 4, 5], "B": [1, -1, 0, 2, -2], "C": [0, 1, -1, 1, -1]}
    events = {
        (label, seed): reaching(3, 0.9 + 0.001 * gain + 0.0001 * seed * (label == "B"))
        for label, of in gains.items()
        for seed, gain in enumerate(of)
    }
    table = comparison(results(tmp_path, a_suite(labels=list(gains), seeds=5), events))
    assert not (table["difference_p"] < 0.05).any()
    assert not table["best_group"].eq(False).any()


def test_entries_of_one_configuration_are_never_distinguished(tmp_path):
    events = {
        (label, seed): reaching(3 + seed, 0.9 + seed / 100) for label in ("A", "B") for seed in range(6)
    }
    table = comparison(results(tmp_path, a_suite(labels=["A", "B"], seeds=6), events))
    assert table["best_group"].tolist() == [True, True]
    assert table["fastest_group"].tolist() == [True, True]
    assert row(table, "B")["difference"] == 0
    assert row(table, "B")["difference_p"] == 1


def test_the_faster_of_two_is_distinguished_from_six_seeds_on(tmp_path):
    for seeds, expected in ((5, [pd.NA, pd.NA]), (6, [True, False])):
        events = {("SGD", seed): reaching(3) for seed in range(seeds)}
        events |= {("Adam", seed): reaching(6) for seed in range(seeds)}
        table = comparison(results(tmp_path / str(seeds), a_suite(seeds=seeds), events))
        assert table["fastest_group"].tolist() == expected


def test_differences_are_paired_with_the_baseline_that_the_suite_names(tmp_path):
    events = {("SGD", seed): reaching(3, 0.9 + seed / 10) for seed in range(2)}
    events |= {("Adam", seed): reaching(3, 0.91 + seed / 10 + seed / 1000) for seed in range(2)}
    table = comparison(results(tmp_path, a_suite(seeds=2, baseline="Adam"), events))
    assert row(table, "Adam")["baseline"]
    assert row(table, "SGD")["difference"] == pytest.approx(-0.0105)
    assert row(table, "SGD")["difference_n"] == 2


def test_rows_keep_the_order_of_the_plan(tmp_path):
    labels = ["z", "a", "m"]
    table = comparison(results(tmp_path, a_suite(labels=labels, seeds=1), {("m", 0): reaching(2)}))
    assert table["optimizer"].tolist() == labels


def test_workloads_are_compared_each_on_its_own(tmp_path):
    suite = a_suite(seeds=1)
    two = suite.model_copy(
        update={"workloads": {"one": suite.workloads["main"], "two": suite.workloads["main"]}}
    )
    table = comparison(results(tmp_path, two, {("SGD", 0): reaching(3), ("Adam", 0): reaching(4)}))
    assert table["workload"].tolist() == ["one", "one", "two", "two"]
    assert table["baseline"].tolist() == [True, False, True, False]


# --- plans, and what changed since


def test_trials_of_a_configuration_that_is_gone_are_left_out_and_counted(tmp_path):
    write(tmp_path, a_suite(labels=["SGD"], seeds=1), {("SGD", 0): reaching(3)})
    found = results(tmp_path, a_suite(labels=["SGD"], seeds=1, batch_size=32), {})
    assert row(comparison(found), "SGD")["trials"] == 0
    assert message(found, "superseded").startswith("1 trial")


def test_seeds_that_are_not_planned_are_reported_and_shown_only_on_demand(tmp_path):
    write(tmp_path, a_suite(labels=["SGD"], seeds=3), {("SGD", seed): reaching(3) for seed in range(3)})
    found = results(tmp_path, a_suite(labels=["SGD"], seeds=1), {})
    assert (row(comparison(found), "SGD")["trials"], row(comparison(found), "SGD")["planned"]) == (1, 1)
    assert message(found, "unplanned").startswith("2 further seeds (1, 2) are stored but not planned")
    every = read([tmp_path], all_seeds=True)
    assert (row(comparison(every), "SGD")["trials"], row(comparison(every), "SGD")["planned"]) == (3, 3)
    assert "unplanned" not in set(warnings_frame(every)["kind"])


def test_seeds_of_an_earlier_run_join_no_mean_and_no_comparison(tmp_path):
    events = {(label, seed): reaching(3, 0.5) for label in ("SGD", "Adam") for seed in (0, 1)}
    write(tmp_path, a_suite(seeds=2), events)
    other = a_suite(seeds=2).model_copy(update={"seeds": (100, 101)})
    later = {(label, seed): reaching(3, 0.9) for label in ("SGD", "Adam") for seed in (100, 101)}
    entry = row(comparison(results(tmp_path, other, later)), "Adam")
    assert (entry["trials"], entry["final_metric"], entry["difference_n"]) == (2, 0.9, 2)


def test_no_interval_of_an_accuracy_leaves_0_to_1_nor_its_difference(tmp_path):
    events = {("SGD", s): reaching(3, (0.5, 0.999)[s]) for s in (0, 1)}
    events |= {("Adam", s): reaching(3, (0.999, 0.6)[s]) for s in (0, 1)}
    found = results(tmp_path, a_suite(seeds=2), events)
    table = comparison(found)
    assert table["final_metric_low"].tolist() == [0, 0]
    assert table["final_metric_high"].tolist() == [1, 1]
    assert row(table, "Adam")[["difference_low", "difference_high"]].tolist() == [-1, 1]
    assert "(0.0–100.0)" in render(found, "markdown")


def test_a_row_has_all_its_stored_seeds_without_a_plan(tmp_path):
    folder = write(tmp_path, a_suite(labels=["SGD"], seeds=3), {("SGD", s): reaching(3) for s in range(3)})
    (folder.path / "plan.json").unlink()
    assert row(comparison(read([tmp_path])), "SGD")["trials"] == 3


def test_a_folder_without_a_plan_has_the_rows_of_its_trials(tmp_path):
    folder = write(tmp_path, a_suite(seeds=1), {("SGD", 0): reaching(3), ("Adam", 0): reaching(4)})
    (folder.path / "plan.json").unlink()
    assert set(comparison(read([tmp_path]))["optimizer"]) == {"SGD", "Adam"}


# --- warnings


def test_a_clean_comparison_has_no_warning(tmp_path):
    events = {(label, seed): reaching(3) for label in ("SGD", "Adam") for seed in range(5)}
    assert kinds(results(tmp_path, a_suite(seeds=5), events)) == []


@pytest.mark.parametrize(
    ("seeds", "words"), [(1, "only one seed: no difference can be tested"), (3, "preliminary: 3 seeds")]
)
def test_few_seeds_are_reported_plainly(tmp_path, seeds, words):
    events = {(label, seed): reaching(3) for label in ("SGD", "Adam") for seed in range(seeds)}
    assert words in message(results(tmp_path, a_suite(seeds=seeds), events), "seeds")


@pytest.mark.parametrize(
    ("name", "value"),
    [("device_name", "Other CPU"), ("torch", "2.14.0"), ("optbench", "9.9"), ("threads", 8)],
)
def test_mixed_environments_are_named(tmp_path, name, value):
    mixed = [started(environment=ENVIRONMENT | {name: value}), *reaching(3)[1:]]
    events = {(label, seed): reaching(3) for label in ("SGD", "Adam") for seed in range(5)}
    found = results(tmp_path, a_suite(seeds=5), events | {("Adam", 0): mixed})
    assert str(value) in message(found, "mixed")


def test_unequal_initial_weights_are_named(tmp_path):
    other = [started(initial_weights="xyz"), *reaching(3)[1:]]
    events = {(label, seed): reaching(3) for label in ("SGD", "Adam") for seed in range(5)}
    found = results(tmp_path, a_suite(seeds=5), events | {("Adam", 2): other})
    assert "seed 2" in message(found, "initial_weights")


def test_a_disturbed_trial_is_named(tmp_path):
    noisy = [*reaching(3)[:-1], finished(cpu_seconds=3.0)]
    events = {(label, seed): reaching(3) for label in ("SGD", "Adam") for seed in range(5)}
    found = results(tmp_path, a_suite(seeds=5), events | {("Adam", 1): noisy})
    assert "Adam seed 1" in message(found, "disturbed")


def test_different_horizons_and_batch_sizes_are_named(tmp_path):
    optimizers = {
        "short": {"use": "torch.optim.SGD", "horizon": "5 epochs"},
        "large": {"use": "torch.optim.SGD", "batch_size": 128},
    }
    suite = a_suite(seeds=1, optimizers=optimizers)
    found = results(tmp_path, suite, {("short", 0): reaching(3), ("large", 0): reaching(3)})
    assert "5 epochs, 10 epochs" in message(found, "horizon")
    assert "64, 128" in message(found, "batch_size")


def test_missing_trials_are_counted(tmp_path):
    assert "5 of 6 trials" in message(results(tmp_path, a_suite(), {("SGD", 0): reaching(3)}), "missing")


def test_restricted_mean_times_are_compared_with_the_baseline_by_permutation(tmp_path):
    events = {("SGD", seed): reaching(3) for seed in range(5)} | {
        ("Adam", seed): reaching(7) for seed in range(5)
    }
    write(tmp_path, a_suite(seeds=5), events)
    table = comparison(read([tmp_path])).set_index("optimizer")
    assert table.loc["Adam", ["restricted_difference", "restricted_unit"]].tolist() == [4.0, "epochs"]
    assert table.loc["Adam", "restricted_difference_p"] == pytest.approx(2 / 252)
    assert math.isnan(table.loc["SGD", "restricted_difference"])


def test_trials_without_seconds_of_a_suite_that_is_timed_now_can_be_measured(tmp_path):
    suite = a_suite(("SGD",), seeds=1)
    [trial] = trials_of(suite)
    untimed = trial.model_copy(update={"timed": False})
    folder = write_trials(tmp_path, suite, [untimed], {untimed.id: curve([0.5])})
    plain = "no seconds: 1 trial trained at the same time as others (timed: false)"
    assert message(read([tmp_path]), "untimed") == plain
    folder.write_plan(make_plan("digits", suite, [trial], command=""))
    assert message(read([tmp_path]), "untimed") == f"{plain}: run with --fresh to measure them"
