"""Tables and lines at any width: no word is broken, nothing is cut, and no column disappears."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from algoperf_builder import reaching as reaching_seconds
from algoperf_builder import targets_file
from algoperf_builder import trial as algoperf_trial
from optbench.importing.algoperf import import_algoperf
from optbench.tables import FittedTable
from program import optbench
from results_builder import a_suite, diverged, reaching, swept_twice, write

LABELS = (
    "SGD",
    "AdamW with decoupled weight decay, betas 0.9 and 0.95, warmed up for long",
    "one-label-of-a-single-word-that-is-rather-long",
    "漢字のオプティマイザ",
)
NAMES = ("optimizer", "epochs\nto target", "seconds\nto target", "final\naccuracy %", "status")


# --- one table


def shown(width: int, *rows: tuple[str, ...], titles: tuple[str, ...] = NAMES) -> list[str]:
    console = Console(file=StringIO(), width=width, color_system=None)
    is_text = tuple(title in ("optimizer", "status") for title in titles)
    console.print(FittedTable(titles, tuple(tuple(map(Text, row)) for row in rows), is_text), crop=False)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


ROW = ("SGD + Momentum", "4 (3–5)", "0.46 (0.35–0.62)", "98.7 ± 0.4", "completed")


def test_a_table_that_fits_has_one_line_per_row() -> None:
    assert shown(80, ROW, ROW)[-1].split("  ")[0] == "SGD + Momentum"
    assert len(shown(80, ROW, ROW)) == 5  # two lines of titles, a rule, two rows


def test_intervals_go_below_their_numbers_before_the_table_becomes_blocks() -> None:
    lines = shown(56, ROW)
    assert "0.46" in lines[-2]
    assert "(0.35–0.62)" in lines[-1]


def test_a_table_that_does_not_fit_is_one_block_per_row() -> None:
    assert shown(30, ROW) == [
        "optimizer: SGD + Momentum",
        "  epochs to target: 4 (3–5)",
        "  seconds to target: 0.46",
        "    (0.35–0.62)",
        "  final accuracy %: 98.7 ± 0.4",
        "  status: completed",
    ]


def test_a_title_that_occurs_twice_is_named_after_its_neighbour() -> None:
    lines = shown(
        20, ("Adam", "1.03", "1.00x", "2", "5.00x"), titles=("optimizer", "state", "\nx", "total", "\nx")
    )
    assert lines[1:] == ["  state: 1.03", "  state x: 1.00x", "  total: 2", "  total x: 5.00x"]


def test_a_word_longer_than_the_line_stays_whole() -> None:
    assert "optimizer:" in shown(20, ("a" * 50, "1"), titles=("optimizer", "seeds"))[0]
    assert any("a" * 50 in line for line in shown(20, ("a" * 50, "1"), titles=("optimizer", "seeds")))


# --- every command that prints tables or lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a suite with awkward labels, of a sweep of two hyperparameters, and of imported logs."""
    root = tmp_path_factory.mktemp("tables")
    suite = a_suite(labels=LABELS, seeds=5, title="Which one?")
    events = {
        (label, seed): diverged() if label == "SGD" and seed == 4 else reaching(3 + place, 0.9 + seed / 100)
        for place, label in enumerate(LABELS)
        for seed in range(5)
    }
    write(root / "before", suite, events)
    write(root / "after", suite, events | {("SGD", 4): reaching(6, 0.93)})
    swept_twice(root)
    logs = root / "logs"
    for name, seconds in (("a_long_submission_name", 10.0), ("another", 30.0)):
        for number in (1, 2):
            for workload in ("mnist_jax", "wmt_jax"):
                algoperf_trial(logs, name, 0, workload, number, reaching_seconds(seconds * number))
    import_algoperf(logs, targets_file(root), root / "imported")
    (root / "log.csv").write_text(
        "optimizer,seed,step,accuracy\n"
        + "".join(
            f"a_rather_long_optimizer_label_{label},{seed},{step},{step / 100}\n"
            for label in "ab"
            for seed in range(2)
            for step in (10, 20, 30)
        )
    )
    assert optbench(*COMMANDS["import csv"].split(), cwd=root).returncode == 0
    return root


COMMANDS = {
    "report": "report before",
    "report of a sweep": "report results",
    "compare": "compare before after --fail-if-slower 5% --fail-if-worse 0.5%",
    "verdicts": "verdicts changing_objective",
    "list optimizers": "list optimizers",
    "list suites": "list suites",
    "plan": "plan sensitivity",
    "plan --detect": "plan digits.yaml --results results --detect 0.5%",
    "check": "check digits sensitivity",
    "memory": "memory mlp --shape 8 --classes 3",
    "leaderboard": "report imported --leaderboard",
    "import csv": "import csv log.csv --map validation.accuracy=accuracy --results from_csv",
    "verify": "verify torch.optim.SGD --set lr=0.1",
    "watch": "watch before",
}


def words(text: str) -> set[str]:
    """Without rules, colours, the colon after a name, and digits, which may change from call to call."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    plain = re.sub(r"─+|\d", lambda found: "0" if found[0].isdigit() else " ", plain)
    return {word.rstrip(":") for word in plain.split()}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_word_is_whole_and_none_is_missing(
    command: str, width: int, terminal: bool, folder: Path
) -> None:
    colours = {"FORCE_COLOR": "1"} if terminal else {}
    line = COMMANDS[command].split(" ")
    if terminal and command.startswith("report"):
        line.append("--no-chart")
    narrow = optbench(*line, cwd=folder, COLUMNS=str(width), **colours)
    wide = optbench(*line, cwd=folder, COLUMNS="1000")
    assert narrow.returncode == wide.returncode == (command == "compare")
    assert words(narrow.stdout) == words(wide.stdout)
    plain = re.sub(r"\x1b\[[\d;]*m", "", narrow.stdout)
    for text in plain.splitlines():
        if not text.startswith("Repeat with"):  # one line, to be copied
            assert cell_len(text) <= width or len(text.split()) == 1 or text.startswith("optimizer:")
