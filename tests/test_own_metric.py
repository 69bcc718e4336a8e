"""Metrics in a file beside the suite: their names in tables, what `check` finds, and the range that a run enforces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from optbench.analysis.frames import is_worst
from optbench.analysis.published import verdicts_frame
from optbench.analysis.table import comparison
from optbench.catalog.check import examine
from optbench.catalog.metric_facts import metric_facts
from optbench.cli.live.board import Board
from optbench.cli.live.columns import metric_heading
from optbench.cli.live.glyphs import glyphs_for
from optbench.engine.stacked.loop import train_stack
from optbench.errors import OptbenchError
from optbench.report import render
from optbench.report.figures import file_drawings
from optbench.store import Results, read
from optbench.suite.dump import dump_text
from optbench.suite.load import load
from optbench.suite.metric_facts import MetricFacts
from optbench.suite.plan import plan
from optbench.suite.types import Trial
from results_builder import a_suite, curve, diverged, trials_of, write_trials
from trials import CPU, TINY, evaluations, finished, run, trials

METRICS = """
LOW, HIGH = 0.0, 1.0
HIGHER_IS_BETTER = True


def top2(outputs, labels, loss):
    return (outputs.topk(2, dim=1).indices == labels[:, None]).any(dim=1).sum()

def averaged(outputs, labels, loss):
    return top2(outputs, labels, loss) / len(labels)

def of_two(outputs, labels):
    return labels.sum()

def each(outputs, labels, loss):
    return outputs.argmax(dim=1) == labels

def raising(outputs, labels, loss):
    raise ValueError("wrong shape")

def nothing(outputs, labels, loss):
    pass

def growing(outputs, labels, loss):
    return 3 * labels.shape[0] if labels.shape[0] > 20 else 0

class Needy:
    HIGHER_IS_BETTER = True

    def __init__(self, power):
        self.power = power

    def total(self, outputs, labels, loss):
        return 0

class Margin:
    LOW, HIGH, HIGHER_IS_BETTER = None, None, False

    def total(self, outputs, labels, loss):
        return -outputs.max(dim=1).values.sum()
"""

UNITS = """
HIGHER_IS_BETTER = True
UNIT = "fraction"

def wide(outputs, labels, loss):
    return labels.sum()

class Unnamed:
    LOW, HIGH, HIGHER_IS_BETTER, UNIT = 0, 1, True, 100
    def total(self, outputs, labels, loss):
        return labels.sum()

class Text:
    LOW, HIGH, HIGHER_IS_BETTER, UNIT, FAILED = 0, 1, True, "fraction", "worst"
    def total(self, outputs, labels, loss):
        return labels.sum()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.py").write_text(METRICS)
    (tmp_path / "bare.py").write_text("def top1(outputs, labels, loss):\n    return 0\n")
    (tmp_path / "units.py").write_text(UNITS)
    (tmp_path / "turned.py").write_text(
        "LOW, HIGH, HIGHER_IS_BETTER = 1, 0, True\ndef total(outputs, labels, loss):\n    return 0\n"
    )
    return tmp_path


def one_trial(folder: Path, **workload: Any) -> Trial:
    (trial,) = trials(folder, workload=workload)
    return trial


def problems(folder: Path, **workload: Any) -> list[str]:
    suite = {**TINY, "workload": {**TINY["workload"], **workload}}
    (folder / "s.yaml").write_text(yaml.safe_dump(suite))
    return [problem.message for problem in examine(folder / "s.yaml", (), None, folder)[1]]


def test_tables_targets_and_records_use_the_name_that_the_suite_gives(folder: Path) -> None:
    own = {"own_metrics": {"top-2 rate": "m.py:top2"}, "metrics": ["top-2 rate"]}
    trial = one_trial(folder, **own, target={"metric": "top-2 rate", "at_least": 0.1})
    events = run(trial, folder)
    assert evaluations(events)[-1].metrics["validation"]["top-2 rate"] > 0.5
    loaded = load(folder / "suite.yaml")
    write_trials(folder / "results", loaded.suite, [trial], {trial.id: events}, "suite")
    (row,) = comparison(read([folder / "results"])).to_dict("records")
    assert (row["metric"], row["target"]) == ("top-2 rate", "validation top-2 rate >= 0.1")
    assert row["final_top-2 rate"] > 0.5


