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

from optbench.catalog.task_defaults import complete
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
        own = {"verdict", "command"} if "verdict" in facts else {"verdicts", "shows"}
        assert {"says", "short", *own} <= set(facts) <= {"says", "short", "note", "figure", *own}


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


def _judged(folder: Path, rmsprop: float) -> dict[str, list[dict[str, Any]]]:
    judged: dict[str, list[dict[str, Any]]] = claims_page.verdicts(
        _results(folder, {**MEASURED, "RMSprop": rmsprop})
    )
    return judged


def _written(**sentence: Any) -> dict[str, Any]:
    """The content of docs/claims.yaml with one sentence, and T4 as measured in `MEASURED`."""
    return {**claims_page.index(), "sentences": [sentence]}


def test_the_overview_has_one_row_per_claim_with_the_decisive_number(tmp_path: Path) -> None:
    text = claims_page.page(_results(tmp_path, MEASURED))
    rows = [line for line in text.splitlines() if re.match(r"\| \[[TVP]\d+\]\(#", line)]
    assert [re.match(r"\| \[(\w+)\]", row)[1] for row in rows] == IDS  # type: ignore[index]
    row = next(row for row in rows if row.startswith("| [T4]"))
    assert "| **depends**: right except for RMSprop" in row
    assert "| 1x | RMSprop (optimizer state over parameters) |" in row
    assert "`optbench run suites/claims/T4-memory.yaml`" in row
    assert "**not measured yet**" in rows[0]


def test_the_section_of_a_claim_has_a_row_per_condition_in_the_units_of_people(tmp_path: Path) -> None:
    text = claims_page.page(_results(tmp_path, MEASURED))
    _, _, section = text.partition("### T4: ")
    section = section.partition("\n### ")[0]
    assert "Measured: optimizer state over parameters." in section
    assert "| RMSprop | 1x | 1.5x ± 0.05x | contradicted |" in section
    assert "| Adam | 2x | 2x ± 0.05x | reproduced |" in section


def test_the_page_can_be_written_before_anything_was_measured(tmp_path: Path) -> None:
    text = claims_page.page(tmp_path / "none")
    assert "no verdict is stated" in text
    assert claims_page.outdated(claims_page.index(), {}) == []


def test_words_that_the_results_do_not_support_are_not_shown(tmp_path: Path) -> None:
    """With 1.5x for RMSprop, all of T4 is reproduced."""
    judged = _judged(tmp_path, 1.5)
    problems = claims_page.outdated(
        _written(says="RMSprop keeps one copy.", rests_on={"T4": "depends"}), judged
    )
    assert any(
        problem.startswith("T4: 'short' is written for the verdicts ['reproduced',") for problem in problems
    )
    assert "sentence 1: rests on T4 being depends; the results say reproduced" in problems
    text = claims_page.page(tmp_path)
    assert "right except for RMSprop" not in text
    assert "These results do not support the sentence that stood here" in text


@pytest.mark.parametrize(
    ("basis", "problem"),
    [
        ({"T4": {"RMSprop": "contradicted"}}, ""),
        ({"P24": "contradicted"}, ""),
        (
            {"T4": {"RMSprop": "reproduced"}},
            r"rests on T4 \(RMSprop\) being reproduced; the results say contradicted",
        ),
        (
            {"T4": {"Rprop": "reproduced"}},
            r"T4 \(Rprop\) .* no such condition; expected one of SGD \+ momentum .*RMSprop",
        ),
        ({"V10": "reproduced"}, "rests on V10 being reproduced; the results say contradicted"),
    ],
)
def test_a_sentence_rests_on_verdicts(tmp_path: Path, basis: dict[str, Any], problem: str) -> None:
    content = _written(says="RMSprop keeps one copy.", rests_on=basis)
    found = [
        each for each in claims_page.outdated(content, _judged(tmp_path, 1.0)) if each.startswith("sentence")
    ]
    assert len(found) == bool(problem)
    assert not problem or re.search(problem, found[0])


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ([], "not measured yet"),
        (["reproduced", "reproduced"], "reproduced"),
        (["reproduced", "not tested here"], "reproduced"),
        (["not tested here"], "not tested here"),
        (["contradicted", "reproduced", "inconclusive"], "depends"),
        (["contradicted", "inconclusive", "not tested here"], "partly contradicted"),
        (["inconclusive", "inconclusive"], "inconclusive"),
    ],
)
def test_a_claim_has_one_verdict_only_if_its_tests_agree(words: list[str], verdict: str) -> None:
    assert claims_page.overall(words) == verdict


@pytest.mark.skipif(not claims_page.RESULTS.is_dir(), reason="results/claims has not been measured")
def test_the_committed_results_support_what_the_page_says_in_words() -> None:
    content, judged = claims_page.index(), claims_page.verdicts()
    assert claims_page.outdated(content, judged) == []
    assert len(content["sentences"]) == 5
    assert set(judged) == {claim for claim, facts in CLAIMS.items() if "verdict" not in facts}
    assert claims_page.count(content, judged).startswith("Of the 41 claims: ")


@pytest.mark.parametrize(
    "path",
    [path for path in SUITES if (claims_page.RESULTS / path.stem).is_dir()],
    ids=lambda path: path.stem,
)
def test_the_committed_results_are_of_the_suite_as_it_is(path: Path) -> None:
    stored = claims_page.RESULTS / path.stem / "suite.yaml"
    assert load(stored, complete=complete).suite == load(path, complete=complete).suite


@pytest.mark.skipif(not claims_page.FIGURES.is_dir(), reason="the figures have not been drawn")
def test_every_suite_has_a_figure_and_all_are_small() -> None:
    drawn = {file.stem: file.stat().st_size for file in claims_page.FIGURES.glob("*.svg")}
    assert set(drawn) <= {path.stem for path in SUITES}
    text = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert set(re.findall(r"!\[[^]]*\]\(figures/claims/([^)]+)\.svg\)", text)) == set(drawn)
    assert sum(drawn.values()) < 5e6
