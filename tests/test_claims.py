"""The article's claims: each is listed once, has a suite or a reason, and the page states what the results say."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from optbench.events import Event, Finished, Started
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Trial
from program import optbench
from results_builder import curve, write_trials

ROOT = Path(__file__).resolve().parents[1]
SUITES = sorted((ROOT / "suites" / "claims").glob("*.yaml"))
IDS = [f"{kind}{n}" for kind, count in (("T", 7), ("V", 10), ("P", 24)) for n in range(1, count + 1)]


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("claims_page", ROOT / "docs" / "claims_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["claims_page"] = module
    spec.loader.exec_module(module)
    return module


claims_page = _module()
CLAIMS: dict[str, dict[str, Any]] = {
    claim: facts for claims in claims_page.index()["parts"].values() for claim, facts in claims.items()
}


def test_the_41_claims_are_listed_in_order() -> None:
    assert list(CLAIMS) == IDS
    for facts in CLAIMS.values():
        assert set(facts) in ({"says"}, {"says", "verdict", "because", "command"})
        assert all(isinstance(text, str) for text in facts.values())


def test_every_claim_has_a_suite_or_a_stated_verdict() -> None:
    of_claim = claims_page.suites()
    assert set(of_claim) <= set(IDS)
    for claim, facts in CLAIMS.items():
        assert (claim in of_claim) is not ("verdict" in facts), claim
        assert facts.get("verdict", "reproduced") in claims_page.WORDS


def test_the_table_of_the_article_is_consistent() -> None:
    """T7: each optimizer ends above the target that it is said to reach, within the epochs of the run."""
    suite = load(ROOT / "suites" / "imagenet.yaml").suite
    target = next(iter(suite.workloads.values())).target[0]
    assert len(suite.published) == 4
    for row in suite.published:
        time, final = row.values.epochs_to_target, row.values.final_metric
        assert time is not None
        assert time.value is not None
        assert final is not None
        assert final.value is not None
        assert row.scope.budget is not None
        assert final.value >= target.value
        assert time.value <= row.scope.budget.value


def test_an_optimizer_of_another_model_fails_the_checks(tmp_path: Path) -> None:
    """P24: the comparison loop of the article trains copies of the parameters."""
    (claim,) = [facts for claim, facts in CLAIMS.items() if claim == "P24"]
    name = claim["command"].removeprefix("optbench verify ")
    done = optbench("verify", name, cwd=ROOT)
    assert done.returncode == 1
    assert "contain other tensors than the given parameters" in " ".join(done.stdout.split())


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_a_suite_states_its_claim_command_cost_and_seeds(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert re.match(r"# Claims? [TVP]\d+", lines[0])
    assert lines[1].startswith(f"#   optbench run suites/claims/{path.name}       (")
    assert re.search(r"seconds|minute|no further trials", lines[1])
    suite = load(path).suite
    exact = {"T4-memory", "V2-memory-of-batches"}  # bytes are counted
    across = all(test.across for row in suite.published for test in row.tests)
    assert len(suite.seeds) >= 5 or path.stem in exact or across


def _results(folder: Path, multiples: dict[str, float]) -> Path:
    """Write results of the suite T4 with these bytes of state over bytes of the parameters."""
    loaded = load(ROOT / "suites" / "claims" / "T4-memory.yaml")
    trials = plan(loaded)

    def events(trial: Trial) -> list[Event]:
        size = round(4000 * multiples[trial.label])
        return [
            replace(event, state_bytes=size)
            if isinstance(event, Finished)
            else replace(event, parameter_bytes=4000)
            if isinstance(event, Started)
            else event
            for event in curve([0.9])
        ]

    write_trials(
        folder, loaded.suite, trials, {trial.id: events(trial) for trial in trials}, name="T4-memory"
    )
    return folder


MEASURED = {"SGD + Momentum": 1.0, "Adam": 2.0, "AdamW": 2.0, "RMSprop": 1.0}


def test_a_row_has_the_verdict_of_each_condition_with_its_number(tmp_path: Path) -> None:
    text = claims_page.page(_results(tmp_path, MEASURED))
    [row] = [line for line in text.splitlines() if line.startswith("| **T4**")]
    assert "| depends on the condition: 3 reproduced, 1 contradicted |" in row
    assert "RMSprop: **contradicted**, 1.00 (claimed: 1.5 ± 0.05)" in row
    assert "`optbench run suites/claims/T4-memory.yaml`" in row
    [other] = [line for line in text.splitlines() if line.startswith("| **V10**")]
    assert "| **contradicted** |" in other
    [unmeasured] = [line for line in text.splitlines() if line.startswith("| **T1**")]
    assert "| not measured yet |" in unmeasured


def test_the_page_can_be_written_before_anything_was_measured(tmp_path: Path) -> None:
    text = claims_page.page(tmp_path / "none")
    assert "no verdict is stated" in text
    assert len([line for line in text.splitlines() if line.startswith("| **")]) == 41


def test_a_sentence_is_refused_if_the_results_do_not_support_it(tmp_path: Path) -> None:
    judged = claims_page.verdicts(_results(tmp_path, MEASURED))
    basis = {"claim": "T4", "when": "RMSprop", "verdict": "contradicted"}
    right = {"says": "RMSprop keeps {0} copies.", "rests_on": [basis]}
    assert list(claims_page.sentences([right], judged))[1] == "1. RMSprop keeps 1.00 copies."
    with pytest.raises(ValueError, match=r"rests on T4 \(RMSprop\) being reproduced; the results say contra"):
        list(claims_page.sentences([{**right, "rests_on": [{**basis, "verdict": "reproduced"}]}], judged))
    with pytest.raises(ValueError, match=r"expected one test 'Rprop'; found "):
        list(claims_page.sentences([{**right, "rests_on": [{**basis, "when": "Rprop"}]}], judged))


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ([], "not measured yet"),
        (["reproduced", "reproduced"], "**reproduced**"),
        (["reproduced", "not tested here"], "**reproduced**"),
        (["not tested here"], "**not tested here**"),
        (
            ["contradicted", "reproduced", "inconclusive"],
            "depends on the condition: 1 reproduced, 1 contradicted, 1 inconclusive",
        ),
    ],
)
def test_a_claim_has_one_verdict_only_if_its_tests_agree(words: list[str], verdict: str) -> None:
    assert claims_page.overall(words) == verdict


def test_without_written_sentences_the_top_lists_the_claims_by_verdict(tmp_path: Path) -> None:
    judged = claims_page.verdicts(_results(tmp_path, MEASURED))
    lines = list(claims_page.summary(claims_page.index(), judged))
    assert "1 hold under every condition that was tested; 2 are contradicted" in lines[1]
    assert lines[2].endswith("tested: the table is consistent with itself (T7).")
    assert "tested: Adam and RMSprop use a medium amount of memory (V10); the article's code" in lines[3]
    assert lines[4].endswith("SGD low, Adam 2x, AdamW 2x, RMSprop 1.5x (T4).")


@pytest.mark.skipif(not claims_page.RESULTS.is_dir(), reason="results/claims has not been measured")
def test_the_top_of_the_page_has_five_sentences_that_the_committed_results_support() -> None:
    text = claims_page.page()
    _, _, top = text.partition("## In five sentences\n")
    assert [line[:2] for line in top.splitlines()[1:6]] == ["1.", "2.", "3.", "4.", "5."]
