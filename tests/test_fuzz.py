"""Bad input never tracebacks: every mutated input ends in success, or in an error that names its place."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from mutations import NASTY_TEXTS, as_json, changed_bytes, changed_value
from optbench.catalog.check import problems
from optbench.catalog.task_defaults import complete
from optbench.cli.completion import format_names
from optbench.errors import OptbenchError
from optbench.report import render_report
from optbench.report.build import build
from optbench.report.records import records
from optbench.store import TrialFile, read
from optbench.suite.find import shipped
from optbench.suite.load import load
from optbench.suite.plan import plan
from results_builder import a_suite, diverged, failed, reaching, write

#: without zoo: it needs packages that are not installed, and its entries take seconds per round
SUITES = {name: path.read_bytes() for name, path in shipped().items() if name != "zoo"}
ROUNDS = int(os.environ.get("OPTBENCH_FUZZ_ROUNDS", "1"))  # x 5,000 of the slow tests
#: a tenth of the inputs, and all
shares = pytest.mark.parametrize("share", [0.1, pytest.param(1.0, marks=pytest.mark.slow)])
SLOWEST_SECONDS = 20.0


class Trouble:
    """What went wrong, once for each place in the code, with an input that does it."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.good = self.refused = 0

    def attempt(self, action: Callable[[], Any], what: Any) -> None:
        """Success and explained errors are fine, and counted; everything else is kept."""
        since = time.process_time()  # whatever else the machine is busy with
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                action()
            self.good += 1
        except OptbenchError as error:
            self.refused += 1
            placed = all(p.message and (p.file or p.where or "'" in p.message) for p in error.problems)
            if not error.problems or not placed:
                self.found.setdefault("no place", f"{error!r} for {what!r}")
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            ours = [f for f in traceback.extract_tb(error.__traceback__) if "optbench" in f.filename][-1]
            place = f"{ours.filename}:{ours.lineno} ({frame.filename}:{frame.lineno})"
            self.found.setdefault(place, f"{type(error).__name__}: {str(error)[:300]} for {str(what)[:3000]}")
        if time.process_time() - since > SLOWEST_SECONDS:
            self.found.setdefault("slow", str(what)[:3000])

    def check(self) -> None:
        assert not self.found, "\n".join(f"\n{place}\n  {what}" for place, what in self.found.items())


def check_suite(path: Path, root: Path) -> None:
    loaded = load(path, complete=complete)
    found = problems(loaded, root)
    if found:
        raise OptbenchError(*found)
    if len(loaded.suite.seeds) < 1000:
        plan(loaded)


@shares
@pytest.mark.parametrize("name", SUITES)
def test_mutated_suites(name: str, share: float, tmp_path: Path) -> None:
    content, tree = SUITES[name], yaml.safe_load(SUITES[name])
    path = tmp_path / "suite.yaml"
    trouble = Trouble()
    for seed in range(round(share * ROUNDS * 2400 / len(SUITES))):
        chance = random.Random(f"{name} {seed}")
        mutated = (
            changed_bytes(content, chance) if seed % 2 else as_json(changed_value(tree, chance))
        )  # JSON is YAML
        path.write_bytes(mutated)
        trouble.attempt(partial(check_suite, path, tmp_path), (seed, mutated))
    trouble.check()
    assert share < 1 or (trouble.good and trouble.refused)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    events = {
        ("SGD", 0): reaching(3),
        ("SGD", 1): reaching(4),
        ("Adam", 0): diverged(),
        ("Adam", 1): reaching(5),
        ("Lion", 0): failed(),
    }
    write(root, a_suite(["SGD", "Adam", "Lion"], seeds=2), events)
    return root


def report_all(folder: Path, rendered: bool) -> None:
    found = read([folder])
    if rendered:
        report = build(found)
        for format in format_names():
            render_report(report, format)
        records(found, "csv")
        records(found, "json")


