"""LaTeX: every label comes out as it is, tables are whole, and TeX takes them where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from optbench.report import render
from optbench.report.formats.latex import escaped
from optbench.store import Results, read
from program import optbench
from results_builder import HOSTILE, a_suite, diverged, reaching, write


def usual(root: Path, labels: tuple[str, ...] = ("SGD", "Adam")) -> Results:
    events = {
        (label, seed): reaching(3 + n % 5, 0.9 + n / 100 + (seed * (7 + n) % 5) / 1000)
        for n, label in enumerate(labels)
        for seed in range(5)
    }
    write(root, a_suite(labels=labels, seeds=5), events)
    return read([root])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % & more_of #1 $x$", r"50 \% \& more\_of \#1 \$x\$"),
        (r"\input{x}^2~", r"\textbackslash{}input\{x\}\textasciicircum{}2\textasciitilde{}"),
        ("a < b > c", r"a \textless{} b \textgreater{} c"),
        ("1 ± 2 – 3 → 4 ≥ 5", r"1 $\pm$ 2 -- 3 $\rightarrow$ 4 $\ge$ 5"),
        ("run --fresh --- x", "run -{}-fresh -{}-{}- x"),
        ("-0.5 and 1e-5", "$-$0.5 and 1e-5"),
        ("[8pt] *x", "{[}8pt{]} {*}x"),
        ("Adão é β", r"Ad\~{a}o \'{e} $\beta$"),
        ("🚀", "{[}U+1F680{]}"),
        ("two\nlines", "two lines"),
    ],
)
def test_text_shows_as_it_is(text, expected):
    assert escaped(text) == expected


def test_the_output_is_ascii_whatever_a_label_holds(tmp_path):
    text = render(usual(tmp_path, tuple(HOSTILE)), "latex")
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert all(line.isascii() for line in body)


def test_rows_have_as_many_cells_as_columns_and_groups_are_bold(tmp_path):
    text = render(usual(tmp_path), "latex")
    assert r"\textbf{91.2 $\pm$ 0.2}" in text
    for columns, table in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in table.splitlines() if line.endswith(r" \\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
        assert [table.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def test_braces_and_environments_are_balanced(tmp_path):
    text = render(usual(tmp_path, tuple(HOSTILE)), "latex")
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") > 0


def test_notes_and_failures_are_reported(tmp_path):
    write(tmp_path, a_suite(labels=["SGD"], seeds=2), {("SGD", 0): diverged(), ("SGD", 1): reaching(3)})
    text = render(read([tmp_path]), "latex")
    assert "1 of 2 diverged" in text
    assert "Final accuracy: on the test split" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here")
@pytest.mark.parametrize("alone", [True, False])
def test_tex_takes_it_alone_and_in_a_paper(tmp_path, alone):
    (tmp_path / "report.tex").write_text(render(usual(tmp_path / "results", tuple(HOSTILE)), "latex"))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass[twocolumn]{article}\\usepackage{booktabs}\\begin{document}x\\input{report}y\\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report" if alone else "paper"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stdout[-2000:]


PAPERS = {
    "two columns": r"\documentclass[twocolumn]{article}\usepackage{booktabs}\usepackage{graphicx}",
    "one column": r"\documentclass{article}\usepackage{booktabs}\usepackage{graphicx}",
    "without graphicx": r"\documentclass[twocolumn]{article}\usepackage{booktabs}",
}
WIDE = ("SGD", "AdamW with decoupled weight decay, betas 0.9 and 0.95, warmed up", "a_label_" * 6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("paper", PAPERS)
def test_no_table_is_wider_than_its_page(tmp_path, paper):
    (tmp_path / "report.tex").write_text(render(usual(tmp_path / "results", WIDE), "latex"))
    (tmp_path / "paper.tex").write_text(
        PAPERS[paper] + "\\begin{document}x\n\\input{report}\ny\\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "Overfull" not in log
    assert "Float too large" not in log


def test_tables_span_both_columns_of_a_paper_and_shrink_to_its_width(tmp_path):
    text = render(usual(tmp_path), "latex")
    assert r"\if@twocolumn" in text
    assert text.count("\\optbenchfit{%") == text.count(r"\begin{table}")


def test_without_captions_only_the_tabular_is_left(tmp_path):
    usual(tmp_path / "results")
    text = optbench("report", "results", "--format", "latex", "--no-captions", cwd=tmp_path).stdout
    assert r"\caption" not in text
    assert r"\begin{table}" not in text
    assert text.count(r"\begin{tabular}") == 2
