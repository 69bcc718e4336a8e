"""How trials ended, in words: the same in the table, in the figure and on the page."""

from __future__ import annotations

import pytest

from optbench.report import render
from optbench.store import read
from results_builder import a_suite, diverged, failed, finished, reaching, started, write
from test_figures import of, texts
from test_html import figures

OUT_OF_MEMORY = [started(), finished(status="out_of_memory", epochs=0)]


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([diverged(), diverged()], "diverged"),
        ([OUT_OF_MEMORY, OUT_OF_MEMORY], "out of memory"),
        ([diverged(), OUT_OF_MEMORY], "1 of 2 diverged, 1 of 2 out of memory"),
        ([diverged(), failed()], "1 of 2 diverged, 1 of 2 failed"),
        ([diverged(), reaching(3)], "1 of 2 diverged"),
    ],
)
def test_table_figure_and_page_use_the_same_words(tmp_path, ends, words):
    events = {("SGD", seed): reaching(3) for seed in range(2)} | {
        ("Adam", seed): end for seed, end in enumerate(ends)
    }
    write(tmp_path, a_suite(seeds=2), events)
    results = read([tmp_path])
    assert f"| {words} |" in render(results, "markdown")
    found = figures(render(results, "html"), "label")
    assert [mark["text"] for mark in found[0]["panels"][0]["marks"] if mark["m"] == "label"] == [f"◂ {words}"]
    assert f"◂ {words}" in texts(of(results)["finals"])
