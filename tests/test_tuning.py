"""Tuning: search spaces, points, selection by validation, fresh seeds, and what the report says about it."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import optbench
from optbench import report
from optbench.analysis.table import comparison
from optbench.analysis.tuned_entries import near_best_frame, tuned_entries_frame
from optbench.analysis.tuning import Selection, expected_band, expected_curve, studies, tuning_frame, winners
from optbench.catalog.check import problems
from optbench.cli.live.board import setting_of
from optbench.engine.loop import is_rung
from optbench.errors import OptbenchError
from optbench.events import Evaluated, Event, Finished
from optbench.executor.stack_partition import split_into_stacks
from optbench.report.document import Table
from optbench.report.figures import drawings
from optbench.report.figures.tuning import value_axis
from optbench.report.plots import Line
from optbench.report.tuning import values_text
from optbench.runner.following import Followed
from optbench.store import Results, read
from optbench.suite import protocols
from optbench.suite.dump import dump_text, setting_text
from optbench.suite.load import load
from optbench.suite.metric_facts import MetricFacts
from optbench.suite.plan import plan
from optbench.suite.samplers import unit_points
from optbench.suite.spaces import positions, spaces_of
from optbench.suite.tuning import TUNING_SEED, Tuning
from optbench.suite.types import Trial
from results_builder import curve, diverged, finished, write_trials

SUITE = """\
workload: {model: {name: mlp, hidden: [8]}, data: digits, batch_size: 64, budget: 2 epochs}
tuning: {trials: 4}
seeds: 5
optimizers:
  SGD: {use: sgd, lr: {log: [1e-3, 1]}}
  Adam: {use: adam, lr: {log: [1e-4, 1e-1]}, betas: [{choice: [0.9, 0.95]}, 0.999]}
  Fixed: {use: sgd, lr: 0.1}
"""


def _write(folder: Path, text: str = SUITE) -> Any:
    (folder / "s.yaml").write_text(text)
    return load(folder / "s.yaml")


def _results(
    folder: Path, events: Callable[[Trial], list[Event]], text: str = SUITE, **of_plan: Any
) -> Results:
    """Write the trials that a run would have made: the studies, then the selected settings."""
    loaded = _write(folder, text)
    for selected in ({}, None):
        trials = plan(loaded, winners=winners(read([folder / "r"])) if selected is None else {})
        by_id = {t.id: events(t) for t in trials}
        write_trials(folder / "r", loaded.suite, trials, by_id, name="s", **of_plan)
    return read([folder / "r"])


# --- spaces and points


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("{log: [1e-3, 1]}", "{log: [0, 1]}", r"s.yaml:5:.*lr: expected a minimum above 0"),
        ("{log: [1e-3, 1]}", "{log: [1, 1]}", r"lr: expected a minimum below the maximum; found 1 and 1"),
        (
            "{log: [1e-3, 1]}",
            "{log: [1]}",
            r"lr: expected two numbers, \[minimum, maximum\], as in \{log: \[1e-4, 1\]\}; found \[1\]",
        ),
        ("{log: [1e-3, 1]}", "{integer: [1, 2.5]}", r"lr: expected whole numbers"),
        ("{log: [1e-3, 1]}", "{one_minus_log: [0.1, 1]}", r"lr: expected a maximum below 1"),
        ("{choice: [0.9, 0.95]}", "{choice: [0.9]}", r"betas: expected at least two choices"),
        ("{choice: [0.9, 0.95]}", "{choice: [0.9, 0.9]}", r"betas: expected distinct choices"),
        ("{choice: [0.9, 0.95]}", "{choice: [1, 1.0]}", r"betas: expected distinct choices"),
        (
            "{log: [1e-3, 1]}",
            "{uniform: [-1e308, 1e308]}",
            r"lr: expected a range whose width is a finite number; found -1e\+308 to 1e\+308",
        ),
        (
            "{log: [1e-3, 1]}",
            "{one_minus_log: [1e-20, 0.5]}",
            r"lr: expected a minimum of at least 1e-12: 1 minus a smaller number is rounded to 1; found 1e-20",
        ),
        ("{log: [1e-3, 1]}", "{log: [a, 1]}", r"lr: expected two numbers, .*; found \['a', 1\]"),
        (
            "trials: 4",
            "trials: 0",
            r"tuning.trials: expected a whole number of at least 1 and at most 10000; found 0",
        ),
        (
            "trials: 4",
            "trials: 4, select: {on: test}",
            r"select.on: expected validation: a selection on the test split",
        ),
        (
            "trials: 4",
            "protocol: algoperf",
            r"tuning.protocol: no protocol 'algoperf'; did you mean 'algoperf-external'",
        ),
        ("trials: 4", "protocol: choi-2019", r"expected the number of 'trials'"),
        ("trials: 4", "trials: 4, budget: 3 seconds", r"budget: expected epochs or steps; found seconds"),
        (
            "trials: 4",
            "trials: 4, sampler: bo",
            r"expected one of quasi_random, random, grid, tpe, gp; found 'bo'",
        ),
        (
            "trials: 4",
            "sampler: random",
            r"expected the number of 'trials', as in \{trials: 20, sampler: random\}",
        ),
        ("{log: [1e-3, 1]}", "{log: [1e-3, 1], points: 1}", r"lr: expected 2 to 10000 points; found 1"),
    ],
)
def test_invalid_spaces_are_reported_with_their_place(
    right: str, wrong: str, message: str, tmp_path: Path
) -> None:
    assert right in SUITE
    with pytest.raises(OptbenchError, match=message):
        _write(tmp_path, SUITE.replace(right, wrong, 1))


@pytest.mark.parametrize(
    ("right", "wrong", "where", "message"),
    [
        ("tuning: {trials: 4}\n", "", "optimizers.SGD", "search spaces require 'tuning'"),
        ("lr: {log: [1e-3, 1]}", "lrr: {log: [1e-3, 1]}", "optimizers.SGD.lrr", "no argument 'lrr'"),
        (
            "trials: 4",
            "trials: 4, select: {metric: accurcy}",
            "tuning.select.metric",
            "no metric 'accurcy'; did you mean 'accuracy'",
        ),
        (
            "trials: 4",
            "trials: 4, select: {metric: time_to_target}",
            "tuning.select.metric",
            "expected a target on the validation split in the workload 'digits'",
        ),
        (
            "lr: {log: [1e-3, 1]}",
            "lr: {lg: [1e-3, 1]}",
            "optimizers.SGD.lr",
            "expected a search space (one of log, uniform, one_minus_log, integer, choice, possibly with 'points')",
        ),
        (
            "lr: {log: [1e-3, 1]}",
            "lr: {log: [1e-3, 1]}, momentum: {uniform: [-1, 3]}",
            "optimizers.SGD.momentum",
            "expected at least 0; found -1",
        ),
        (
            "trials: 4",
            "trials: 4, budget: 3 epochs",
            "tuning.budget",
            "expected at most the budget of the workload 'digits', 2 epochs; found 3 epochs",
        ),
        (
            "trials: 4",
            "trials: 4, prune: {rung: 3/4, keep: 1/2}",
            "tuning.prune.rung",
            "first evaluation after 0.75 x 2 epochs, which is the last one",
        ),
        (
            "trials: 4",
            "protocol: algoperf-self-tuning",
            "optimizers.SGD",
            "the protocol 'algoperf-self-tuning' has no search spaces: expected values",
        ),
        ("trials: 4", "trials: 4, studies: 6", "tuning.studies", "at most as many studies as seeds"),
        (
            "seeds: 5",
            "seeds: [1, 2147483650]",
            "seeds",
            "expected seeds below 2147483648: tuning trials use the seeds from there on; found 2147483650",
        ),
    ],
)
def test_check_finds_spaces_that_mean_nothing(
    right: str, wrong: str, where: str, message: str, tmp_path: Path
) -> None:
    found = problems(_write(tmp_path, SUITE.replace(right, wrong, 1)), tmp_path)
    assert any(problem.where == where and message in problem.message for problem in found), found


@pytest.mark.parametrize("sampler", ["quasi_random", "random"])
def test_more_trials_continue_the_points_of_fewer(sampler: Any) -> None:
    assert unit_points(sampler, 3, 50)[:5] == unit_points(sampler, 3, 5)
    assert unit_points(sampler, 3, 5) != unit_points(sampler, 4, 5)
    assert all(0 <= unit < 1 for point in unit_points(sampler, 3, 200) for unit in point)


def test_points_of_a_logarithmic_space_are_spread_over_its_decades(tmp_path: Path) -> None:
    loaded = _write(tmp_path, SUITE.replace("trials: 4", "trials: 60"))
    rates = [t.point["lr"] for t in plan(loaded) if t.label == "SGD" and t.study is not None]
    assert len(rates) == 60
    counts = np.histogram(np.log10(rates), bins=3, range=(-3, 0))[0]
    assert counts.sum() == 60
    assert min(counts) >= 17


def test_entries_with_equal_spaces_get_equal_points_and_nested_choices_are_filled(tmp_path: Path) -> None:
    twice = SUITE.replace("  Fixed:", "  Twin: {use: sgd, lr: {log: [1e-3, 1]}}\n  Fixed:")
    trials = [trial for trial in plan(_write(tmp_path, twice)) if trial.study is not None]
    by_label = {label: [t.point for t in trials if t.label == label] for label in ("SGD", "Twin", "Adam")}
    assert by_label["SGD"] == by_label["Twin"]
    assert {point["betas"][0] for point in by_label["Adam"]} == {0.9, 0.95}
    assert {point["betas"][1] for point in by_label["Adam"]} == {0.999}
    assert {trial.seed for trial in trials} == {TUNING_SEED}


def test_a_tuned_suite_survives_being_written_out(tmp_path: Path) -> None:
    first = _write(tmp_path)
    (tmp_path / "t.yaml").write_text(dump_text(first.suite))
    assert load(tmp_path / "t.yaml").suite == first.suite


def test_suites_without_tuning_keep_their_trial_ids(tmp_path: Path) -> None:
    text = SUITE.replace("tuning: {trials: 4}\n", "").replace("{log: [1e-3, 1]}", "0.1")
    text = text.replace("{log: [1e-4, 1e-1]}", "1e-3").replace(
        "[{choice: [0.9, 0.95]}, 0.999]", "[0.9, 0.999]"
    )
    trials = plan(_write(tmp_path, text))
    assert "study" not in trials[0].model_dump(exclude_defaults=True)


def test_a_point_that_is_drawn_again_is_a_trial_of_its_own_with_another_seed(tmp_path: Path) -> None:
    text = SUITE.replace("trials: 4", "trials: 9").replace("lr: {log: [1e-3, 1]}", "lr: {choice: [0.1, 0.2]}")
    trials = [t for t in plan(_write(tmp_path, text)) if t.label == "SGD" and t.study is not None]
    assert len({trial.config_id for trial in trials}) == 9
    for rate in (0.1, 0.2):
        of_rate = [trial for trial in trials if trial.point == {"lr": rate}]
        assert len({trial.seed for trial in of_rate}) == len(of_rate) > 1
    more = plan(_write(tmp_path, text.replace("trials: 9", "trials: 20")))
    assert [t.id for t in more if t.label == "SGD" and t.study is not None][:9] == [t.id for t in trials]


def test_a_study_of_repeated_points_completes_and_counts_every_trial(tmp_path: Path) -> None:
    text = SUITE.replace("trials: 4", "trials: 9").replace("lr: {log: [1e-3, 1]}", "lr: {choice: [0.1, 0.2]}")
    frame = tuning_frame(_results(tmp_path, _by_rate, text)).set_index("optimizer")
    assert set(frame["trials"]) == set(frame["complete"]) == {9}
    assert frame.loc["SGD", "best"] == {"lr": 0.1}
    assert len(frame.loc["SGD", "expected_best"]) == 9


# --- conditional spaces

NESTED = """\
workload: {model: {name: mlp, hidden: [8]}, data: digits, batch_size: 64, budget: 2 epochs}
tuning: {trials: 12}
optimizers:
  SGD: {use: sgd, lr: {log: [1e-3, 1]}, momentum: {choice: [0, {one_minus_log: [0.01, 0.5]}]}, nesterov: false, weight_decay: 1e-4}
