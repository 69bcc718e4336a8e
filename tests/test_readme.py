"""The README tells the truth: its table is the committed one, its suite is the shipped one, its commands run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from program import typed

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_tables_are_the_committed_ones_with_their_warnings() -> None:
    shown = re.findall(r"<!-- table: (\S+) ?(\S*) -->\n(.*?)<!-- end of table -->", README, flags=re.DOTALL)
    assert len(shown) == 3
    for folder, workload, text in shown:
        sections = (ROOT / folder / "report.md").read_text().split("\n## ")
        report = next(part for part in sections if part.startswith(workload or "# ")).splitlines()
        table = [line for line in report if line.startswith("|")]
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert len(lines) == 2 + len(set(lines[2:])) > 5
        assert lines == table[: len(lines)]
        assert [line for line in text.splitlines() if "**Note:**" in line] == [
            line for line in report if "**Note:**" in line
        ]


def test_the_suite_is_the_shipped_one() -> None:
    shipped = (ROOT / "suites/digits.yaml").read_text()
    assert blocks("yaml")[0] in shipped


def commands() -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("optbench ")]


def told(command: str) -> object:
    """What takes real steps on ResNet-50 takes a minute."""
    return pytest.param(command, marks=pytest.mark.slow) if "resnet50" in command else command


@pytest.mark.parametrize("command", [told(c) for c in commands() if not c.startswith("optbench run")])
def test_commands_run(command: str, tmp_path: Path) -> None:
    """Over committed results; what is written goes elsewhere."""
    (tmp_path / "results").mkdir()
    for name in ("suites", "results/digits"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = typed(command.partition(" > ")[0], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("optbench run")])
def test_run_commands_plan(command: str, tmp_path: Path) -> None:
    done = typed(f"{command} --dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trials" in done.stdout


def test_the_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    wanted = {
        line.split()[1] for block in blocks("bash") for line in block.splitlines() if line.startswith("make ")
    }
    assert {"demo", "test"} <= wanted
    for target in wanted | {"install", "lint", "format", "smoke", "results", "gpu", "clean", "help"}:
        assert re.search(rf"^{target}:.*## ", makefile, flags=re.MULTILINE), target
