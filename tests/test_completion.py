"""Tab in a shell, through the protocol that the shell itself speaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from program import optbench

ROOT = Path(__file__).resolve().parents[1]
LABELS = "optimizers:\n  SGD + Momentum: sgd\n  Größe 🚀: adam\n  $(touch hacked) 'x': adamw\n"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(LABELS, encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("optimizers: [", encoding="utf-8")
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "other").mkdir()
    return tmp_path


def answer(folder: Path, environment: dict[str, str]) -> str:
    done = optbench(cwd=folder, **environment)
    assert done.stderr == ""
    return done.stdout


def offered(folder: Path, *words: str) -> list[str]:
    """To bash, for the last of the words."""
    line = "\n".join(("optbench", *words))
    return answer(
        folder, {"_OPTBENCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    ).splitlines()


def test_suites_are_offered_by_name_and_by_file(here: Path) -> None:
    assert {"digits", "smoke", "mine.yaml"} <= set(offered(here, "run", ""))
    assert offered(here, "check", "mi") == ["mine.yaml"]
    assert offered(ROOT, "plan", "suites/dig") == ["suites/digits.yaml"]


def test_results_are_folders_with_a_plan(here: Path) -> None:
    assert "results/digits" in offered(here, "report", "")
    assert offered(here, "report", "results/dig") == ["results/digits"]
    assert not [path for path in offered(here, "records", "") if "other" in path]


def test_labels_are_those_of_the_suite_on_the_line(here: Path) -> None:
    assert offered(here, "run", "digits", "--only", "Adam") == ["Adam", "AdamW"]
    assert offered(here, "run", "mine.yaml", "--only", "G") == ["Größe\\ \\🚀"]
    assert offered(here, "run", "broken.yaml", "--only", "") == [""]
    assert offered(here, "run", "no such suite", "--only", "") == [""]


def test_an_open_quotation_mark_keeps_a_label_as_it_is(here: Path) -> None:
    assert offered(here, "run", "mine.yaml", "--only", '"SG') == ["SGD + Momentum"]


def test_keys_for_set_are_those_of_the_suite_on_the_line(here: Path) -> None:
    assert offered(here, "run", "digits", "--set", "workload.bu") == ["workload.budget.epochs="]


def test_catalog_names_and_formats_are_offered(here: Path) -> None:
    assert "models" in offered(here, "list", "")
    assert {"resnet20", "mlp"} <= set(offered(here, "memory", ""))
    assert offered(here, "memory", "resnet20", "--optimizer", "adamw") == ["adamw"]
    assert {"csv", "markdown", "terminal"} <= set(offered(here, "report", "--format", ""))
    assert offered(here, "records", "--format", "j") == ["json"]


def test_zsh_and_fish_get_descriptions_in_one_line_each(here: Path) -> None:
    line = {"_TYPER_COMPLETE_ARGS": "optbench memory ml", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    fish = answer(here, {"_OPTBENCH_COMPLETE": "complete_fish", **line}).splitlines()
    assert [text.split("\t")[0] for text in fish] == ["mlp"]
    assert "perceptron" in fish[0]
    zsh = answer(here, {"_OPTBENCH_COMPLETE": "complete_zsh", **line}).splitlines()
    assert len(zsh) == 1
    assert zsh[0].startswith('_arguments \'*: :(("mlp":')


def test_bash_puts_a_label_with_blanks_on_the_line_as_one_word(here: Path) -> None:
    """The script that `--show-completion` prints, in a real bash; nothing in a label is run."""
    program = here / "optbench"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c \'import sys; sys.argv[0] = "optbench"\n'
        'from optbench.cli.entry import main; main()\' "$@"\n'
    )
    program.chmod(0o755)
    script = (
        'export PATH="$PWD:$PATH"; eval "$(_OPTBENCH_COMPLETE=source_bash optbench)"\n'
        'COMP_WORDS=(optbench run mine.yaml --only ""); COMP_CWORD=4; _optbench_completion optbench\n'
        'for item in "${COMPREPLY[@]}"; do eval "set -- $item"; echo "$#:$1"; done'
    )
    done = subprocess.run(["bash", "-c", script], cwd=here, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["1:SGD + Momentum", "1:Größe 🚀", "1:$(touch hacked) 'x'"], (
        done.stderr
    )
    assert not (here / "hacked").exists()
