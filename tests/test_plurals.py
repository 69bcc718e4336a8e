"""Messages of one of everything: no "1 seeds"."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from optbench.plurals import counted
from optbench.report import render
from optbench.store import read
from optbench.suite.dump import dump_text
from optbench.suite.load import load
from optbench.suite.plan import plan
from program import optbench
from results_builder import a_suite, diverged, failed, reaching, write, write_trials

#: a count of one, and a noun in the plural; "1 % to", "0.1 points" and the like are none
WRONG = re.compile(
    r"(?<![\d.,/x%-])1 (more )?(seeds|trials|epochs|steps|points|entries|optimizers|workloads|evaluations|runs|pairs|threads|cores)\b"
)


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (1, "seed", "", "1 seed"),
        (0, "seed", "", "0 seeds"),
        (2, "entry", "entries", "2 entries"),
        (12000, "step", "", "12,000 steps"),
    ],
)
def test_a_count_agrees_with_its_noun(number: int, noun: str, plural: str, text: str) -> None:
    assert counted(number, noun, plural) == text


@pytest.mark.parametrize("end", [reaching(1), diverged(1), failed(), failed(at_fault="")])
@pytest.mark.parametrize("format", ["terminal", "markdown", "html", "latex"])
def test_reports_of_one_trial(tmp_path: Path, end, format: str) -> None:
    write(tmp_path, a_suite(["SGD"], seeds=1, budget={"epochs": 1}), {("SGD", 0): end})
    text = re.sub(
        r"<script.*?</script>|<style.*?</style>", "", render(read([tmp_path]), format), flags=re.DOTALL
    )
    assert not WRONG.findall(" ".join(text.split()))


@pytest.mark.parametrize(
    "command",
    [
        ["check", "{suite}"],
        ["plan", "{suite}"],
        ["compare", "{results}/digits", "{results}/digits"],
        ["merge", "{results}/digits", "--into", "{results}-merged"],
        ["records", "{results}/digits"],
    ],
)
def test_commands_on_one_trial(tmp_path: Path, command: list[str]) -> None:
    suite = a_suite(["SGD"], seeds=1, budget={"epochs": 1})
    (tmp_path / "digits.yaml").write_text(dump_text(suite))
    planned = plan(load(tmp_path / "digits.yaml"))
    write_trials(tmp_path / "results", suite, planned, {planned[0].id: reaching(1)})
    places = {"suite": str(tmp_path / "digits.yaml"), "results": str(tmp_path / "results")}
    done = optbench(*(part.format(**places) for part in command), cwd=tmp_path)
    assert not WRONG.findall(" ".join((done.stdout + done.stderr).split()))