def _reported(folder: Path, name: str, **of_plan: Any) -> Results:
    """Return results of two entries, of which one trial diverged, with the metric called `name` at 0.9375 at the end."""
    suite = a_suite(seeds=3, own_metrics={name: "m.py:top2"}, metrics=(name,), target=())
    events: dict[str, list[Any]] = {}
    planned = trials_of(suite)
    for trial in planned:
        lost = (trial.label, trial.seed) == ("Adam", 1)
        events[trial.id] = diverged() if lost else curve([0.5, 0.9375 - trial.seed / 1000])
        for event in events[trial.id]:
            for scores in (getattr(event, "metrics", None) or getattr(event, "final", None) or {}).values():
                scores[name] = scores["accuracy"]
    write_trials(folder / name, suite, planned, events, **of_plan)
    return read([folder / name])


def test_a_metric_with_the_unit_fraction_is_shown_in_percent_everywhere(folder: Path) -> None:
    """Its name says nothing; `FAILED` is what diverged trials count as."""
    (folder / "m.py").write_text(
        METRICS.replace("LOW, HIGH", 'UNIT, FAILED = "fraction", 0.25\nLOW, HIGH', 1)
    )
    one_trial(folder, own_metrics={"hits": "m.py:top2"}, metrics=["hits"])
    facts = metric_facts(load(folder / "suite.yaml").suite, folder)
    assert facts["hits"] == MetricFacts(True, 0.0, 1.0, "fraction", 0.25)
    results = _reported(folder, "hits", metrics=facts)
    table = comparison(results).set_index("optimizer")
    assert table.loc["Adam", "final_metric"] == pytest.approx((0.9375 + 0.25 + 0.9355) / 3)
    for format in ("markdown", "terminal", "latex"):
        text = render(results, format)
        assert "93.7" in text, format
        assert "0.9365" not in text, format
    assert "final hits %" in render(results, "html")
    markdown = render(results, "markdown")
    assert "final hits %" in markdown
    assert "diverged or failed count as 25 %" in markdown
    assert "final_hits" in render(results, "csv")
    drawn = file_drawings(results, comparison(results), verdicts_frame(results))
    figures = {drawing.name: drawing.plot for drawing in drawn}
    assert figures["finals"].panels[0].x.format == "percent"
    assert figures["curves-hits"].panels[0].y.format == "percent"
    board = Board.of(trials_of(a_suite(metrics=("hits",), target=())), [], fractions=["hits"])
    assert metric_heading(list(board.rows.values()), glyphs_for("utf-8")) == "hits %"


def test_names_of_metrics_decide_nothing_if_the_plan_states_their_facts(folder: Path) -> None:
    facts = {"relative accuracy loss": MetricFacts(True, unit="nats")}
    results = _reported(folder, "relative accuracy loss", metrics=facts)
    markdown = render(results, "markdown")
    assert "%" not in markdown.splitlines()[6]
    assert "Final relative accuracy loss (nats): on the test split" in markdown
    assert comparison(results)["metric_unit"].unique().tolist() == ["nats"]


def test_a_changed_file_makes_another_trial_and_unnamed_metrics_keep_their_ids(folder: Path) -> None:
    own = {"own_metrics": {"top-2 rate": "m.py:top2"}}
    before = one_trial(folder, **own).id
    (folder / "m.py").write_text(METRICS + "\n")
    assert one_trial(folder, **own).id != before
    assert one_trial(folder).id == one_trial(folder, own_metrics={}).id


def test_a_suite_with_own_metrics_is_written_back_as_it_was_read(folder: Path) -> None:
    one_trial(folder, own_metrics={"top-2 rate": "m.py:top2"})
    suite = load(folder / "suite.yaml").suite
    (folder / "again.yaml").write_text(dump_text(suite))
    assert load(folder / "again.yaml").suite == suite


def test_functions_files_and_classes_pass_the_check(folder: Path) -> None:
    (folder / "whole.py").write_text(METRICS + "\ntotal = top2\n")
    assert problems(folder, metrics=["m.py:top2", "whole.py", "m.py:Margin"]) == []


