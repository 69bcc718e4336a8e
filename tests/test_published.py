"""Published rows: how a suite states them, the one rule that judges them, and what a report makes of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from optbench import report
from optbench.analysis import verdicts
from optbench.analysis.published import verdicts_frame
from optbench.analysis.verdicts import Measured
from optbench.errors import OptbenchError
from optbench.store import read
from optbench.suite.dump import dump_text
from optbench.suite.load import load
from optbench.suite.published import Claims
from results_builder import a_suite, curve, diverged, reaching, write

SUITE = """\
workload: {model: mlp, data: digits, batch_size: 8, budget: 1 epoch, target: {at_least: 0.9}}
published:
  - source: {text: A table, url: "https://example.org"}
    optimizer: Adam
    scope: {model: mlp, data: imagenet, budget: 90 epochs}
    protocol: one seed
    values:
      epochs_to_target: {kind: numeric, value: 60, unit: epochs, margin: 2.5}
      final_metric: {kind: ordering, over: SGD, margin: 0.01}
      memory_overhead: {kind: ladder, level: low, means: {at_most: 1.25}, words: Low}
      sensitivity: {kind: ladder, level: low}
optimizers: {SGD: {use: sgd, lr: 0.1}, Adam: adam}
"""

# --- the grammar


def test_published_rows_survive_being_written_out(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    first = load(tmp_path / "s.yaml")
    (tmp_path / "t.yaml").write_text(dump_text(first.suite))
    assert load(tmp_path / "t.yaml").suite == first.suite
    assert first.suite.published[0].scope.budget is not None


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("margin: 2.5", "", r"s.yaml:8:25: .*epochs_to_target: a numeric claim requires a 'margin' above 0"),
        (
            "unit: epochs",
            "unit: x",
            r"s.yaml:8:25: .*expected unit epochs for 'epochs_to_target'; found x",
        ),
        ("value: 60", "valu: 60", r"unknown key 'valu'; did you mean 'value'\?"),
        ("over: SGD, ", "", r"a claim of kind 'ordering' requires 'over'; found nothing"),
        ("level: low}", "level: lo}", r"expected one of low, medium, high; found 'lo'; did you mean 'low'\?"),
        ("optimizer: Adam\n", "\n", r"published.0: expected 'optimizer' .* or 'label'"),
        (
            "kind: numeric",
            "kind: deterministic",
            r"expected kind 'numeric' for 'epochs_to_target', which varies between seeds",
        ),
        ("epochs_to_target:", "epoch_to_target:", r"did you mean 'epochs_to_target'\?"),
    ],
)
def test_problems_are_reported_with_their_place(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    assert right in SUITE
    (tmp_path / "s.yaml").write_text(SUITE.replace(right, wrong, 1))
    with pytest.raises(OptbenchError, match=message):
        load(tmp_path / "s.yaml")


def test_a_row_of_an_unknown_entry_is_a_mistake(tmp_path: Path) -> None:
    from optbench.catalog.check import problems

    (tmp_path / "s.yaml").write_text(SUITE.replace("optimizer: Adam", "optimizer: Adm"))
    [problem] = problems(load(tmp_path / "s.yaml"), tmp_path)
    assert str(problem).endswith(
        "published.0.optimizer: no entry 'Adm'; did you mean 'Adam'? (for a row without an entry, use 'label')"
    )


# --- the rule


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.96, 1.04, "reproduced"),
        (0.9, 1.1, "reproduced"),
        (1.11, 1.3, "contradicted"),
        (0.2, 0.89, "contradicted"),
        (0.95, 1.2, "inconclusive"),
        (0.5, 2.0, "inconclusive"),
        (1.2, math.inf, "contradicted"),
        (1.0, math.inf, "inconclusive"),
    ],
)
def test_a_number_against_an_interval(low: float, high: float, word: str) -> None:
    assert verdicts.numeric(1.0, 0.1, Measured(5, 1.0, low, high)).word == word


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.3, "reproduced"),
        (-0.3, -0.01, "contradicted"),
        (-0.01, 0.02, "no difference"),
        (-0.01, 0.2, "inconclusive"),
    ],
)
def test_an_order_against_the_interval_of_the_difference(low: float, high: float, word: str) -> None:
    assert verdicts.ordering(Measured(5, 0.0, low, high), margin=0.05).word == word


def test_an_order_is_no_finer_than_what_can_be_seen() -> None:
    assert verdicts.ordering(Measured(6, 0.5, 0.4, 0.6), margin=0.0, resolution=1.0).word == "inconclusive"


@pytest.mark.parametrize("n", [1, 3, 4])
def test_under_five_seeds_nothing_is_concluded(n: int) -> None:
    assert verdicts.numeric(1.0, 0.1, Measured(n, 1.0, 1.0, 1.0)).word == "inconclusive"
    assert verdicts.ordering(Measured(n, 1.0, 1.0, 1.0), 0.1).word == "inconclusive"
    values = pd.DataFrame({"A": [1.0] * n, "B": [2.0] * n})
    assert verdicts.ladder({"A": 0, "B": 1}, values).word == "inconclusive"


def test_bytes_need_no_seeds() -> None:
    assert verdicts.deterministic(2.0, 0.05, 2.04).word == "reproduced"
    assert verdicts.deterministic(1.5, 0.05, 1.0).word == "contradicted"
    assert verdicts.deterministic(1.5, 0.05, math.nan).word == "not tested here"


def test_a_ladder_holds_only_if_every_implied_pair_does() -> None:
    low, high = [1.0, 1.1, 0.9, 1.05, 0.95], [3.0, 3.1, 2.8, 3.2, 2.9]
    middle = [2.0, 2.2, 1.9, 2.1, 1.95]
    values = pd.DataFrame({"A": low, "B": middle, "C": high})
    assert verdicts.ladder({"A": 0, "B": 1, "C": 2}, values).word == "reproduced"
    assert "3 of 3" in verdicts.ladder({"A": 0, "B": 1, "C": 2}, values).reason
    assert "tau-b 1.00" in verdicts.ladder({"A": 0, "B": 1, "C": 2}, values).reason
    assert verdicts.ladder({"A": 1, "B": 0, "C": 2}, values).word == "contradicted"
    same = pd.DataFrame({"A": low, "B": low[::-1]})
    assert verdicts.ladder({"A": 0, "B": 1}, same).word == "inconclusive"
    assert verdicts.ladder({"A": 0, "B": 0}, values).word == "not testable as stated"


# --- the frame


def row(values: dict[str, Any], optimizer: str = "Adam", **more: Any) -> dict[str, Any]:
    return {"source": "A table", "optimizer": optimizer, "values": values, **more}


def judged(tmp_path: Path, published: list[dict[str, Any]], events: Any, seeds: int = 6) -> pd.DataFrame:
    suite = a_suite(("SGD", "Adam"), seeds, published=published)
    write(tmp_path, suite, events)
    return verdicts_frame(read([tmp_path])).set_index("column")


def finals(center: float, seeds: int = 6) -> list[float]:
    return [center + 0.001 * (seed % 3 - 1) for seed in range(seeds)]


TIME = {"kind": "numeric", "value": 3, "unit": "epochs", "margin": 1}


def test_each_cell_is_judged_by_its_own_estimand(tmp_path: Path) -> None:
    events = {("Adam", seed): reaching(3, value) for seed, value in enumerate(finals(0.95))}
    events |= {("SGD", seed): reaching(5, value) for seed, value in enumerate(finals(0.90))}
    values = {
        "epochs_to_target": TIME,
        "final_metric": {"kind": "numeric", "value": 0.9, "unit": "fraction", "margin": 0.01},
        "memory_overhead": {"kind": "deterministic", "value": 2, "unit": "x"},
        "sensitivity": {"kind": "ladder", "level": "low"},
    }
    found = judged(tmp_path, [row(values)], events)
    assert found["verdict"].to_dict() == {
        "epochs_to_target": "reproduced",
        "final_metric": "contradicted",
        "memory_overhead": "reproduced",
        "sensitivity": "not tested here",
    }
    assert found.loc["epochs_to_target", "measured"] == 3
    assert found.loc["epochs_to_target", "measured_low"] == 2  # the bracket of the evaluation grid


def test_orders_are_judged_paired(tmp_path: Path) -> None:
    events = {("Adam", seed): reaching(3, value) for seed, value in enumerate(finals(0.95))}
    events |= {("SGD", seed): reaching(7, value) for seed, value in enumerate(finals(0.90))}
    values = {name: {"kind": "ordering", "over": "SGD"} for name in ("epochs_to_target", "final_metric")}
    values["memory_overhead"] = {"kind": "ordering", "over": "SGD"}
    found = judged(tmp_path, [row(values)], events)["verdict"]
    assert found.to_dict() == {
        "epochs_to_target": "reproduced",
        "final_metric": "reproduced",
        "memory_overhead": "no difference",
    }


def test_a_budget_that_ends_before_the_claim_is_inconclusive_and_after_it_contradicts(tmp_path: Path) -> None:
    events = {("Adam", seed): curve([0.5] * 10) for seed in range(6)}
    late = {"epochs_to_target": {"kind": "numeric", "value": 12, "unit": "epochs", "margin": 1}}
    assert judged(tmp_path / "a", [row(late)], events)["verdict"].item() == "inconclusive"
    assert (
        judged(tmp_path / "b", [row({"epochs_to_target": TIME})], events)["verdict"].item() == "contradicted"
    )


def test_a_share_is_shown_in_percent_on_both_sides(tmp_path: Path) -> None:
    final = {"final_metric": {"kind": "numeric", "value": 0.94, "unit": "fraction", "margin": 0.002}}
    events = {("Adam", seed): reaching(3, value) for seed, value in enumerate(finals(0.95))}
    judged(tmp_path, [row(final)], events)
    text = report.render(read([tmp_path]), "markdown")
    assert "| final metric % | 94.00 ± 0.2 | 95.00 (94.91–95.09) | contradicted |" in " ".join(text.split())


def test_a_diverged_seed_leaves_no_interval_to_judge_by(tmp_path: Path) -> None:
    events = {("Adam", seed): reaching(3, value) for seed, value in enumerate(finals(0.95))}
    events["Adam", 0] = diverged()
    final = {"final_metric": {"kind": "numeric", "value": 0.95, "unit": "fraction", "margin": 0.1}}
    found = judged(tmp_path, [row(final)], events)
    assert found["verdict"].item() == "inconclusive"
    assert "diverged" in found["reason"].item()


def test_a_proxy_never_speaks_for_the_numbers_of_the_source(tmp_path: Path) -> None:
    events = {(label, seed): reaching(3, 0.95 + seed / 1e4) for seed in range(6) for label in ("SGD", "Adam")}
    values = {
        "epochs_to_target": TIME,
        "memory_overhead": {"kind": "deterministic", "value": 2, "unit": "x"},
        "final_metric": {"kind": "ordering", "over": "SGD", "margin": 0.01},
    }
    scope = {"model": "small_cnn", "data": "imagenet"}
    found = judged(tmp_path, [row(values, scope=scope)], events)
    assert found["verdict"].to_dict() == {
        "epochs_to_target": "not tested here",
        "memory_overhead": "reproduced",  # the bytes of the state depend on the model alone
        "final_metric": "no difference",
    }
    assert (
        found.loc["epochs_to_target", "reason"] == "the claim applies to imagenet; this workload uses digits"
    )
    assert math.isnan(found.loc["epochs_to_target", "measured"])
    assert "valid for this workload only: the source measured imagenet" in found.loc["final_metric", "reason"]


def test_another_model_has_no_verdict_on_bytes_and_other_hardware_none_on_seconds(tmp_path: Path) -> None:
    values = {
        "memory_overhead": {"kind": "deterministic", "value": 2, "unit": "x"},
        "seconds_to_target": {"kind": "numeric", "value": 1.5, "unit": "seconds", "margin": 1},
    }
    events = {("Adam", seed): reaching(3) for seed in range(6)}
    found = judged(tmp_path, [row(values, scope={"model": "resnet20"})], events)
    assert set(found["verdict"]) == {"not tested here"}
    same = judged(tmp_path / "b", [row(values, scope={"hardware": "Test CPU"})], events)
    assert same["verdict"].to_dict() == dict.fromkeys(values, "reproduced")


def test_a_word_without_a_unit_is_not_testable_and_its_interpretation_is_reported(tmp_path: Path) -> None:
    events = {("Adam", seed): reaching(3) for seed in range(6)}
    low = {"kind": "ladder", "level": "low"}
    found = judged(tmp_path / "a", [row({"memory_overhead": low})], events)
    assert found["verdict"].item() == "not testable as stated"
    found = judged(tmp_path / "b", [row({"memory_overhead": low | {"means": {"at_most": 1.25}}})], events)
    assert found["verdict"].item() == "not testable as stated"
    assert "read as at most 1.25: does not hold, measured 2" in found["reason"].item()


@pytest.mark.parametrize(
    ("column", "claim", "message"),
    [
        (
            "epochs_to_target",
            {"kind": "words", "words": "fast"},
            "expected a kind that names a quantity for 'epochs_to_target'; found 'words'",
        ),
        (
            "best_use",
            {"kind": "ladder", "level": "low"},
            "expected kind 'words' for 'best_use'; found 'ladder'",
        ),
        ("best_use", {"kind": "words"}, "requires 'words'; found nothing"),
    ],
)
def test_kind_words_is_only_for_columns_without_a_quantity(
    column: str, claim: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Claims.model_validate({column: claim})


def test_words_that_name_no_quantity_are_not_testable_and_the_derived_use_is_reported(tmp_path: Path) -> None:
    values = {
        "convergence": {"kind": "words", "words": "good for non-stationary"},
        "best_use": {"kind": "words", "words": "quick prototyping"},
    }
    cells = judged(tmp_path, [row(values)], {("Adam", seed): reaching(3) for seed in range(6)})
    assert set(cells["verdict"]) == {"not testable as stated"}
    use = cells.loc["best_use"]
    assert use["published"] == "quick prototyping"
    assert "derived from the measurements: " in use["reason"]


def test_a_row_of_an_optimizer_that_is_not_here_is_shown_and_not_tested(tmp_path: Path) -> None:
    lamb = {"source": "A table", "label": "LAMB", "values": {"epochs_to_target": TIME}}
    found = judged(tmp_path, [lamb], {("Adam", 0): reaching(3)})
    assert (found["optimizer"].item(), found["verdict"].item()) == ("LAMB", "not tested here")


# --- what people read


def test_every_format_sets_measured_beside_published(tmp_path: Path) -> None:
    events = {("Adam", seed): reaching(3) for seed in range(6)}
    judged(tmp_path, [row({"epochs_to_target": TIME})], events)
    results = read([tmp_path])
    assert "| Adam | epochs to target | 3 epochs ± 1 | 3 (2–3) | reproduced |" in report.render(
        results, "markdown"
    )
    assert "reproduced" in report.render(results, "terminal")
    assert json.loads(report.render(results, "json"))["verdicts"][0]["verdict"] == "reproduced"
    report.save(results, tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "verdicts.csv")["verdict"].tolist() == ["reproduced"]


def test_memory_is_judged_without_training_by_real_steps(tmp_path: Path, capsys: Any) -> None:
    from optbench.cli.commands.verdicts import verdicts

    (tmp_path / "s.yaml").write_text(
        """\
