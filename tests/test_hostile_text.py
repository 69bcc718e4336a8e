"""Labels and titles that would steer a terminal, run in a spreadsheet or a browser, or leave the results folder."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest

from optbench.cli.completion import format_names
from optbench.report import render
from optbench.report.records import records
from optbench.store import read
from program import optbench
from results_builder import a_suite, reaching, write

LABELS = [
    "=HYPERLINK(\"http://evil\")", "+1", "-1+1", "@SUM(A1)", "\t=1", " =1", "'=1",
    "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "\ufe661", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "| a | b |", "[x](javascript:alert(1))", "`code` **bold** _it_", "\x1b[31mred\x1b[0m", "\x9b31m", "\u202eevil\u202c", "a\u2028b",
    "../../../etc/passwd", "/etc/passwd", "CON", "%s %n {0}", "\\input{/etc/passwd}", "$\\write18{id}$", "&lt;b&gt;", "]]>", "\0nul",
]  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "results"
    labels = [label for label in LABELS if label.isprintable()]
    suite = a_suite(labels, seeds=2, title=LABELS[5], description=LABELS[8])
    write(root, suite, {(label, seed): reaching(3) for label in labels for seed in range(2)})
    for path in root.rglob("*.json*"):  # what no suite may hold, tampered in
        text = path.read_text().replace("CON", "\\u001b[31mred\\u009b31m\\u202e\\u2028")
        path.write_text(text)
    return root


@pytest.mark.parametrize("format", format_names())
def test_no_format_steers_a_terminal_or_turns_text_around(results: Path, format: str) -> None:
    text = render(read([results]), format)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028]", text)


@pytest.mark.parametrize("format", format_names())
def test_no_format_brings_tags_of_its_own_into_a_page(results: Path, format: str) -> None:
    found = []

    class Page(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attributes)))

    if format in ("markdown", "html"):
        Page().feed(render(read([results]), format))
        scripts = [attributes for tag, attributes in found if "onerror" in attributes]
        assert scripts == []
        assert "alert(1)</script>" not in render(read([results]), format)


def test_no_cell_is_a_formula(results: Path) -> None:
    for text in (render(read([results]), "csv"), records(read([results]), "csv")):
        for row in csv.DictReader(io.StringIO(text)):
            for name in ("suite", "workload", "optimizer", "label"):
                start = (row.get(name) or "").lstrip()[:1]
                assert unicodedata.normalize("NFKC", start) not in ("=", "+", "-", "@", "\t", "\r")


def test_no_name_leaves_the_results_folder(tmp_path: Path) -> None:
    """A suite's file name, a label and a workload's name that point elsewhere."""
    inside = tmp_path / "inside"
    inside.mkdir()
    suite = inside / "..%2f..evil name.yaml"
    suite.write_text(
        "workloads:\n  '../../up':\n    model: {name: mlp, hidden: [4]}\n"
        "    data: {name: synthetic, shape: [6], classes: 3, train: 96, validation: 32, test: 32}\n"
        "    batch_size: 16\n    budget: 1 epoch\nseeds: 1\n"
        "optimizers:\n  '../../../escaped': {use: torch.optim.SGD, lr: 0.1}\n  '/absolute': {use: torch.optim.SGD, lr: 0.1}\n"
    )
    before = set(tmp_path.rglob("*"))
    done = optbench("run", suite.name, "--results", "results", cwd=inside)
    assert done.returncode == 0, done.stderr
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert made
    assert all(path.is_relative_to(inside / "results") for path in made)
    assert len(list((inside / "results").glob("*/trials/*.jsonl"))) == 2


def test_ids_in_tampered_records_are_never_paths(results: Path, tmp_path: Path) -> None:
    """Reading and reporting write nothing but the report, whatever the files say their ids are."""
    import shutil

    root = tmp_path / "results"
    shutil.copytree(results, root)
    for path in root.glob("*/trials/*.jsonl"):
        path.write_text(re.sub(r'"id": "[0-9a-f]+"', '"id": "../../../escaped"', path.read_text()))
    before = sorted(tmp_path.rglob("*"))
    done = optbench("report", root, "--output", tmp_path / "report.md", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "report.md"])


def test_error_messages_steer_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text('workload: {"\\e[2Jmodel": 1}\n"\\e]0;owned\\a": 2\n')
    done = optbench("check", "evil.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "owned" in done.stderr