"""


def test_a_choice_may_contain_spaces_which_only_its_trials_use(tmp_path: Path) -> None:
    loaded = _write(tmp_path, NESTED)
    points = [trial.point for trial in plan(loaded) if trial.study is not None]
    momenta = [point["momentum"] for point in points]
    assert 0 in momenta
    others = [momentum for momentum in momenta if momentum != 0]
    assert len(set(others)) == len(others) >= 4
    assert all(0.5 <= momentum <= 0.99 for momentum in others)
    assert problems(loaded, tmp_path) == []
    plain = _write(tmp_path, NESTED.replace("{one_minus_log: [0.01, 0.5]}", "0.9"))
    rates = [trial.point["lr"] for trial in plan(plain) if trial.study is not None]
    assert rates == [point["lr"] for point in points]  # spaces before the choice keep their points


def test_the_edge_of_a_space_in_a_choice_is_found_only_if_it_is_used() -> None:
    written = {"choice": [0, {"one_minus_log": [0.01, 0.5]}]}
    assert [space.kind for space, _ in positions(0, written)] == ["choice"]
    [_, (space, position)] = positions(0.5, written)
    assert (space.kind, position) == ("one_minus_log", pytest.approx(1))


def test_every_option_of_a_choice_is_checked(tmp_path: Path) -> None:
    text = NESTED.replace(
        "use: sgd,",
        "use: lookahead.py:Lookahead, base: {choice: [{use: sgd, lr: 0.1}, {use: adam, lrr: {log: [1e-4, 1]}}]},",
    )
    text = text.replace("momentum: {choice: [0, {one_minus_log: [0.01, 0.5]}]}, nesterov: false, ", "")
    (tmp_path / "lookahead.py").write_text(
        "import torch\n\n\nclass Lookahead(torch.optim.Optimizer):\n"
        "    def __init__(self, params, base, lr, weight_decay):\n        super().__init__(params, {})\n\n"
        "    def step(self):\n        pass\n"
    )
    loaded = _write(tmp_path, text)
    assert any("lrr" in problem.message for problem in problems(loaded, tmp_path))
    bases = [trial.point["base"] for trial in plan(loaded) if trial.study is not None]
    assert {base["use"] for base in bases} == {"sgd", "adam"}


# --- samplers

GRID = """\
workload: {model: {name: mlp, hidden: [8]}, data: digits, batch_size: 64, budget: 2 epochs}
tuning: {sampler: grid}
optimizers:
  SGD: {use: sgd, lr: {log: [1e-3, 1], points: 4}, momentum: {choice: [0, {uniform: [0.8, 0.9], points: 2}]}}
  Adam: {use: adam, lr: {log: [1e-4, 1e-2], points: 3}}