workload: {model: mlp, data: digits, batch_size: 8, budget: 1 epoch}
published:
  - {source: A, optimizer: Adam, values: {memory_overhead: {kind: deterministic, value: 2, unit: x}}}
  - {source: A, optimizer: RMSprop, values: {memory_overhead: {kind: deterministic, value: 1.5, unit: x}}}
optimizers: {Adam: adam, RMSprop: rmsprop}
"""
    )
    verdicts(str(tmp_path / "s.yaml"), results=tmp_path / "results", format="csv")
    out = capsys.readouterr().out.splitlines()
    assert [line.split(",")[-2] for line in out[1:]] == ["reproduced", "contradicted"]


# --- claims that nothing was observed of


EARLIER = {"epochs_to_target": {"kind": "ordering", "over": "SGD", "margin": 1}}


def test_no_order_of_times_is_concluded_where_neither_entry_reached_the_target(tmp_path: Path) -> None:
    events = {(label, seed): curve([0.5] * 10) for seed in range(6) for label in ("SGD", "Adam")}
    found = judged(tmp_path, [row(EARLIER)], events)
    assert found["verdict"].item() == "inconclusive"
    assert "neither entry reached the target" in found["reason"].item()


@pytest.mark.parametrize(
    ("arrived", "word"), [(0, "inconclusive"), (3, "inconclusive"), (4, "no difference")]
)
def test_no_difference_of_times_needs_a_time_in_more_than_half_of_the_pairs(
    tmp_path: Path, arrived: int, word: str
) -> None:
    events = {
        (label, seed): reaching(3) if seed < arrived else curve([0.5] * 10)
        for seed in range(6)
        for label in ("SGD", "Adam")
    }
    assert judged(tmp_path, [row(EARLIER)], events)["verdict"].item() == word


def test_an_entry_that_never_arrived_is_later_than_one_that_did(tmp_path: Path) -> None:
    events = {("SGD", seed): curve([0.5] * 10) for seed in range(6)}
    events |= {("Adam", seed): reaching(3) for seed in range(6)}
    assert judged(tmp_path, [row(EARLIER)], events)["verdict"].item() == "reproduced"


def test_an_order_over_the_rows_own_entry_is_refused_by_check(tmp_path: Path) -> None:
    from optbench.catalog.check import problems

    (tmp_path / "s.yaml").write_text(SUITE.replace("over: SGD", "over: Adam"))
    [problem] = problems(load(tmp_path / "s.yaml"), tmp_path)
    assert str(problem).endswith(
        "published.0.values.final_metric.over: expected an entry other than 'Adam', which this row is about: one of SGD"
    )


def test_a_stored_order_over_the_rows_own_entry_is_inconclusive(tmp_path: Path) -> None:
    itself = {name: {"kind": "ordering", "over": "Adam"} for name in ("final_metric", "epochs_to_target")}
    found = judged(tmp_path, [row(itself)], {("Adam", seed): reaching(3) for seed in range(6)})
    assert set(found["verdict"]) == {"inconclusive"}
    assert set(found["reason"]) == {"the claim compares the entry with itself"}