def test_the_direction_of_a_class_is_its_own(folder: Path) -> None:
    one_trial(folder, own_metrics={"margin": "m.py:Margin", "top-2 rate": "m.py:top2"})
    found = metric_facts(load(folder / "suite.yaml").suite, folder)
    assert not found["margin"].higher_is_better
    assert found["top-2 rate"] == MetricFacts(True, 0.0, 1.0)


def test_a_computed_direction_is_found_by_importing_the_file(folder: Path) -> None:
    (folder / "computed.py").write_text(
        "HIGHER_IS_BETTER = bool(0)\ndef total(outputs, labels, loss):\n    return 0\n"
    )
    one_trial(folder, own_metrics={"rate": "computed.py"})
    assert not metric_facts(load(folder / "suite.yaml").suite, folder)["rate"].higher_is_better


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("bare.py:top1", "add HIGHER_IS_BETTER = True or False beside it"),
        ("turned.py", "expected LOW below HIGH; found 1 and 0"),
        ("units.py:wide", "a fraction has a range within 0 to 1; found None to None"),
        ("units.py:Unnamed", "expected text as UNIT, such as 'fraction' or 'nats'; found 100"),
        ("units.py:Text", "expected a number or None as FAILED; found 'worst'"),
        ("m.py:averaged", "expected the sum over the samples, not their mean"),
        ("m.py:of_two", "takes (outputs, labels); expected (outputs, labels, loss)"),
        ("m.py:Needy", "a call without arguments raises TypeError"),
        ("m.py:each", "returns a tensor of shape (8,); expected one number"),
        ("m.py:raising", "raises ValueError: wrong shape"),
        ("m.py:nothing", "returns NoneType; expected a tensor"),
        ("m.py", "m.py has no 'total'"),
        ("m.py:top3", "did you mean 'top2'?"),
        ("none.py", "no file 'none.py'"),
    ],
)
def test_check_finds_what_a_run_would_fail_on(folder: Path, use: str, message: str) -> None:
    for workload in (
        {"metrics": ["accuracy", use]},
        {"own_metrics": {"mine": use}},
        {"target": {"metric": use, "at_least": 0.5}},
    ):
        (found,) = problems(folder, **workload)
        assert message in found


def test_a_name_of_the_catalog_is_refused(folder: Path) -> None:
    (found,) = problems(folder, own_metrics={"loss": "m.py:top2"})
    assert found == "'loss' is a metric of the catalog: choose another name"


def test_a_target_outside_of_the_range_is_refused(folder: Path) -> None:
    target = {"metric": "top-2 rate", "at_least": 95}
    (found,) = problems(folder, own_metrics={"top-2 rate": "m.py:top2"}, target=target)
    assert found == (
        "expected top-2 rate between 0 and 1; found 95; top-2 rate is a fraction: did you mean 0.95?"
    )


def test_a_value_outside_of_its_range_fails_the_trial_and_not_the_optimizer(folder: Path) -> None:
    trial = one_trial(folder, own_metrics={"rate": "m.py:growing"})
    end = finished(run(trial, folder))
    assert (end.status, end.at_fault) == ("failed", "")
    assert end.detail.startswith("metric 'rate' is 3 on the validation split; expected 0 to 1")
    write_trials(folder / "results", load(folder / "suite.yaml").suite, [trial], {trial.id: [end]}, "suite")
    (log,) = read([folder / "results"]).suites[0].logs
    assert not is_worst(log)


def test_a_stack_enforces_the_range_too(folder: Path) -> None:
    trial = one_trial(folder, own_metrics={"rate": "m.py:growing"})
    with pytest.raises(OptbenchError, match="metric 'rate' is 3"):
        list(train_stack((trial,), CPU, data_root=folder))


def test_a_diverged_model_is_not_blamed_on_the_metric(folder: Path) -> None:
    wild = {"SGD": {"use": "torch.optim.SGD", "lr": 1e20}}
    (trial,) = trials(folder, optimizers=wild, workload={"own_metrics": {"rate": "m.py:top2"}})
    assert finished(run(trial, folder)).status == "diverged"


def test_plans_of_a_suite_hash_the_file_of_a_named_metric(folder: Path) -> None:
    one_trial(folder, own_metrics={"top-2 rate": "m.py:top2"})
    assert "m.py" in plan(load(folder / "suite.yaml"))[0].sources