"""


def test_a_grid_has_every_combination_once_and_a_smaller_number_is_a_part_of_it(tmp_path: Path) -> None:
    trials = [trial for trial in plan(_write(tmp_path, GRID)) if trial.study is not None]
    points = [(t.point["lr"], t.point["momentum"]) for t in trials if t.label == "SGD"]
    assert sorted(points) == sorted(itertools.product([0.001, 0.01, 0.1, 1], [0, 0.8, 0.9]))
    assert sorted(t.point["lr"] for t in trials if t.label == "Adam") == [0.0001, 0.001, 0.01]
    part = plan(_write(tmp_path, GRID.replace("sampler: grid", "sampler: grid, trials: 5")))
    of_sgd = [(t.point["lr"], t.point["momentum"]) for t in part if t.label == "SGD"]
    assert of_sgd == points[:5]


def test_a_grid_of_continuous_spaces_is_refused(tmp_path: Path) -> None:
    loaded = _write(tmp_path, GRID.replace("[1e-4, 1e-2], points: 3", "[1e-4, 1e-2]"))
    [problem] = problems(loaded, tmp_path)
    assert problem.where == "optimizers.Adam"
    assert (
        "lr: a grid needs the number of points of each space, as in {log: [1e-4, 1], points: 5}"
        in problem.message
    )


def test_entries_with_different_grids_are_marked(tmp_path: Path) -> None:
    results = _results(tmp_path, _by_rate, GRID)
    assert tuning_frame(results)["complete"].tolist() == [12, 3]
    assert tuning_frame(results)["exhaustive"].all()
    covers = "the same number of trials covers them differently"
    assert covers not in report.render(results, "markdown")
    (tmp_path / "part").mkdir()
    part = _results(tmp_path / "part", _by_rate, GRID.replace("sampler: grid", "sampler: grid, trials: 3"))
    assert tuning_frame(part)["exhaustive"].tolist() == [False, True]
    assert covers in report.render(part, "markdown")
    text = report.render(results, format="markdown")
    assert "the entries have different numbers of tuning trials" in text
    assert "the best of all tuning trials per optimizer" in text


ADAPTIVE = SUITE.replace("trials: 4", "trials: 16, sampler: tpe")


def _distance(trial: Trial) -> float:
    return abs(float(np.log10(trial.point["lr"])) + 1.5)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_an_adaptive_sampler_approaches_the_optimum(sampler: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    text = SUITE.replace("trials: 4", f"trials: 20, sampler: {sampler}")
    trials = [
        t for t in plan(_write(tmp_path, text), score=_distance) if t.label == "SGD" and t.study is not None
    ]
    assert len(trials) == 20
    distances = [_distance(trial) for trial in trials]
    assert np.mean(distances[10:]) < 0.6 * np.mean(distances[:10])
    even = [t for t in plan(_write(tmp_path, SUITE.replace("trials: 4", "trials: 10"))) if t.label == "SGD"]
    assert [t.id for t in trials[:10]] == [t.id for t in even if t.study is not None]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_stopped_adaptive_study_continues_with_the_same_points(sampler: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    loaded = _write(tmp_path, SUITE.replace("trials: 4", f"trials: 14, sampler: {sampler}"))
    whole = [t.id for t in plan(loaded, score=_distance) if t.study is not None]
    ended: set[str] = set()

    def stored(trial: Trial) -> float | None:
        return _distance(trial) if trial.id in ended else None

    random = np.random.RandomState(0)
    for _ in range(40):  # each run ends some of the trials that it plans
        planned = [t for t in plan(loaded, score=stored) if t.study is not None]
        assert [t.id for t in planned] == [
            identity for identity in whole if identity in {t.id for t in planned}
        ]
        open_trials = [t.id for t in planned if t.id not in ended]
        if not open_trials:
            break
        ended |= set(open_trials[: random.randint(1, 4)])
    assert ended == set(whole)


def test_diverged_trials_are_avoided_by_an_adaptive_sampler(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    loaded = _write(tmp_path, ADAPTIVE.replace("trials: 16", "trials: 25"))
    trials = plan(loaded, score=lambda t: np.inf if t.point["lr"] > 0.03 else _distance(t))
    rates = [t.point["lr"] for t in trials if t.label == "SGD" and t.study is not None]
    assert sum(rate > 0.03 for rate in rates[10:]) <= 4
    assert sum(rate > 0.03 for rate in rates[:10]) >= 4


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_an_adaptive_sampler_accepts_conditional_and_discrete_spaces(sampler: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    text = NESTED.replace("trials: 12", f"trials: 13, sampler: {sampler}").replace(
        "nesterov: false", "dampening: {choice: [0, 0.1]}"
    )
    trials = [t for t in plan(_write(tmp_path, text), score=_distance) if t.study is not None]
    assert len(trials) == 13
    assert {trial.point["dampening"] for trial in trials} == {0, 0.1}


@pytest.mark.parametrize(("studies", "is_known"), [(1, False), (5, True)])
def test_one_adaptive_study_has_no_intervals_since_its_trials_depend_on_each_other(
    studies: int, is_known: bool, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    loaded = _write(tmp_path, ADAPTIVE.replace("trials: 16", f"trials: 11, studies: {studies}"))
    for selected in (False, True):
        known = winners(read([tmp_path / "r"])) if selected else {}
        trials = plan(loaded, winners=known, score=lambda trial: -abs(np.log10(trial.point["lr"])))
        write_trials(tmp_path / "r", loaded.suite, trials, {t.id: _by_rate(t) for t in trials}, name="s")
    results = read([tmp_path / "r"])
    table = comparison(results).set_index("optimizer")
    assert bool(np.isfinite(table.loc["SGD", "final_metric_low"])) == is_known
    assert bool(np.isfinite(table.loc["Adam", "difference_p"])) == is_known
    text = " ".join(report.render(results, format="markdown").split())
    assert ("an adaptive sampler depend on each other" in text) == (not is_known)
    drawing = next(d for d in drawings(results, comparison(results), None) if d.name == "tuning")
    assert all(not line.low for line in drawing.plot.panels[0].marks if isinstance(line, Line))


def test_a_missing_extra_is_reported_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec  # of other packages as ever: what was found is cached
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "optuna" else find_spec(name, *rest)
    )
    found = [p for p in problems(_write(tmp_path, ADAPTIVE), tmp_path) if p.where == "tuning.sampler"]
    assert [p.message for p in found] == ["the sampler 'tpe' requires Optuna: pip install 'optbench[tune]'"]


# --- selection by the time to a target

TIMED = SUITE.replace("budget: 2 epochs}", "budget: 10 epochs, target: {at_least: 0.9}}").replace(
    "trials: 4", "trials: 4, select: {metric: time_to_target}"
)


def test_the_trial_that_reaches_the_target_first_is_selected(tmp_path: Path) -> None:
    """The settings that reach the target first have the worst metric at the end."""
    rates = sorted(
        t.point["lr"] for t in plan(_write(tmp_path, TIMED)) if t.label == "SGD" and t.study is not None
    )

    def events(trial: Trial) -> list[Event]:
        rate = trial.point.get("lr") or trial.entry.rules[0].arguments["lr"]
        reached = 3 if rate <= rates[0] else 6
        return curve([0.5] * (reached - 1) + [0.92] + [0.91 if reached == 3 else 0.95] * (10 - reached))

    frame = tuning_frame(_results(tmp_path, events, TIMED)).set_index("optimizer")
    assert frame.loc["SGD", "best"] == {"lr": rates[0]}
    assert frame.loc["SGD", "metric"] == "time_to_target"
    assert not frame.loc["SGD", "higher_is_better"]
    assert (frame.loc["SGD", "tuned"], frame.loc["SGD", "fresh"]) == (30, 30)
    assert frame.loc["SGD", "expected_best"][0] == pytest.approx((30 + 3 * 60) / 4)
    text = report.render(_results(tmp_path, events, TIMED), format="markdown")
    assert "tuned steps to target" in text


def test_trials_that_miss_the_target_are_compared_by_its_metric(tmp_path: Path) -> None:
    def events(trial: Trial) -> list[Event]:
        rate = trial.point.get("lr") or trial.entry.rules[0].arguments["lr"]
        return curve([0.5] * 9 + [0.8 - 0.1 * abs(float(np.log10(rate)) + 1)])

    frame = tuning_frame(_results(tmp_path, events, TIMED)).set_index("optimizer")
    assert set(frame["tuned"]) == {100}  # the steps of the budget
    rates = [t.point["lr"] for t in plan(_write(tmp_path, TIMED)) if t.label == "SGD" and t.study is not None]
    assert frame.loc["SGD", "best"] == {"lr": min(rates, key=lambda rate: abs(np.log10(rate) + 1))}


def test_scores_order_trials_by_the_time_to_the_target_and_then_by_its_metric(tmp_path: Path) -> None:
    accuracies = [
        [0.5, 0.92, 0.99],  # second evaluation
        [0.5, 0.92, 0.91],  # second evaluation, worse at the end
        [0.5, 0.5, 0.9],  # at the end of the budget
        [0.5, 0.5, 0.89],
        [0.5, 0.5, 0.2],
    ]
    text = TIMED.replace("trials: 4", "trials: 6").replace("budget: 10 epochs", "budget: 3 epochs")
    loaded = _write(tmp_path, text)
    trials = [t for t in plan(loaded) if t.label == "SGD" and t.study is not None]
    events = {t.id: curve(own) for t, own in zip(trials, accuracies, strict=False)} | {
        trials[-1].id: diverged()
    }
    write_trials(tmp_path / "r", loaded.suite, trials, events, name="s")
    [suite] = read([tmp_path / "r"]).suites
    assert loaded.suite.tuning is not None
    selection = Selection.of(suite, loaded.suite.tuning, trials[0].workload)
    logs = {log.id: log for log in suite.logs}
    scores = [selection.score(logs[trial.id]) for trial in trials]
    assert scores == sorted(scores)  # type: ignore[type-var]
    assert len(set(scores)) == 6
    assert scores[-1] == np.inf
    assert selection.score(None) is None


# --- protocols


def test_every_protocol_is_a_valid_tuning_with_a_source() -> None:
    for name in protocols.names():
        published = protocols.protocol(name)
        assert published.source.startswith("https://")
        assert Tuning.model_validate({"trials": 7, **published.tuning}).overrides == {}
        assert {"title", "differs"} <= {key for key, value in vars(published).items() if value}


def test_a_protocol_sets_the_keys_and_the_seeds_and_the_suite_overrides_them(tmp_path: Path) -> None:
    text = TIMED.replace("trials: 4, select: {metric: time_to_target}", "protocol: algoperf-external")
    suite = _write(tmp_path, text.replace("seeds: 5\n", "")).suite
    assert suite.tuning is not None
    assert (suite.tuning.trials, suite.tuning.studies, suite.seeds) == (5, 3, (0, 1, 2))
    assert suite.tuning.metric == "time_to_target"
    changed = _write(tmp_path, text.replace("algoperf-external", "algoperf-external, studies: 1, trials: 8"))
    assert changed.suite.tuning is not None
    assert changed.suite.tuning.overrides == {"trials": (5, 8), "studies": (3, 1)}
    assert changed.suite.seeds == (0, 1, 2, 3, 4)
    (tmp_path / "t.yaml").write_text(dump_text(changed.suite))
    assert load(tmp_path / "t.yaml").suite == changed.suite


def test_the_seeds_of_a_suite_override_those_of_a_protocol_also_when_written_out(tmp_path: Path) -> None:
    text = GRID.replace("sampler: grid", "protocol: deepobs")
    assert len(_write(tmp_path, text).suite.seeds) == 10
    three = _write(tmp_path, text + "seeds: 3\n")
    (tmp_path / "t.yaml").write_text(dump_text(three.suite))
    assert load(tmp_path / "t.yaml").suite.seeds == (0, 1, 2)


def test_the_report_names_the_protocol_and_what_the_suite_overrides(tmp_path: Path) -> None:
    text = TIMED.replace(
        "trials: 4, select: {metric: time_to_target}", "protocol: algoperf-external, trials: 4"
    )
    shown = " ".join(report.render(_results(tmp_path, _by_rate, text), format="markdown").split())
    assert "Protocol: external tuning ruleset of AlgoPerf v0.6 (https://github.com/mlcommons" in shown
    assert "with trials 4 instead of 5, 5 seeds instead of 3." in shown


def test_the_self_tuning_ruleset_compares_entries_as_configured(tmp_path: Path) -> None:
    text = TIMED.replace("trials: 4, select: {metric: time_to_target}", "protocol: algoperf-self-tuning")
    text = text.replace("{log: [1e-3, 1]}", "0.1").replace("{log: [1e-4, 1e-1]}", "1e-3")
    text = text.replace("[{choice: [0.9, 0.95]}, 0.999]", "[0.9, 0.999]").replace("seeds: 5\n", "")
    loaded = _write(tmp_path, text)
    assert problems(loaded, tmp_path) == []
    assert len(plan(loaded)) == 3 * 3
    shown = " ".join(report.render(_results(tmp_path, _by_rate, text), format="markdown").split())
    assert "Hyperparameters as configured. Protocol: self-tuning ruleset of AlgoPerf v0.6" in shown


# --- pruning

PRUNED = SUITE.replace("trials: 4", "trials: 8, prune: {rung: 1/4, keep: 1/2}").replace(
    "2 epochs", "8 epochs"
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("rung: 2", r"prune.rung: expected a fraction between 0 and 1, as in 1/4; found 2"),
        ("rung: 1/0", r"prune.rung: expected a fraction between 0 and 1"),
        ("rung: 1/4, keep: 1/2}, sampler: {x: 1", r"sampler: expected"),
    ],
)
def test_invalid_rungs_are_reported(wrong: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptbenchError, match=message):
        _write(tmp_path, PRUNED.replace("rung: 1/4", wrong))


def test_pruning_needs_a_sampler_that_ignores_results(tmp_path: Path) -> None:
    with pytest.raises(
        OptbenchError, match="expected 'prune' with a sampler that ignores results; found tpe"
    ):
        _write(tmp_path, PRUNED.replace("trials: 8", "trials: 8, sampler: tpe"))


def test_all_points_train_to_the_rung_and_the_best_for_the_whole_budget(tmp_path: Path) -> None:
    loaded = _write(tmp_path, PRUNED)
    first = [t for t in plan(loaded) if t.study is not None]
    assert {str(t.workload.budget) for t in first} == {"8 epochs"}
    assert {t.rung for t in first} == {0.25}
    assert len(first) == 2 * 8
    trials = [t for t in plan(loaded, score=_distance) if t.study is not None]
    assert [t.id for t in trials] == [t.id for t in first]
    whole = [t for t in trials if t.rung is None]
    for label in ("SGD", "Adam"):
        ranked = sorted((t for t in first if t.label == label), key=_distance)
        kept = [t.point for t in whole if t.label == label]
        assert sorted(map(str, kept)) == sorted(str(t.point) for t in ranked[:4])
    unpruned = plan(_write(tmp_path, PRUNED.replace(", prune: {rung: 1/4, keep: 1/2}", "")))
    assert {t.id for t in first} == {t.id for t in unpruned if t.study is not None}


def test_a_pause_ends_a_trial_only_at_or_past_the_planned_rung(tmp_path: Path) -> None:
    """A suite whose rung was raised continues the trials that paused at the lower one."""
    trial = next(t for t in plan(_write(tmp_path, PRUNED)) if t.rung is not None)
    pause = finished(status="paused", epochs=3, at_fault="")
    folder = write_trials(
        tmp_path / "r", _write(tmp_path, PRUNED).suite, [trial], {trial.id: [*curve([0.5] * 3)[:4], pause]}
    )
    for rung, has_ended in ((0.25, True), (0.3, True), (0.31, False), (None, False)):
        planned = trial.model_copy(update={"rung": rung})
        [log] = read([folder.path]).suites[0].logs
        assert log.has_ended(rung) is has_ended
        assert Followed(folder, planned).is_complete is has_ended
        with folder.open_trial(planned) as file:
            assert file.is_complete is has_ended


def test_a_rung_is_reached_although_its_step_was_rounded_up(tmp_path: Path) -> None:
    """0.07 x 100 is above 7."""
    trial = next(t for t in plan(_write(tmp_path, PRUNED)) if t.study is not None)
    assert is_rung(trial.model_copy(update={"rung": 0.07}), 7, 100)
    assert not is_rung(trial.model_copy(update={"rung": 0.07}), 6, 100)
    assert not is_rung(trial.model_copy(update={"rung": 0.07}), 100, 100)


def test_trials_of_different_lengths_are_never_in_one_stack(tmp_path: Path) -> None:
    """The budget of a stack is that of its first trial: tuning trials, rungs and sweeps differ in theirs."""
    trials = [t for t in plan(_write(tmp_path, PRUNED), None, lambda *_: "", score=_distance) if t.point]
    assert {t.engine for t in trials} == {"stacked"}
    stacks = split_into_stacks(trials, 1)
    assert sorted(len(stack) for stack in stacks) == [8, 8]
    assert all(len({trial.rung for trial in stack}) == 1 for stack in stacks)


def test_trials_that_diverged_before_the_rung_are_not_continued(tmp_path: Path) -> None:
    loaded = _write(tmp_path, PRUNED)
    trials = plan(loaded, score=lambda t: np.inf if t.point["lr"] > 0.002 else _distance(t))
    whole = [t for t in trials if t.study is not None and t.rung is None and t.label == "SGD"]
    assert all(t.point["lr"] <= 0.002 for t in whole)
    assert len(whole) <= 2


def test_the_selected_trial_is_a_whole_one_and_costs_are_those_that_were_trained(tmp_path: Path) -> None:
    """The worst settings look best at the rung of neither entry; a pruned trial is never selected."""

    def events(trial: Trial) -> list[Event]:
        rate = trial.point.get("lr") or trial.entry.rules[0].arguments["lr"]
        good = 0.9 - 0.1 * abs(np.log10(rate) + 1)
        whole = curve([good + 0.3] * 3 + [good] * 5)
        end = finished(status="paused", epochs=3, at_fault="")
        return whole if trial.rung is None else [*whole[:4], end]

    loaded = _write(tmp_path, PRUNED)
    stored: dict[str, list[Event]] = {}

    def score(trial: Trial) -> float | None:
        """Return the value at the third evaluation, which is the first one after a quarter of 100 steps."""
        return -stored[trial.id][3].metrics["validation"]["accuracy"] if trial.id in stored else None  # type: ignore[union-attr]

    for _ in range(3):
        known = winners(read([tmp_path / "r"])) if stored else {}
        trials = plan(loaded, score=score, winners=known)
        stored = {t.id: events(t) for t in trials}
        write_trials(tmp_path / "r", loaded.suite, trials, stored, name="s")
    frame = tuning_frame(read([tmp_path / "r"])).set_index("optimizer")
    assert set(frame["trials"]) == set(frame["complete"]) == {8}
    assert set(frame["pruned"]) == {4}
    assert set(frame["tuning_steps"]) == {10 * (4 * 3 + 4 * 8)}
    assert set(frame["fresh_n"]) == {5}
    rates = [t.point["lr"] for t in plan(loaded) if t.label == "SGD" and t.study is not None]
    assert frame.loc["SGD", "best"] == {"lr": min(rates, key=lambda rate: abs(np.log10(rate) + 1))}
    assert frame.loc["SGD", "tuned"] < 0.95
    [table] = [t for t in _tables(read([tmp_path / "r"])) if t.caption.startswith("Cost of tuning")]
    pruned = [column.title for column in table.columns].index("pruned")
    assert [row[pruned].text for row in table.rows] == ["4", "4"]


def test_nothing_is_selected_before_pruned_trials_are_known(tmp_path: Path) -> None:
    loaded = _write(tmp_path, PRUNED)
    trials = plan(loaded)
    write_trials(tmp_path / "r", loaded.suite, trials, {t.id: _by_rate(t) for t in trials}, name="s")
    assert winners(read([tmp_path / "r"])) == {}
    assert set(tuning_frame(read([tmp_path / "r"]))["complete"]) == {0}


def test_larger_budgets_in_one_folder_continue_the_study_and_replace_the_selected_settings(
    tmp_path: Path,
) -> None:
    """Budgets of 5, 20 and 50 trials: the trials of settings that are selected no more are in no table."""
    before: set[str] = set()
    selected = []
    for count in (5, 20, 50):
        results = _results(tmp_path, _by_rate, SUITE.replace("trials: 4", f"trials: {count}"))
        frame = tuning_frame(results).set_index("optimizer")
        assert set(frame["complete"]) == {count}
        tuning = {t.id for t in plan(load(tmp_path / "s.yaml")) if t.study is not None}
        assert before < tuning
        before = tuning
        selected.append(frame.loc["SGD", "best"]["lr"])
        table = comparison(results).set_index("optimizer")
        assert set(table["trials"]) == {5}
        good = 0.9 - 0.1 * abs(np.log10(selected[-1]) + 1)
        assert table.loc["SGD", "final_metric"] == pytest.approx(1 - good)  # of the present settings only
        assert frame.loc["SGD", "fresh_n"] == 5
    assert len(set(selected)) > 1
    assert "or tuning now selects other settings" in report.render(results, "markdown")


# --- repeated studies


STUDIES = SUITE.replace("trials: 4", "trials: 4, studies: 2")


def test_repeated_studies_have_points_and_seeds_of_their_own_and_continue_a_single_one(
    tmp_path: Path,
) -> None:
    single = {trial.id for trial in plan(_write(tmp_path)) if trial.study is not None}
    trials = [trial for trial in plan(_write(tmp_path, STUDIES)) if trial.study is not None]
    of_sgd = {n: [t.point["lr"] for t in trials if (t.label, t.study) == ("SGD", n)] for n in (0, 1)}
    assert len(of_sgd[0]) == len(of_sgd[1]) == 4
    assert not set(of_sgd[0]) & set(of_sgd[1])
    assert {trial.id for trial in trials if trial.study == 0} == single
    assert {trial.study: trial.seed for trial in trials} == {0: TUNING_SEED, 1: TUNING_SEED + 1}


def test_the_seeds_use_the_settings_of_the_studies_in_turn_and_form_one_row(tmp_path: Path) -> None:
    results = _results(tmp_path, _by_rate, STUDIES)
    selected = {study: point["lr"] for (_, label, study), point in winners(results).items() if label == "SGD"}
    assert selected[0] != selected[1]
    [suite] = results.suites
    trained = {
        log.trial["seed"]: log.trial["entry"]["rules"][0]["arguments"]["lr"]
        for log in suite.logs
        if log.trial["label"] == "SGD" and log.trial["study"] is None
    }
    assert trained == {seed: selected[seed % 2] for seed in range(5)}
    table = comparison(results).set_index("optimizer")
    assert list(table.index) == ["SGD", "Adam", "Fixed"]
    assert set(table["trials"]) == {5}
    frame = tuning_frame(results)
    of_sgd = frame[frame["optimizer"] == "SGD"].set_index("study")
    assert [of_sgd.loc[n, "best"]["lr"] for n in (1, 2)] == [selected[0], selected[1]]
    assert list(of_sgd["fresh_n"]) == [3, 2]
    assert list(of_sgd["optimism"]) == pytest.approx([0.02, 0.02])


def test_the_difference_of_tuned_entries_includes_the_variation_between_studies(tmp_path: Path) -> None:
    """The same settings are equally good on every seed: with one study all seeds agree, with five they do not."""
    spread = {}
    for count in (1, 5):
        folder = tmp_path / str(count)
        folder.mkdir()
        text = SUITE.replace("trials: 4", f"trials: 4, studies: {count}")
        table = comparison(_results(folder, _by_rate, text)).set_index("optimizer")
        spread[count] = table.loc["SGD", "final_metric_std"]
    assert spread[1] == 0
    assert spread[5] > 0.001


def test_the_report_of_repeated_studies_states_how_seeds_and_studies_combine(tmp_path: Path) -> None:
    text = " ".join(report.render(_results(tmp_path, _by_rate, STUDIES), format="markdown").split())
    assert "in each of 2 studies with different points, whose settings the seeds use in turn" in text
    assert "Intervals and tests are of means over the seeds of each study" in text


def test_the_figure_of_repeated_studies_has_one_line_per_entry(tmp_path: Path) -> None:
    results = _results(tmp_path, _by_rate, STUDIES)
    drawing = next(d for d in drawings(results, comparison(results), None) if d.name == "tuning")
    [panel] = drawing.plot.panels
    assert [len(line.x) for line in panel.marks if isinstance(line, Line)] == [4, 4]


# --- selection


def _by_rate(trial: Trial) -> list[Event]:
    """Better the nearer the rate of SGD is to 0.1; the test split says the opposite."""
    rate = trial.point.get("lr") or trial.entry.rules[0].arguments["lr"]
    good = 0.9 - 0.1 * abs(np.log10(rate) + 1)
    events = curve([0.5, good + (0.02 if trial.study is not None else 0)], final=1 - good)
    return events


def test_the_best_by_validation_is_trained_on_fresh_seeds(tmp_path: Path) -> None:
    results = _results(tmp_path, _by_rate)
    table = comparison(results).set_index("optimizer")
    assert set(table.index) == {"SGD", "Adam", "Fixed"}
    frame = tuning_frame(results).set_index("optimizer")
    tried = [t.point["lr"] for t in plan(_write(tmp_path)) if t.label == "SGD" and t.study is not None]
    best = min(tried, key=lambda rate: abs(np.log10(rate) + 1))
    assert frame.loc["SGD", "best"] == {"lr": best}
    rows = [
        row
        for row in results.suites[0].plan.rows
        if row.trial["label"] == "SGD" and row.trial["study"] is None
    ]  # type: ignore[union-attr]
    assert [row.trial["entry"]["rules"][0]["arguments"]["lr"] for row in rows] == [best]
    assert frame.loc["SGD", "optimism"] == pytest.approx(0.02)
    assert frame.loc["SGD", "fresh_n"] == 5
    assert (frame.loc["Adam", "dimensions"], frame.loc["SGD", "dimensions"]) == (2, 1)
    assert "Fixed" not in frame.index


def test_a_fresh_trial_that_diverged_counts_as_the_worst_value_as_in_the_table(tmp_path: Path) -> None:
    def events(trial: Trial) -> list[Event]:
        is_lost = trial.study is None and trial.label == "SGD" and trial.seed == 2
        return diverged() if is_lost else _by_rate(trial)

    results = _results(tmp_path, events)
    fresh = tuning_frame(results).set_index("optimizer").loc["SGD"]
    others = fresh["tuned"] - 0.02
    assert fresh["fresh"] == pytest.approx(4 / 5 * others)  # the worst accuracy is 0
    assert fresh["optimism"] == pytest.approx(0.02 + others / 5)
    final = comparison(results).set_index("optimizer").loc["SGD"]
    assert final["final_metric"] == pytest.approx(4 / 5 * (1 - others))


def test_nothing_is_selected_while_trials_are_missing(tmp_path: Path) -> None:
    loaded = _write(tmp_path)
    trials = plan(loaded)
    events = {t.id: _by_rate(t) for t in trials[:-1]}
    write_trials(tmp_path / "r", loaded.suite, trials, events, name="s")
    assert set(winners(read([tmp_path / "r"]))) == {("digits", "SGD", 0)}


def test_an_entry_whose_trials_all_diverged_has_no_row_and_a_warning(tmp_path: Path) -> None:
    results = _results(
        tmp_path, lambda t: diverged() if t.label == "Adam" and t.study is not None else _by_rate(t)
    )
    assert set(comparison(results)["optimizer"]) == {"SGD", "Fixed"}
    text = " ".join(report.render(results, format="markdown").split())
    assert "no tuning trial of Adam trained: it has no row in the table" in text


def test_the_report_has_costs_settings_and_no_claim_that_nothing_was_tuned(tmp_path: Path) -> None:
    text = report.render(_results(tmp_path, _by_rate), format="markdown")
    assert "no entry was tuned" not in text
    assert (
        "the best of 4 tuning trials per optimizer by validation, trained on fresh seeds; as configured: Fixed."
        in text
    )
    assert "Expected best accuracy % by number of tuning trials" in text
    assert "\n.\n" not in text  # of a block without facts
    assert "the entries have different numbers of search spaces" in text


def test_the_report_of_a_single_tuning_trial_states_why_there_are_no_intervals(tmp_path: Path) -> None:
    text = report.render(_results(tmp_path, _by_rate, SUITE.replace("trials: 4", "trials: 1")), "markdown")
    assert "the best of 1 tuning trial per optimizer" in text
    assert "No intervals and tests: the variation of tuning cannot be estimated from one trial" in text
    assert "random halves of the trials" not in text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.998504], "0.9985"),
        ([0.9, 0.9998567], "0.9 to 0.999857"),
        ([0.999999], "0.999999"),
        ([0.0259687], "0.026"),
        ([1, 2], "1 to 2"),
        ([[0.9, 0.998504], None], "[0.9, 0.998504] or none"),
    ],
)
def test_selected_values_near_1_and_lists_are_readable(values: list[Any], text: str) -> None:
    assert values_text(values) == text


@pytest.mark.parametrize(
    ("number", "value"), [(0.0170073, 0.982993), (3.456e-5, 0.9999654), (1.234e-7, 0.999999877), (0.9, 0.1)]
)
def test_a_value_near_1_has_three_digits_of_its_distance_from_1(number: float, value: float) -> None:
    [space] = spaces_of([{"momentum": {"one_minus_log": [number, 0.99]}}])["momentum"]
    assert space.at(0.0) == value
    assert space.position(value) == pytest.approx(0, abs=1e-3)
    assert setting_text(value) == str(value)


def test_booleans_of_a_space_are_shown_as_they_are_written(tmp_path: Path) -> None:
    text = SUITE.replace(
        "{use: sgd, lr: {log: [1e-3, 1]}}", "{use: sgd, lr: 0.1, nesterov: {choice: [true, false]}}"
    )
    trials = [
        trial for trial in plan(_write(tmp_path, text)) if trial.label == "SGD" and trial.study is not None
    ]
    assert {setting_of(trial) for trial in trials} == {" nesterov=true", " nesterov=false"}


def test_tables_and_figures_of_tuning_have_the_unit_of_the_metric(tmp_path: Path) -> None:
    results = _results(tmp_path, _by_rate, metrics={"accuracy": MetricFacts(True, unit="nats")})
    assert "Expected best accuracy (nats) by number of tuning trials" in report.render(results, "markdown")
    drawing = next(d for d in drawings(results, comparison(results), None) if d.name == "tuning")
    assert drawing.plot.panels[0].y.label == "expected best validation accuracy (nats)"


def test_a_selected_value_at_an_end_of_its_space_is_flagged(tmp_path: Path) -> None:
    text = SUITE.replace("trials: 4", "trials: 40").replace("{log: [1e-3, 1]}", "{log: [1e-3, 0.09]}")
    frame = tuning_frame(_results(tmp_path, _by_rate, text)).set_index("optimizer")
    assert frame.loc["SGD", "edge"] == "upper end of lr (0.09)"
    assert frame.loc["Adam", "edge"] == "upper end of lr (0.1)"


def test_the_expected_best_is_the_mean_over_all_orders_of_the_trials(tmp_path: Path) -> None:
    results = _results(tmp_path, _by_rate)
    study = next(study for study in studies(results) if study.label == "SGD")
    orders = list(itertools.permutations(study.scores))
    by_hand = [np.mean([max(order[:k]) for order in orders]) for k in range(1, 5)]
    assert expected_curve(study) == pytest.approx(by_hand)


def test_the_band_of_the_expected_best_contains_the_curve_and_its_figure_is_drawn(tmp_path: Path) -> None:
    results = _results(tmp_path, _by_rate, SUITE.replace("trials: 4", "trials: 12"))
    for study in studies(results):
        low, high = expected_band(study)
        assert (low <= expected_curve(study) + 1e-12).all()
        assert (expected_curve(study) <= high + 1e-12).all()
    drawing = next(d for d in drawings(results, comparison(results), None) if d.name == "tuning")
    [panel] = drawing.plot.panels
    assert [len(line.x) for line in panel.marks if isinstance(line, Line)] == [12, 12]


def test_a_study_of_one_trial_has_no_band(tmp_path: Path) -> None:
    results = _results(tmp_path, _by_rate, SUITE.replace("trials: 4", "trials: 1"))
    for study in studies(results):
        assert [len(end) for end in expected_band(study)] == [0, 0]
        assert expected_curve(study) == pytest.approx(study.scores)
    report.save(results, tmp_path / "out")


def test_studies_do_not_keep_the_results_of_a_suite_in_memory(tmp_path: Path) -> None:
    results = _results(tmp_path, _by_rate)
    suite = weakref.ref(results.suites[0])
    assert studies(results)[0] is studies(results)[0]
    del results
    gc.collect()
    assert suite() is None


def test_the_figure_shows_the_values_after_a_quarter_of_the_trials() -> None:
    calm = Line(0, (1, 2, 3, 4), (0.9, 0.8, 0.75, 0.7))
    diverging = Line(1, (1, 2, 3, 4), (1000.0, 0.9, 0.8, 0.6))
    axis, cuts = value_axis("loss", "number", (calm, diverging), higher_is_better=False)
    assert (axis.low, axis.high) == pytest.approx((0.6 - 0.018, 0.9 + 0.018))
    assert cuts
    assert not value_axis("loss", "number", (Line(0, (1, 2), (0.8, 0.8)),), higher_is_better=False)[1]


def test_the_figure_of_many_entries_is_not_scaled_to_those_that_diverge() -> None:
    lines = [Line(place, (1, 2), (0.9 - place / 100, 0.8 - place / 100)) for place in range(20)]
    lines += [Line(20, (1, 2), (5000.0, 4000.0)), Line(21, (1, 2), (0.01, 0.01))]
    axis, cuts = value_axis("loss", "number", lines, higher_is_better=False)
    assert axis.low is not None
    assert axis.low < 0.01
    assert axis.high is not None
    assert 0.9 < axis.high < 2
    assert cuts


def test_selection_among_noisy_equals_is_optimistic_by_the_expected_maximum(tmp_path: Path) -> None:
    """With 40 equal settings and noise of 0.01, the best looks 2.16 x 0.01 better than it is (normal order statistics)."""
    random = np.random.RandomState(0)
    gaps = []
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = SUITE.replace("trials: 4", "trials: 40").replace("seeds: 5", "seeds: 20")
        results = _results(folder, lambda t: curve([0.5, 0.8 + 0.01 * random.randn()]), text)
        gaps += tuning_frame(results)["optimism"].tolist()
    assert np.mean(gaps) == pytest.approx(0.0216, abs=0.003)


def _tables(results: Results) -> list[Table]:
    return [table for block in report.build_report(results).sections[0].blocks for table in block.tables]


def test_the_report_has_one_row_per_entry_over_its_studies_and_one_per_study_in_long_formats(
    tmp_path: Path,
) -> None:
    results = _results(tmp_path, _by_rate, STUDIES)
    frame = tuned_entries_frame(results).set_index("optimizer")
    per_study = tuning_frame(results)
    for label in ("SGD", "Adam"):
        own = per_study[per_study["optimizer"] == label]
        assert frame.loc[label, "tuning_steps"] == own["tuning_steps"].sum() == 2 * 4 * 20
        assert frame.loc[label, "tuned"] == pytest.approx(own["tuned"].mean())
        assert frame.loc[label, "complete"] == 8
    [cost] = [table for table in _tables(results) if table.caption.startswith("Cost of tuning")]
    [by_study] = [table for table in _tables(results) if table.caption == "Tuning by study"]
    assert [row[1].text for row in cost.rows] == ["2 x 4", "2 x 4"]
    assert by_study.detail
    assert len(by_study.rows) == 4


def test_tunability_is_the_weighted_mean_of_the_expected_best(tmp_path: Path) -> None:
    """Sivaprasad et al. 2020, with weights 4, 3, 2, 1: by hand over all orders of the four trials."""
    results = _results(tmp_path, _by_rate)
    study = next(study for study in studies(results) if study.label == "SGD")
    orders = [np.maximum.accumulate(order) for order in itertools.permutations(study.scores)]
    by_hand = np.mean([np.dot([4, 3, 2, 1], order) / 10 for order in orders])
    frame = tuned_entries_frame(results).set_index("optimizer")
    assert frame.loc["SGD", "tunability"] == pytest.approx(by_hand)


def test_the_sensitivity_around_the_selected_setting_is_that_of_the_trials_near_it(tmp_path: Path) -> None:
    """Validation accuracy falls by 0.1 per decade: 0.01 is a tenth of a decade to each side of the best rate."""
    text = SUITE.replace("trials: 4", "trials: 200")
    results = _results(tmp_path, _by_rate, text)
    near = near_best_frame(results).set_index(["optimizer", "hyperparameter"])
    sgd = near.loc[("SGD", "lr")]
    assert sgd["near_low"] == pytest.approx(0.1 * 10**-0.1, rel=0.05)
    assert sgd["near_high"] == pytest.approx(0.1 * 10**0.1, rel=0.05)
    assert sgd["decades"] == pytest.approx(0.2, abs=0.03)
    assert near.loc[("Adam", "betas"), "near_values"] in (
        [[0.9, 0.999], [0.95, 0.999]],
        [[0.95, 0.999], [0.9, 0.999]],
    )
    share = tuned_entries_frame(results).set_index("optimizer")["near_best"]
    assert share["SGD"] == pytest.approx(0.2 / 3, abs=0.01)
    assert share["Adam"] == pytest.approx(0.1 / 3, abs=0.01)


def test_shares_and_tunability_are_unknown_where_trials_are_not_spread_evenly(tmp_path: Path) -> None:
    frame = tuned_entries_frame(
        _results(tmp_path, _by_rate, SUITE.replace("trials: 4", "trials: 10, sampler: tpe"))
    )
    assert frame["near_best"].isna().all()
    assert frame["tunability"].notna().all()


# --- real runs


def _quick(**changes: Any) -> dict[str, Any]:
    return {
        "workload": {
            "model": {"name": "mlp", "hidden": [8]},
            "data": {
                "name": "synthetic",
                "shape": [6],
                "classes": 3,
                "train": 64,
                "validation": 32,
                "test": 32,
            },
            "batch_size": 16,
            "budget": {"epochs": 1},
        },
        "seeds": 2,
        "tuning": {"trials": 3},
        "optimizers": {
            "SGD": {"use": "sgd", "lr": {"log": [1e-3, 1]}},
            "Again": {"use": "sgd", "lr": {"log": [1e-3, 1]}},
        },
        **changes,
    }


def _first_attempts(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.jsonl") if "attempt" not in path.name}


def test_a_run_tunes_then_trains_and_a_larger_budget_continues_it(tmp_path: Path) -> None:
    study = optbench.run(_quick(), results=tmp_path)
    frame = study.tuning().set_index("optimizer")
    assert frame.loc["SGD", "best"] == frame.loc["Again", "best"]
    assert frame.loc["SGD", "tuned"] == frame.loc["Again", "tuned"]
    table = study.table().set_index("optimizer")
    assert table.loc["Again", "difference"] == 0
    before = _first_attempts(tmp_path)
    assert len(before) == 2 * 3 + 2 * 2
    more = optbench.run(_quick(tuning={"trials": 5}), results=tmp_path)
    assert set(more.tuning()["complete"]) == {5}
    after = _first_attempts(tmp_path)
    assert before <= after
    assert len([name for name in after - before if f"seed{TUNING_SEED}" in name]) == 2 * 2


def test_a_run_with_an_adaptive_sampler_proposes_until_its_budget_and_continues(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    study = optbench.run(_quick(tuning={"trials": 12, "sampler": "tpe"}), results=tmp_path)
    frame = study.tuning().set_index("optimizer")
    assert set(frame["complete"]) == set(frame["trials"]) == {12}
    assert frame.loc["SGD", "best"] == frame.loc["Again", "best"]  # equal spaces and results, equal points
    before = _first_attempts(tmp_path)
    assert len(before) == 2 * 12 + 2 * 2
    more = optbench.run(_quick(tuning={"trials": 13, "sampler": "tpe"}), results=tmp_path)
    assert set(more.tuning()["complete"]) == {13}
    assert before <= _first_attempts(tmp_path)


def test_a_run_prunes_and_then_trains_the_best_for_the_whole_budget(tmp_path: Path) -> None:
    suite = _quick(tuning={"trials": 4, "prune": {"rung": "1/2", "keep": "1/4"}})
    suite["workload"]["budget"] = {"epochs": 2}
    study = optbench.run(suite, results=tmp_path)
    frame = study.tuning()
    assert set(frame["complete"]) == {4}
    assert set(frame["tuning_epochs"]) == {3 * 1 + 1 * 2}
    assert set(frame["pruned"]) == {3}
    assert set(study.table()["trials"]) == {2}
    assert not list(tmp_path.rglob("*.pt"))


def _outcomes(study: optbench.Study) -> dict[str, Any]:
    """Return what the training of each tuning trial gave, without its times."""
    return {
        log.id: (
            [(event.step, event.train_loss, event.gradient_norm, event.metrics) for event in log.evaluations],
            log.finished.status,
            log.finished.final,
            [event.step for event in log.resumed],
        )
        for suite in study.results.suites
        for log in suite.logs
        if log.trial["study"] is not None and log.finished is not None
    }


@pytest.mark.parametrize("engine", ["plain", "auto"])
def test_trials_that_are_not_pruned_continue_and_equal_those_of_a_run_without_pruning(
    engine: str, tmp_path: Path
) -> None:
    """The rung is at the second of five evaluations; the schedule, the optimizer state and the random numbers continue."""
    tuning = {"trials": 8}
    changes = {"engine": engine, "schedule": {"name": "cosine", "warmup": {"percent": 20}}}
    suite = _quick(tuning=tuning, **changes)
    suite["workload"] = {**suite["workload"], "budget": {"epochs": 5}}
    suite["optimizers"]["SGD"]["momentum"] = 0.9
    whole = _outcomes(optbench.run(suite, results=tmp_path / "whole"))
    pruned = {**suite, "tuning": {**tuning, "prune": {"rung": "1/4", "keep": "1/2"}}}
    study = optbench.run(pruned, results=tmp_path / "pruned")
    found = _outcomes(study)
    assert found.keys() == whole.keys()
    kept = {name for name, (*_, resumed) in found.items() if resumed}
    assert len(kept) == 2 * 4
    for name, (evaluations, status, final, resumed) in found.items():
        if name in kept:
            assert resumed == [8]
            assert (evaluations, status, final) == whole[name][:3]
        else:
            assert (evaluations, status, final) == (whole[name][0][:2], "paused", {})
    again = optbench.run(pruned, results=tmp_path / "pruned")
    assert _outcomes(again) == found
    assert not list((tmp_path / "pruned").rglob("*.pt"))
    unpruned = optbench.run(
        suite, results=tmp_path / "pruned"
    )  # pruned trials start again: they have no checkpoint
    assert {name: each[:3] for name, each in _outcomes(unpruned).items()} == {
        name: each[:3] for name, each in whole.items()
    }


def test_a_run_with_repeated_studies_trains_every_seed_once(tmp_path: Path) -> None:
    study = optbench.run(_quick(tuning={"trials": 3, "studies": 2}), results=tmp_path)
    assert len(_first_attempts(tmp_path)) == 2 * 3 * 2 + 2 * 2
    assert set(study.table()["trials"]) == {2}
    again = optbench.run(_quick(tuning={"trials": 3, "studies": 2}), results=tmp_path)
    assert again.tuning().equals(study.tuning())


def test_stored_tuning_trials_never_end_with_another_status_than_completed(tmp_path: Path) -> None:
    study = optbench.run(_quick(), results=tmp_path)
    for suite in study.results.suites:
        for log in suite.logs:
            assert isinstance(log.finished, Finished)
            assert log.finished.status == "completed"
            assert all(isinstance(event, Evaluated) for event in log.evaluations)
