"""Self-check of tuning: a tuned method that loses to its special case has a search space that is too small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optbench import report
from optbench.analysis.inclusions import inclusions_frame, method_of, special_cases
from optbench.analysis.tuning import winners
from optbench.store import Results, read
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Optimizer
from results_builder import curve, write_trials

SUITE = """\
workload: {model: {name: mlp, hidden: [8]}, data: digits, batch_size: 64, budget: 2 epochs}
tuning: {trials: 6}
seeds: 5
optimizers:
"""
MOMENTUM = "{use: sgd, lr: {log: [1e-3, 1]}, momentum: {one_minus_log: [1e-2, 0.5]}}"


def _results(folder: Path, accuracies: dict[str, float], **entries: str) -> Results:
    (folder / "s.yaml").write_text(SUITE + "".join(f"  {name}: {entry}\n" for name, entry in entries.items()))
    loaded = load(folder / "s.yaml")
    for selected in (False, True):
        trials = plan(loaded, winners=winners(read([folder / "r"])) if selected else {})
        events = {
            t.id: curve([0.1, accuracies[t.label] + (t.seed * len(t.label) % 7) / 1000]) for t in trials
        }
        write_trials(folder / "r", loaded.suite, trials, events, name="s")
    return read([folder / "r"])


@pytest.mark.parametrize(
    ("entry", "method"),
    [
        ("sgd", "SGD"),
        ({"use": "torch.optim.SGD", "momentum": 0.9}, "momentum"),
        ({"use": "sgd", "momentum": {"one_minus_log": [0.01, 0.5]}, "nesterov": True}, "Nesterov momentum"),
        ({"use": "torch.optim.RMSprop", "momentum": 0.9}, "RMSprop with momentum"),
        ({"use": "adam", "amsgrad": True}, ""),
        ("timm.optim.AdamW", ""),
        ({"use": [{"parameters": "matrices", "use": "muon"}, {"parameters": "rest", "use": "adam"}]}, ""),
    ],
)
def test_the_method_of_an_entry_depends_on_its_class_and_settings(entry: Any, method: str) -> None:
    assert method_of(Optimizer.model_validate(entry)) == method


def test_special_cases_include_those_of_special_cases() -> None:
    assert set(special_cases("AdamW")) == {"Adam", "momentum", "SGD"}
    assert special_cases("SGD") == {}
    assert "Adam" not in special_cases("NAdam")


def test_adam_that_loses_to_momentum_has_too_small_a_space(tmp_path: Path) -> None:
    results = _results(
        tmp_path,
        {"Adam": 0.7, "Momentum": 0.9},
        Adam="{use: adam, lr: {log: [1e-5, 1e-3]}}",
        Momentum=MOMENTUM,
    )
    [row] = inclusions_frame(results).to_dict("records")
    assert (row["general"], row["special"]) == ("Adam", "Momentum")
    assert row["difference"] == pytest.approx(-0.2, abs=0.005)
    assert row["p"] < 0.05
    text = " ".join(report.render(results, format="markdown").split())
    assert (
        "the search space of Adam or its number of trials is too small: it is significantly worse than Momentum"
        in text
    )
    assert "a large eps, with a learning rate that grows with it" in text


@pytest.mark.parametrize(
    ("accuracies", "adam"),
    [
        ({"Adam": 0.9, "Momentum": 0.7}, "{use: adam, lr: {log: [1e-5, 1e-3]}}"),
        ({"Adam": 0.9, "Momentum": 0.9}, "{use: adam, lr: {log: [1e-5, 1e-3]}}"),
        ({"Adam": 0.7, "Momentum": 0.9}, "{use: adam, lr: 1e-3}"),
        ({"Adam": 0.7, "Momentum": 0.9}, "{use: adam, lr: {log: [1e-5, 1e-3]}, weight_decay: 0.1}"),
        ({"Adam": 0.7, "Momentum": 0.9}, "{use: adam, lr: {log: [1e-5, 1e-3]}, schedule: cosine}"),
        ({"Adam": 0.7, "Momentum": 0.9}, "{use: torch.optim.Adagrad, lr: {log: [1e-5, 1e-3]}}"),
    ],
    ids=["general wins", "equal", "not tuned", "fixed weight decay", "another schedule", "no inclusion"],
)
def test_no_warning_where_the_law_does_not_apply(
    accuracies: dict[str, float], adam: str, tmp_path: Path
) -> None:
    assert inclusions_frame(_results(tmp_path, accuracies, Adam=adam, Momentum=MOMENTUM)).empty
