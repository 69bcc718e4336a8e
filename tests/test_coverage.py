"""`docs/coverage.md` tells the truth: its files exist, its commands run, its suites ship, its settings are accepted."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import torch
import yaml

from optbench.catalog.check import problems
from optbench.engine.tasks import build_loss
from optbench.suite.load import load
from optbench.suite.types import Component
from optbench.verify.conformance import CHECKS
from program import typed
from test_verify import FAULTS
from trials import TINY

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/coverage.md").read_text()
QUOTED = re.findall(r"`([^`]+)`", TEXT)
COMMANDS = sorted({quoted for quoted in QUOTED if quoted.startswith("optbench ") and "my_opt" not in quoted})
SETTINGS = sorted({q for q in QUOTED if re.match(r"[a-z_.]+: ", q) and not q.startswith(("lr:", "optbench"))})


def test_every_file_that_is_named_exists() -> None:
    files = [q for q in QUOTED if re.fullmatch(r"[\w/]+(\.py|/)", q)]
    assert len(files) > 20
    for name in files:
        places = (ROOT / "src/optbench" / name, ROOT / "tests" / name, ROOT / name)
        assert any(place.exists() for place in places), name


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_as_written(command: str, tmp_path: Path) -> None:
    """Suites that take minutes are planned only; what a command writes goes elsewhere."""
    for name in ("suites", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = typed(f"{command} --dry-run" if command.startswith("optbench run") else command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_are_accepted_as_written(setting: str, tmp_path: Path) -> None:
    path, _, value = setting.partition(": ")
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(TINY))
    if path == "axes":
        loaded = load(tmp_path / "suite.yaml", [f"axes={value}"])
        assert len(loaded.cells) == 4
    else:
        plain = load(tmp_path / "suite.yaml").suite
        assert load(tmp_path / "suite.yaml", [f"{path}={value}"]).suite != plain


@pytest.mark.parametrize("entry", sorted({q for q in QUOTED if q.startswith("{use: ")}))
def test_entries_are_accepted_as_written(entry: str, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(TINY))
    loaded = load(tmp_path / "suite.yaml", [f"optimizers.SGD={entry}", "workload.data.train=2000"])
    assert problems(loaded, tmp_path) == []


def test_suites_that_show_a_technique_have_measured_results() -> None:
    for name in sorted({command.split()[2] for command in COMMANDS if command.startswith("optbench run ")}):
        assert (ROOT / "results" / name / "report.md").exists(), name


def test_no_number_is_left_out() -> None:
    assert "@@" not in TEXT


def test_the_variants_table_is_that_of_the_results() -> None:
    with (ROOT / "results/gradient_descent/report.csv").open() as file:
        measured = {row["optimizer"]: row for row in csv.DictReader(file)}
    told = dict(
        re.findall(r"^\| ([^|]+) \| `\{use: [^|]+\| [^|]+ \| (\d+ epochs, \d+ updates);", TEXT, re.MULTILINE)
    )
    assert told == {
        label: f"{float(row['epochs_to_target']):g} epochs, {float(row['steps_to_target']):g} updates"
        for label, row in measured.items()
    }
    report = (ROOT / "results/gradient_descent/report.md").read_text()
    costs = re.findall(r"^\| ([^|]+) \| `\{use: .*; ([\d.]+) ms, ([\d.]+ [kM]B) of", TEXT, re.MULTILINE)
    assert len(costs) == len(measured)
    for label, time, unit in costs:
        assert re.search(rf"^\| {re.escape(label)} \|.*\| {unit} \| {time}0? \|", report, re.MULTILINE), label


def test_the_numbers_of_faults_and_checks_are_those_of_the_page() -> None:
    assert f"| {len(FAULTS)} deliberate faults caught by name" in TEXT
    assert f"runs {len(CHECKS)} checks" in TEXT


def test_label_smoothing_is_torchs() -> None:
    scores, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    loss = build_loss(Component(name="cross_entropy", arguments={"label_smoothing": 0.1}), ".")
    wanted = torch.nn.functional.cross_entropy(scores, labels, label_smoothing=0.1)
    by_hand = -(0.9 * scores.log_softmax(1)[range(5), labels] + 0.1 * scores.log_softmax(1).mean(1)).mean()
    assert loss(scores, labels) == wanted
    assert loss(scores, labels).item() == pytest.approx(by_hand.item(), rel=1e-6)
