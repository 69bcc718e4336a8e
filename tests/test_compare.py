"""`optbench compare`: two sets of results, entry by entry, and gates that fail only on evidence and never pass without any."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from optbench.analysis.changes import Change, Compared, changes_frame, compared
from optbench.analysis.contrast import Contrast, contrast, size_contrast
from optbench.analysis.gates import Gate, fails, judge
from optbench.analysis.matching import match
from optbench.analysis.settings import differences, one_sided_frame, suite_changes_frame
from optbench.cli.app import app
from optbench.errors import OptbenchError
from optbench.events import Evaluated, Event, Finished, Started
from optbench.store import read
from optbench.suite.types import Optimizer, Rule
from results_builder import a_suite, curve, diverged, failed, reaching, write

SEEDS = 5
SUITES = Path(__file__).parents[1] / "suites"


def events(seed: int, pace: float = 1.0, final: float = 0.95, **of_start: Any) -> list[Event]:
    """A trial that meets its target at epoch 5; `pace` scales its seconds."""
    changed: list[Event] = []
    for event in reaching(5, final=final + 0.001 * seed):
        if isinstance(event, Started):
            environment = {**event.environment, "started_at": f"{pace}"} | of_start.pop("environment", {})
            event = replace(event, environment=environment, **of_start)
        elif isinstance(event, (Evaluated, Finished)):
            scale = pace * (1 + 0.01 * ((seed * 7) % 3))
            event = replace(
                event, train_seconds=event.train_seconds * scale, cpu_seconds=event.cpu_seconds * scale
            )
        changed.append(event)
    return changed


def results(root: Path, paces: Iterable[float] = (1.0,) * SEEDS, **of_all: Any) -> Path:
    """Two entries; the seconds of each seed are scaled by its pace."""
    suite = a_suite(seeds=len(list(paces)))
    trials = {
        (label, seed): events(seed, pace, **of_all)
        for seed, pace in enumerate(paces)
        for label in suite.optimizers
    }
    write(root, suite, trials)
    return root


def table(before: Path, after: Path) -> pd.DataFrame:
    return changes_frame(compared(match(read([before]), read([after]))))


def row(frame: pd.DataFrame, quantity: str, optimizer: str = "SGD") -> pd.Series[Any]:
    [found] = [
        one for _, one in frame.iterrows() if one["quantity"] == quantity and one["optimizer"] == optimizer
    ]
    return found


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


SLOWER = (1.10, 1.11, 1.09, 1.10, 1.12)
NOISY = (0.7, 1.5, 0.9, 1.45, 1.05)


def test_the_difference_is_that_of_logs_paired_by_seed(tmp_path: Path) -> None:
    frame = table(results(tmp_path / "a"), results(tmp_path / "b", SLOWER))
    found = row(frame, "seconds_per_epoch")
    logs = np.log(SLOWER)
    half = 2.7764451 * logs.std(ddof=1) / np.sqrt(5)
    assert found["method"] == "paired"
    assert found["change"] == pytest.approx(np.expm1(logs.mean()))
    assert found["low"] == pytest.approx(np.expm1(logs.mean() - half))
    assert found["high"] == pytest.approx(np.expm1(logs.mean() + half))
    assert found["word"] == "slower"
    assert row(frame, "samples_per_second")["word"] == "slower"
    assert row(frame, "samples_per_second")["change"] == pytest.approx(1 / np.exp(logs.mean()) - 1)
    assert row(frame, "epochs_to_target")["change"] == 0
    assert row(frame, "seconds_to_target")["word"] == "slower"


def test_other_initial_weights_are_not_paired(tmp_path: Path) -> None:
    frame = table(results(tmp_path / "a"), results(tmp_path / "b", SLOWER, initial_weights="other"))
    assert row(frame, "seconds_per_epoch")["method"] == "welch"


def test_unknown_initial_weights_as_of_imported_logs_are_not_paired(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    frame = table(results(a, initial_weights=""), results(b, SLOWER, initial_weights=""))
    assert row(frame, "seconds_per_epoch")["method"] == "welch"


def test_no_word_where_the_interval_holds_zero(tmp_path: Path) -> None:
    frame = table(results(tmp_path / "a"), results(tmp_path / "b", NOISY))
    found = row(frame, "seconds_per_epoch")
    assert found["low"] < 0 < found["high"]
    assert not (frame["word"].astype(bool) & (frame["low"] <= 0) & (frame["high"] >= 0)).any()
    shown = command(tmp_path / "a", tmp_path / "b")
    assert shown.exit_code == 0
    tables = shown.stdout.split("Changes from before to after")[0]
    assert "slower" not in tables
    assert "faster" not in tables


def test_fewer_seconds_for_few_epochs_are_hidden_by_the_evaluation_grid(tmp_path: Path) -> None:
    """Arriving half an evaluation earlier on average is nothing that the evaluations can show."""
    suite = a_suite(["SGD"], seeds=6)
    for name, at in (("a", (5, 5, 5, 5, 5, 5)), ("b", (5, 4, 4, 5, 4, 4))):
        write(tmp_path / name, suite, {("SGD", seed): reaching(epoch) for seed, epoch in enumerate(at)})
    frame = table(tmp_path / "a", tmp_path / "b")
    assert row(frame, "epochs_to_target")["p_holm"] == 1
    assert row(frame, "epochs_to_target")["word"] == ""


def test_seeds_that_never_arrive_are_censored_not_dropped(tmp_path: Path) -> None:
    suite = a_suite(["SGD"], seeds=6)
    write(tmp_path / "a", suite, {("SGD", seed): reaching(3) for seed in range(6)})
    write(tmp_path / "b", suite, {("SGD", seed): curve([0.5] * 10) for seed in range(6)})
    found = row(table(tmp_path / "a", tmp_path / "b"), "epochs_to_target")
    assert found["method"] == "permutation"
    assert found["change"] == pytest.approx(7)
    assert found["word"] == "more"
    assert "6 of 6 before, 0 of 6 after" in found["note"]


def test_a_slower_run_fails_the_gate_on_evidence_only(tmp_path: Path) -> None:
    a, b, c = (
        results(tmp_path / "a"),
        results(tmp_path / "b", SLOWER),
        results(tmp_path / "c", NOISY),
    )
    failing = command(a, b, "--fail-if-slower", "5%")
    assert failing.exit_code == 1
    assert "failed: slower: SGD" in failing.stderr
    assert command(a, b, "--fail-if-slower", "15%").exit_code == 0
    unsure = command(a, c, "--fail-if-slower", "5%")
    assert unsure.exit_code == 0
    assert "warning: inconclusive: slower: SGD" in unsure.stderr
    assert command(a, c, "--fail-if-slower", "5%", "--strict").exit_code == 1


def test_a_worse_metric_fails_and_a_better_one_does_not(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a"), results(tmp_path / "b", SLOWER, final=0.93)
    for trial in (tmp_path / "b").rglob("*seed3*.jsonl"):  # not all differences equal
        trial.write_text(trial.read_text().replace("0.933", "0.9335"))
    assert command(a, b, "--fail-if-worse", "0.5%").exit_code == 1
    assert command(b, a, "--fail-if-worse", "0.5%").exit_code == 0
    assert command(a, b, "--fail-if-worse", "3%").exit_code == 0


def test_a_percentage_of_a_metric_that_is_no_fraction_is_refused(tmp_path: Path) -> None:
    suite = a_suite(["SGD"], seeds=SEEDS, metrics=("loss",), target=())
    for name in ("a", "b"):
        write(tmp_path / name, suite, {("SGD", seed): events(seed) for seed in range(SEEDS)})
    refused = command(tmp_path / "a", tmp_path / "b", "--fail-if-worse", "5%").exception
    assert isinstance(refused, OptbenchError)
    assert "loss is not a fraction: expected a difference in its own unit, for example 0.005" in str(refused)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ("5", r"below 1 \(100%\); found '5'; did you mean 5%\?"),
        ("1", "did you mean 1%"),
        ("100%", "found '100%'$"),
    ],
)
def test_a_difference_that_no_fraction_can_have_is_refused(
    tmp_path: Path, threshold: str, message: str
) -> None:
    a, b = results(tmp_path / "a", (1.0,)), results(tmp_path / "b", (1.0,))
    refused = command(a, b, "--fail-if-worse", threshold).exception
    assert isinstance(refused, OptbenchError)
    assert re.search(message, str(refused))


def test_equal_differences_have_no_interval(tmp_path: Path) -> None:
    for name, final in (("a", 0.90), ("b", 0.95)):
        write(tmp_path / name, a_suite(["SGD"], seeds=2), {("SGD", seed): curve([final]) for seed in (0, 1)})
    shown = command(tmp_path / "a", tmp_path / "b").stdout
    assert "+5.00" in shown
    assert "+5.00 to +5.00" not in shown


def test_more_bytes_fail_without_an_interval(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a"), results(tmp_path / "b", SLOWER)
    for trial in (tmp_path / "b").rglob("*Adam*.jsonl"):
        trial.write_text(trial.read_text().replace('"state_bytes": 8000', '"state_bytes": 8500'))
    assert row(table(a, b), "state_bytes", "Adam")["method"] == "exact"
    assert row(table(a, b), "state_bytes", "Adam")["word"] == "more"
    assert command(a, b, "--fail-if-more-memory", "5%").exit_code == 1
    assert command(a, b, "--fail-if-more-memory", "7%").exit_code == 0


def one_seed(root: Path) -> None:
    results(root, SLOWER[:1])


def other_labels(root: Path) -> None:
    suite = a_suite(["Lion"], seeds=SEEDS)
    write(root, suite, {("Lion", seed): events(seed, 1.1) for seed in range(SEEDS)})


def all_diverged(root: Path) -> None:
    suite = a_suite(seeds=SEEDS)
    write(root, suite, {(label, seed): diverged() for label in suite.optimizers for seed in range(SEEDS)})


def half_missing(root: Path) -> None:
    suite = a_suite(seeds=SEEDS)
    write(
        root, suite, {(label, seed): events(seed, 1.05) for label in suite.optimizers for seed in (0, 1, 2)}
    )


def broken_by_the_machine(root: Path) -> None:
    suite = a_suite(seeds=SEEDS)
    every = {(label, seed): events(seed, 1.0) for label in suite.optimizers for seed in range(SEEDS)}
    write(root, suite, every | {("SGD", 1): failed("infrastructure")})


def a_copy(root: Path) -> None:
    results(root)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (one_seed, "one seed"),
        (other_labels, "no entry in common"),
        (all_diverged, "no value that both sides measured"),
        (half_missing, "seeds 3, 4 missing"),
        (broken_by_the_machine, "seed 1 missing"),
        (a_copy, "identical records"),
    ],
)
@pytest.mark.parametrize("gate", ["--fail-if-slower", "--fail-if-worse", "--fail-if-more-memory"])
def test_a_gate_never_passes_because_nothing_was_compared(
    tmp_path: Path, make: Any, reason: str, gate: str
) -> None:
    before = results(tmp_path / "a")
    make(tmp_path / "b")
    done = command(before, tmp_path / "b", gate, "50%")
    if make is one_seed and gate == "--fail-if-more-memory":
        assert done.exit_code == 0  # bytes are the same at every seed
        return
    assert done.exit_code == 1
    assert "not judged" in done.stderr
    if not (make is all_diverged and gate == "--fail-if-worse"):
        assert reason in done.stderr


def test_seeds_that_diverge_only_after_the_change_are_never_a_pass(tmp_path: Path) -> None:
    suite = a_suite(["SGD"], seeds=SEEDS)
    write(tmp_path / "a", suite, {("SGD", seed): events(seed) for seed in range(SEEDS)})
    after = {("SGD", seed): events(seed, 1.01) for seed in range(SEEDS)} | {("SGD", 2): diverged()}
    write(tmp_path / "b", suite, after)
    found = row(table(tmp_path / "a", tmp_path / "b"), "final_metric")
    assert np.isnan(found["low"])  # a mean of measured and filled-in values has none
    done = command(tmp_path / "a", tmp_path / "b", "--fail-if-worse", "50%")
    assert done.exit_code == 1
    assert "worst outcome only after the change: seed 2" in done.stderr
    assert command(tmp_path / "b", tmp_path / "a", "--fail-if-worse", "1%").exit_code == 0


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    ("threshold", "runs"),
    [(0.05, 500), pytest.param(0.0, 10_000, marks=pytest.mark.slow)],
)
def test_false_alarms_of_a_gate_stay_at_or_below_its_level(paired: bool, threshold: float, runs: int) -> None:
    """Truth at the threshold, the worst case of no excess: 4 entries, 5 seeds, lognormal noise; level 2.5 % over all entries."""
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(runs):
        items = []
        for _entry in range(4):
            start = random.normal(0, 0.05, 5)
            noise = random.normal(np.log1p(threshold), 0.03, 5)
            after = start + noise if paired else random.normal(0, 0.05, 5) + noise
            sides = (dict(enumerate(np.exp(start))), dict(enumerate(np.exp(after))))
            items.append(as_compared(contrast(*sides, paired=paired, ratio=True)))
        alarms += fails(judge(items, Gate("slower", threshold)), strict=False)
    # three standard errors of a share of 2.5 % above it
    assert alarms / runs <= 0.025 + 3 * (0.025 * 0.975 / runs) ** 0.5
    assert alarms  # it can alarm


def test_the_gate_finds_what_is_there() -> None:
    random = np.random.default_rng(1)
    found = 0
    for _ in range(100):
        after = {seed: float(np.exp(random.normal(np.log(1.2), 0.03))) for seed in range(5)}
        items = [as_compared(contrast(dict.fromkeys(range(5), 1.0), after, paired=True, ratio=True))]
        found += fails(judge(items, Gate("slower", 0.05)), strict=False)
    assert found / 100 > 0.95


def as_compared(found: Contrast) -> Compared:
    texts = dict.fromkeys(
        ("suite", "workload", "horizon", "target", "optimizer", "metric", "metric_unit", "note", "word"), "x"
    )
    of: dict[str, Any] = {
        "quantity": "seconds_per_epoch",
        "ratio": True,
        "more_is_worse": True,
        "method": "paired",
    }
    of |= {"n_before": 5, "n_after": 5, "told_apart": False, "preliminary": False}
    of |= dict.fromkeys(("before", "after", "change", "low", "high", "p", "p_holm"), 0.0)
    return Compared(Change(**texts, **of), found, "", ("faster", "slower"))


def test_sizes_from_nothing_and_to_nothing() -> None:
    assert size_contrast({0: 0.0}, {0: 0.0}, paired=True).change == 0
    assert size_contrast({0: 0.0}, {0: 8.0}, paired=True).evidence_above(5.0) == 0
    assert size_contrast({0: 8.0}, {0: 0.0}, paired=True).evidence_above(0.0) == 1


def test_an_optimizer_that_one_side_lacks_is_one_change_of_the_suite(tmp_path: Path) -> None:
    write(tmp_path / "a", a_suite(("SGD", "Adam.v1")), {("SGD", 0): events(0)})
    write(tmp_path / "b", a_suite(("SGD", "Adam.v2")), {("SGD", 0): events(0)})
    changes = suite_changes_frame(match(read([tmp_path / "a"]), read([tmp_path / "b"])))
    assert changes[["key", "before", "after"]].to_numpy().tolist() == [
        ["optimizers.Adam.v1", "present", "–"],
        ["optimizers.Adam.v2", "–", "present"],
    ]


def test_a_side_on_which_nothing_ran_is_reported_to_have_no_values(tmp_path: Path) -> None:
    results(tmp_path / "a")
    write(tmp_path / "b", a_suite(seeds=SEEDS), {})
    said = command(tmp_path / "a", tmp_path / "b")
    assert said.exit_code == 0
    assert "one side has no measured values: nothing to compare yet" in " ".join(said.stdout.split())


def test_what_changed_in_suite_and_environment_and_what_is_in_one_only(tmp_path: Path) -> None:
    suite = a_suite(["SGD", "Adam"], seeds=2)
    other = a_suite(["SGD", "Lion"], seeds=2, batch_size=128)
    write(tmp_path / "a", suite, {("SGD", seed): events(seed) for seed in (0, 1)})
    newer = {"torch": "2.16.0", "threads": 4}
    write(tmp_path / "b", other, {("SGD", seed): events(seed, 1.1, environment=newer) for seed in (0, 1)})
    done = command(tmp_path / "a", tmp_path / "b", "--format", "json")
    assert done.exit_code == 0
    content = json.loads(done.stdout)
    assert {"suite": "digits", "key": "torch", "before": "2.15.0", "after": "2.16.0"} in content[
        "environment_changes"
    ]
    keys = {change["key"]: (change["before"], change["after"]) for change in content["suite_changes"]}
    assert keys["workload.batch_size"] == ("64", "128")
    assert keys["optimizers.Lion"] == ("–", "present")
    assert [(of["optimizer"], of["only_in"]) for of in content["only_in_one"]] == [
        ("Adam", "before"),
        ("Lion", "after"),
    ]
    assert "preliminary" in command(tmp_path / "a", tmp_path / "b").stdout


def test_lengths_of_every_unit_are_compared_as_text(tmp_path: Path) -> None:
    digits = yaml.safe_load((SUITES / "digits.yaml").read_text(encoding="utf-8"))
    amount = {"name": "custom", "value": None, "unit": "m"}  # arguments of a component, not a length
    for name, schedule, model in (
        ("a", digits["schedule"], "small_cnn"),
        ("b", {"name": "cosine", "warmup": "1 step"}, amount),
    ):
        suite = a_suite(["SGD"], seeds=1, schedule=schedule, model=model)
        write(tmp_path / name, suite, {("SGD", 0): events(0)})
    done = command(tmp_path / "a", tmp_path / "b", "--format", "json")
    changes = {of["key"]: (of["before"], of["after"]) for of in json.loads(done.stdout)["suite_changes"]}
    assert changes["schedule.warmup"] == ("5%", "1 step")


def test_a_comparison_that_matches_nothing_names_the_setting_that_differs(tmp_path: Path) -> None:
    write(tmp_path / "a", a_suite(["SGD"], seeds=1, budget={"epochs": 20}), {("SGD", 0): events(0)})
    write(tmp_path / "b", a_suite(["SGD"], seeds=1, budget={"epochs": 30}), {("SGD", 0): events(0)})
    done = command(tmp_path / "a", tmp_path / "b", "--fail-if-slower", "5%")
    assert done.exit_code == 1
    text = " ".join(done.output.split())
    assert "Nothing was compared: workload.budget: 20 epochs vs 30 epochs" in text
    assert "must match (workload.budget: 20 epochs vs 30 epochs)" in text
    assert "workload.budget.value" not in text


def test_each_reason_for_not_matching_is_named(tmp_path: Path) -> None:
    workload, longer = (a_suite(["SGD"], seeds=1, budget={"epochs": n}).workloads["main"] for n in (10, 20))
    ahead = {"SGD": Optimizer(rules=(Rule(use="torch.optim.SGD"),), horizon={"epochs": 7})}
    sides = [
        (a_suite(["Adam"], seeds=1), "optimizers: no 'SGD' on the other side"),
        (a_suite(["SGD"], seeds=1, optimizers=ahead), "optimizers.SGD.horizon: 10 epochs vs 7 epochs"),
        (a_suite(["SGD"], seeds=1, workloads={"x": workload, "y": workload}), "workload: no 'main'"),
        (a_suite(["SGD"], seeds=1, workloads={"x": longer}), "workload.budget: 10 epochs vs 20 epochs"),
    ]
    write(tmp_path / "a", a_suite(["SGD"], seeds=1), {("SGD", 0): events(0)})
    for number, (suite, reason) in enumerate(sides):
        root = tmp_path / f"b{number}"
        write(root, suite, {(label, 0): events(0) for label in suite.optimizers})
        one_sided = one_sided_frame(match(read([tmp_path / "a"]), read([root])))
        assert one_sided["difference"].iloc[0].startswith(reason)
        assert "fewer entries" not in differences(one_sided)


def test_a_change_and_its_interval_share_one_unit(tmp_path: Path) -> None:
    wide = command(results(tmp_path / "a"), results(tmp_path / "b", (2.5, 0.7, 1.0, 2.2, 0.3)))
    assert "1.03x (0.349x to 3.03x)" in wide.output
    narrow = command(tmp_path / "a", results(tmp_path / "c", NOISY))
    assert re.search(r"\+\d+\.\d % \(-\d+\.\d to \+\d+\.\d\)", narrow.output)


@pytest.mark.parametrize(
    ("limit", "meaning"),
    [
        ("50%", "All passed"),
        ("5%", "Inconclusive: the estimate is beyond the threshold, the whole interval is not"),
    ],
)
def test_only_outcomes_that_occur_are_explained_under_gates(tmp_path: Path, limit: str, meaning: str) -> None:
    done = command(
        results(tmp_path / "a"),
        results(tmp_path / "b", NOISY),
        "--fail-if-slower",
        limit,
        "--format",
        "markdown",
    )
    assert meaning in done.output
    assert "Failed: the whole interval" not in done.output


@pytest.mark.parametrize("format", ["terminal", "markdown", "csv", "json"])
def test_every_format_lives_with_hostile_labels(tmp_path: Path, format: str) -> None:
    labels = ["<script>alert(1)</script>", "=cmd|' /C calc'!A0", "🦁" * 20, "\u202eabc", "x" * 60]
    suite = a_suite(labels, seeds=2)
    for name, pace in (("a", 1.0), ("b", 1.1)):
        every = {(label, seed): events(seed, pace) for label in labels for seed in (0, 1)}
        write(tmp_path / name, suite, every)
    done = command(tmp_path / "a", tmp_path / "b", "--format", format, "--fail-if-slower", "50%")
    assert done.exit_code == 0, done.output
    assert "\u202e" not in done.output
    if format == "markdown":
        assert "<script>" not in done.stdout
    if format == "csv":
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert {"quantity", "change", "low", "high", "p_holm", "method"} <= set(rows[0])
        assert not any(row["optimizer"].startswith("=") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "a"], "contain the same results"),
        (["a", "nowhere"], "no such folder"),
        (["a", "empty"], "no results here"),
        (["a", "file"], "a file: expected a folder"),
        (["a", "b", "--fail-if-slower", "fast"], "expected 0 or more, for example 5%"),
        (["a", "b", "--fail-if-slower", "-5%"], "expected 0 or more"),
        (["a", "b", "--fail-if-worse", "nan"], "expected 0 or more"),
        (["a", "b", "--format", "jsn"], "did you mean 'json'?"),
    ],
)
def test_bad_input_is_reported_with_its_place(tmp_path: Path, arguments: list[str], said: str) -> None:
    results(tmp_path / "a", (1.0,))
    results(tmp_path / "b", (1.0,))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OptbenchError, match=said):
        CliRunner().invoke(
            app,
            ["compare", *(str(tmp_path / name) for name in arguments[:2]), *arguments[2:]],
            catch_exceptions=False,
        )