@shares
def test_mutated_stores(share: float, results: Path, tmp_path: Path) -> None:
    trouble = Trouble()
    files = sorted(
        path.relative_to(results) for path in results.rglob("*") if path.suffix in (".json", ".jsonl")
    )
    for seed in range(round(share * ROUNDS * 1600)):
        folder = tmp_path / str(seed)
        shutil.copytree(results, folder)
        chance = random.Random(f"store {seed}")
        for name in chance.sample(files, chance.choice([1, 1, 2])):
            path = folder / name
            path.write_bytes(mutated_records(path.read_bytes(), chance))
        trouble.attempt(partial(report_all, folder, rendered=seed % 16 == 0), seed)
        shutil.rmtree(folder)
    trouble.check()
    assert trouble.good > trouble.refused  # damage leaves out a file, with a warning, not the report


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_as_a_trials_file(results: Path, tmp_path: Path, content: bytes, appended: bool) -> None:
    """Reading leaves such a file out with a warning, or reads the whole lines before; writing refuses it or repairs its end."""
    source = min((results / "digits/trials").iterdir())
    path = tmp_path / "digits/trials" / source.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source.read_bytes() + content if appended else content)
    (suite,) = read([tmp_path]).suites
    assert suite.logs or suite.warnings
    with contextlib.suppress(OptbenchError), TrialFile.open(path) as file:
        assert file.path.read_bytes().endswith(b"\n")


def mutated_records(content: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        return changed_bytes(content, chance)
    try:
        return as_json(changed_value(json.loads(content), chance))
    except ValueError:
        lines = content.splitlines()
        at = chance.randrange(len(lines))
        lines[at] = as_json(changed_value(json.loads(lines[at]), chance))
        return b"\n".join(lines) + b"\n"


WORDS = [
    "run", "plan", "check", "report", "records", "list", "schema", "memory", "--set", "--seeds", "--results", "--only",
    "--dry-run", "--format", "--output", "--save", "--device", "--threads", "--data", "--help", "--version", "--", "-", "-x",
    "digits", "smoke", "suite.yaml", "nowhere.yaml", "csv", "json", "markdown", "models", "workload.budget.epochs=1",
    "workload.budget=x", "=", "a=b", "seeds=[0", "optimizers.SGD.lr=1e-3", "5", "-1", "1e9", "99999999999999999999",
    ".", "results", *NASTY_TEXTS,
]  # fmt: skip
SAFE_COMMANDS = {"plan", "check", "report", "records", "list", "schema"}


@cache
def program() -> Any:
    """Every command, put together once: that takes longer than most command lines."""
    from optbench.cli.app import app

    return get_command(app)


def invoke(arguments: list[str]) -> None:
    """What `main` does with a command line. An error of the parser is a SystemExit with code 2."""
    try:
        program()(arguments, standalone_mode=True)
    except SystemExit as end:
        if end.code not in (0, 1, 2, None):
            raise AssertionError(f"exit code {end.code}") from None


def mutated_command(chance: random.Random) -> list[str]:
    words = [chance.choice(sorted(SAFE_COMMANDS)), *chance.choices(WORDS, k=chance.randrange(6))]
    if "run" in words[:1]:
        words.insert(1, "--dry-run")
    return [word.replace("\0", "").replace("\ud800", "") for word in words]


@shares
def test_mutated_command_lines(
    share: float, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "suite.yaml").write_bytes(SUITES["smoke"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["optbench"])
    trouble = Trouble()
    for seed in range(round(share * ROUNDS * 1000)):
        chance = random.Random(f"command {seed}")
        arguments = mutated_command(chance)
        trouble.attempt(partial(invoke, arguments), (seed, arguments))
    trouble.check()


@shares
def test_mutations_through_the_real_program(share: float, results: Path, tmp_path: Path) -> None:
    """Exit codes, and no traceback."""
    shutil.copytree(results, tmp_path / "results")
    chance = random.Random(50)
    for seed in range(round(50 * share)):
        kind = seed % 3
        arguments = mutated_command(chance)
        if kind == 0:
            (tmp_path / "suite.yaml").write_bytes(changed_bytes(SUITES["digits"], chance))
            arguments = ["check", "suite.yaml"]
        elif kind == 1:
            path = chance.choice(sorted((tmp_path / "results").rglob("*.jsonl")))
            path.write_bytes(mutated_records(path.read_bytes() or b"{}\n", chance))
            arguments = ["report"]
        done = subprocess.run(
            [sys.executable, "-m", "optbench", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode in (0, 2), (arguments, done.stderr)
        assert "Traceback" not in done.stderr, (arguments, done.stderr)
        if done.returncode == 2:
            assert done.stderr.strip(), arguments
