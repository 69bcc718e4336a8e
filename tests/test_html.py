"""The page as a file: one file, nothing foreign in it, everything said without a script. How it behaves: tests/browser/."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from algoperf_builder import reaching as reaching_in_seconds
from algoperf_builder import targets_file, trial
from optbench.analysis.power import seeds_frame
from optbench.analysis.thinning import kept
from optbench.importing.algoperf import import_algoperf
from optbench.report import render, render_report
from optbench.report.detect import detect_report
from optbench.report.leaderboard import build_leaderboard
from optbench.report.page.packing import Packer
from optbench.store import read
from results_builder import (
    a_suite,
    curve,
    diverged,
    evaluated,
    failed,
    finished,
    reaching,
    started,
    swept_twice,
    write,
)

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    'quote" onfocus="alert(1)',
    "🚀 rocket 🔥",
    "مُحسِّن آدم",
    "AdamW with decoupled weight decay, betas 0.9 and 0.95, warmed",
)
VOID = {"meta", "input", "br"}


class Document(HTMLParser):
    """Elements with their attributes, text by element, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def words(self) -> str:
        return " ".join(
            part for tag, parts in self.text.items() if tag not in ("script", "style") for part in parts
        )


def page(tmp_path: Path, labels=("SGD", "Adam"), seeds: int = 3, events=None, **suite) -> str:
    if events is None:
        events = {
            (label, seed): reaching(3 + place, 0.9 + place / 50 + seed / 1000)
            for place, label in enumerate(labels)
            for seed in range(seeds)
        }
    suite = {"title": "Which one?"} | suite
    write(tmp_path, a_suite(labels=labels, seeds=seeds, **suite), events)
    return render(read([tmp_path]), "html")


def data(text: str) -> dict:
    """Return the page's data, with records in place of tables, as the script unpacks them."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    content = json.loads(found[1])
    for panel in (panel for figure in content["figures"] for panel in figure["panels"]):
        panel |= {key: records(panel[key], content) for key in ("marks", "rows") if key in panel}
        for row in panel.get("rows", []):
            row["facts"] = [
                list(fact) for fact in zip(row["facts"], row["values"], row["remarks"], strict=True)
            ]
    return content


def records(tables: list[dict], content: dict) -> list[dict]:
    found = [
        table["all"] | {key: content["columns"][column][index] for key, column in table["each"].items()}
        for table in tables
        for index in range(table["count"])
    ]
    return [{"n": content["entries"][each["o"]]["name"]} | each if "o" in each else each for each in found]


def figures(text: str, kind: str) -> list[dict]:
    """Return the figures with marks of this kind in their first panel, with the numbers in place of their indices."""
    content = data(text)
    found = [
        each for each in content["figures"] if any(mark["m"] == kind for mark in each["panels"][0]["marks"])
    ]
    for mark in (mark for each in found for panel in each["panels"] for mark in panel["marks"]):
        if mark["m"] in ("line", "points"):
            mark |= {
                key: content["arrays"][mark[key]]
                for key in ("x", "y", "lo", "hi")
                if isinstance(mark.get(key), int)
            }
    return found


def marks(panel: dict, kind: str) -> list[dict]:
    return [mark for mark in panel["marks"] if mark["m"] == kind]


def test_the_page_is_one_whole_document_without_references(tmp_path):
    text = page(tmp_path)
    document = Document(text)
    assert document.open == []
    names = {name for _, attributes in document.elements for name in attributes}
    assert not names & {"src", "srcset", "action", "background"}
    links = [attributes["href"] for _, attributes in document.elements if "href" in attributes]
    identifiers = {attributes.get("id") for _, attributes in document.elements}
    assert all(link and link[0] == "#" and link[1:] in identifiers for link in links)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|WebSocket|import\(", text)
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text


def test_without_a_script_tables_notes_warnings_and_sources_are_there(tmp_path):
    words = Document(page(tmp_path)).words()
    for expected in (
        "Which one?",
        "epochs to target",
        "completed",
        "optbench run digits",
        "preliminary: 3 seeds",
        "Kaplan-Meier median",
        "small_cnn",
        "Test CPU",
        "How each number was computed",
        "All trials completed.",
    ):
        assert expected in words, expected


def test_a_sweep_over_two_hyperparameters_is_a_map_an_entry_with_intervals_and_failures(tmp_path):
    swept_twice(tmp_path)
    found = figures(render(read([tmp_path / "results"]), "html"), "cells")
    assert [each["title"] for each in found] == ["SGD over lr and momentum", "Adam over lr and momentum"]
    [panel] = found[0]["panels"]
    assert (panel["x"]["label"], panel["y"]["label"]) == ("lr", "momentum")
    [cells] = panel["marks"]
    assert (cells["columns"], cells["rows"]) == (["0.01", "0.1", "1"], ["0", "0.9"])
    assert cells["values"][0][0] == 0.805
    assert cells["texts"][0][0] == "80.5"
    assert cells["more"][0] == ["2 seeds", "2 seeds", "2 seeds, 1 counted as the worst outcome"]
    assert cells["framed"] == [1, 1]  # the entry as written: rate 0.1, momentum 0.9
    assert "90.50 % (" in cells["facts"][1][1]
    assert cells["best"] > cells["worst"]
    assert "2 seeds" in found[0]["note"]


def test_failed_trials_of_a_sweep_are_listed_with_the_failures(tmp_path):
    swept_twice(tmp_path)
    words = " ".join(Document(render(read([tmp_path / "results"]), "html")).words().split())
    assert "4 of 24 trials did not complete (4 diverged)" in words
    assert "diverged (2 trials of the sweep, at fault: optimizer)" in words
    assert "All trials completed." not in words


def test_numbers_of_a_source_are_drawn_beside_what_was_measured_of_them(tmp_path):
    claims = {
        "epochs_to_target": {"kind": "numeric", "value": 3, "unit": "epochs", "margin": 1},
        "final_metric": {"kind": "numeric", "value": 0.95, "unit": "fraction", "margin": 0.02},
        "memory_overhead": {"kind": "deterministic", "value": 2.0, "unit": "x"},
        "sensitivity": {"kind": "ladder", "level": "low"},
    }
    rows = [
        {"source": {"text": source}, "optimizer": label, "values": claims}
        for source, label in (("A survey", "SGD"), ("A survey", "Never"), ("A paper", "SGD"))
    ]
    events = {("SGD", seed): reaching(3, 0.95 + seed / 1000) for seed in range(6)}
    events |= {("Never", seed): curve([0.5] * 10) for seed in range(6)}
    text = page(tmp_path, ("SGD", "Never"), 6, events, published=rows)
    drawn = [each for each in data(text)["figures"] if each["title"].startswith("Published")]
    names = ["epochs to target", "final metric", "memory overhead (x)"]
    assert [each["panels"][0]["x"]["label"] for each in drawn] == 2 * names
    sgd, never = drawn[0]["panels"][0]["rows"]
    assert sgd["facts"][0] == ["published", "3", "± 1"]
    assert sgd["facts"][1][::2] == ["measured", "6 seeds"]
    assert [row["facts"][2][1] for row in (sgd, never)] == ["reproduced", "contradicted"]
    assert never["facts"][1][1] == "not reached by half of the seeds within 10"
    assert never["o"] == 1
    assert drawn[2]["panels"][0]["rows"][0]["facts"][0][2] == "± 0.05"  # the default, as a verdict takes it
    assert "published by A survey" in drawn[0]["note"]
    assert "6 seeds" in drawn[0]["note"]
    assert "published by A paper" in drawn[3]["note"]
    assert text.index("Source: A paper") < text.rindex('data-figures="')  # each behind its own table


def test_identifiers_are_unique(tmp_path):
    identifiers = [a["id"] for _, a in Document(page(tmp_path)).elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))


def test_the_same_results_give_the_same_page(tmp_path):
    assert page(tmp_path) == render(read([tmp_path]), "html")


def test_labels_are_text_and_never_markup(tmp_path):
    text = page(tmp_path, HOSTILE, title="<b>bold</b>", description="a & b <i>")
    document = Document(text)
    assert document.open == []
    tags = [tag for tag, _ in document.elements]
    assert "img" not in tags
    assert tags.count("script") == 3
    assert not any(name.startswith("on") for _, attributes in document.elements for name in attributes)
    assert [entry["name"] for entry in data(text)["entries"]] == list(HOSTILE)
    assert all(label in document.words() for label in HOSTILE)


def test_curves_are_the_median_and_the_range_over_seeds_with_n(tmp_path):
    events = {("SGD", seed): curve([0.1 * (seed + 1), 0.95]) for seed in range(3)}
    accuracy = figures(page(tmp_path, ("SGD",), events=events), "line")[0]
    assert [panel["time"] for panel in accuracy["panels"]] == ["epoch", "step", "seconds"]
    for panel, times in zip(accuracy["panels"], ([1, 2], [10, 20], [0.5, 1]), strict=True):
        [line] = marks(panel, "line")
        assert (line["x"], line["y"], line["lo"], line["hi"]) == (
            times,
            [0.2, 0.95],
            [0.1, 0.95],
            [0.3, 0.95],
        )
        assert (line["k"], line["of"]) == (3, "seeds")
        [reached] = marks(panel, "points")
        assert (reached["x"], reached["above"]) == (times[1:], True)
        assert [rule["y"] for rule in marks(panel, "rule")] == [0.9]
    assert "Lines: median of 3 seeds; band: minimum to maximum" in accuracy["note"]


@pytest.mark.parametrize(
    ("seeds", "note"),
    [
        (1, "(1 seed); test split, last weights. Vertical line: mean."),
        (3, "horizontal line: its 95\u00a0% t interval"),
    ],
)
def test_no_interval_is_claimed_of_one_seed(tmp_path, seeds, note):
    found = data(page(tmp_path, seeds=seeds))["figures"]
    assert note in next(each["note"] for each in found if each["title"] == "Final accuracy")


def test_censored_seeds_are_counted_in_the_survival_figure(tmp_path):
    events = {("SGD", 0): curve([0.5] * 10), ("SGD", 1): reaching(3), ("SGD", 2): reaching(4)}
    found = figures(page(tmp_path, ("SGD",), events=events), "line")
    (survival,) = [each for each in found if each["title"].startswith("Time to")]
    assert "1 of 3 trials" in survival["note"]
    [line] = marks(survival["panels"][0], "line")
    assert line["y"] == pytest.approx([1, 0.66667, 0.33333, 0.33333])
    assert line["steps"]


def test_failures_are_reported_with_their_last_lines_and_have_no_dot(tmp_path):
    long = "\n".join(f"line {number}" for number in range(100))
    broken = [started(), finished(status="failed", epochs=0, detail=long)]
    events = {("SGD", 0): reaching(3), ("SGD", 1): diverged(), ("SGD", 2): broken, ("Adam", 0): failed()}
    text = page(tmp_path, events=events)
    words = Document(text).words()
    assert "line 99" in words
    assert "line 91" not in words
    assert "5 of 6 trials did not complete" in words
    [panel] = next(each for each in figures(text, "points") if each["title"] == "Final accuracy")["panels"]
    assert [len(points["x"]) for points in marks(panel, "points") if not points.get("ink")] == [1, 0]
    assert [label["text"] for label in marks(panel, "label")] == [
        "◂ 1 of 3 diverged, 1 of 3 failed",
        "◂ 1 of 3 failed",
    ]


def test_only_entries_that_can_be_distinguished_are_marked(tmp_path):
    apart = {
        (label, seed): reaching(3, value + seed * step % 5 / 1000)
        for label, value, step in (("SGD", 0.9, 1), ("Adam", 0.95, 2), ("AdamW", 0.95, 3))
        for seed in range(5)
    }
    text = page(tmp_path / "apart", ("SGD", "Adam", "AdamW"), 5, apart)
    assert text.count('class="mark"') == 2
    [panel] = next(each for each in figures(text, "points") if each["title"] == "Final accuracy")["panels"]
    assert [row.get("top", False) for row in panel["rows"]] == [False, True, True]
    same = {(label, seed): reaching(3, 0.9 + seed / 100) for label in ("SGD", "Adam") for seed in range(5)}
    tied = page(tmp_path / "tied", events=same, seeds=5)
    assert 'class="mark"' not in tied
    assert "No entry is significantly worse than another" in tied


def test_an_empty_plan_and_a_single_trial_have_a_page(tmp_path):
    assert "not run" in Document(page(tmp_path / "none", events={})).words()
    assert "one seed" in Document(page(tmp_path / "one", ("SGD",), 1)).words()


def noisy(labels, seeds: int, evaluations: int) -> dict:
    noise = np.random.default_rng(0).normal(0, 0.01, (len(labels), seeds, evaluations))
    return {
        (label, seed): [
            started(),
            *(evaluated(at + 1, float(0.5 + noise[place, seed, at])) for at in range(evaluations)),
            finished(0.5, epochs=evaluations),
        ]
        for place, label in enumerate(labels)
        for seed in range(seeds)
    }


def test_long_curves_are_thinned_and_report_it(tmp_path, monkeypatch):
    assert "extremes kept" not in page(tmp_path / "short")
    monkeypatch.setattr("optbench.report.page.plots.NUMBERS", 1000)
    text = page(tmp_path / "long", ("SGD",), 2, noisy(("SGD",), 2, 300))
    assert "Thinned to at most" in text
    assert max(len(line["y"]) for f in figures(text, "line") for line in marks(f["panels"][0], "line")) <= 85


@pytest.mark.slow
def test_forty_optimizers_of_ten_seeds_stay_under_two_megabytes(tmp_path):
    labels = tuple(f"entry {number} with a label that is rather long" for number in range(40))
    text = page(tmp_path, labels, 10, noisy(labels, 10, 200))
    assert len(text.encode()) < 2_000_000


def test_thinning_keeps_ends_extremes_and_given_points():
    values = np.sin(np.arange(1000.0) / 7)
    values[333] = 9.0
    places = kept(values, 50, always=[501])
    assert {0, 333, 501, 999} <= set(places)
    assert len(places) <= 52
    assert list(kept(values[:50], 50)) == list(range(50))


def test_imported_results_have_a_page_with_their_leaderboard(tmp_path):
    logs, targets = tmp_path / "logs", targets_file(tmp_path)
    for submission, seconds in (("a", 5), ("b", 7)):
        for workload in ("mnist", "wmt", "mnist_wide"):
            for study in (1, 2):
                trial(logs, submission, study, workload, 1, reaching_in_seconds(seconds + study))
    import_algoperf(logs, targets, tmp_path / "results", "board")
    text = render(read([tmp_path / "results"]), "html")
    words = Document(text).words()
    assert "Leaderboard" in words
    assert "Imported AlgoPerf logs" in words
    assert {each["title"].partition(" ")[0] for each in data(text)["figures"]} >= {"Validation", "Time"}
    alone = Document(render_report(build_leaderboard(read([tmp_path / "results"])), "html"))
    assert alone.open == []
    assert "Scores" in alone.words()
    links = {attributes["href"][1:] for tag, attributes in alone.elements if tag == "a"}
    assert links <= {attributes.get("id") for _, attributes in alone.elements}


def test_a_report_without_results_is_a_page_of_its_tables(tmp_path):
    write(tmp_path, a_suite(seeds=3), {("SGD", seed): reaching(3) for seed in range(3)})
    document = Document(
        render_report(detect_report("digits", seeds_frame(read([tmp_path]), 0.01), 0.01), "html")
    )
    assert document.open == []
    assert "seeds" in document.words()


def test_a_legend_of_many_entries_opens_on_demand_by_family(tmp_path: Path) -> None:
    labels = [f"Opt{n}" for n in range(41)]
    families = {"adaptive": {}, "sign <steps>": {}}
    optimizers = {
        label: {"use": "torch.optim.SGD", "family": list(families)[n % 2]} for n, label in enumerate(labels)
    }
    events = {(label, seed): reaching(3 + seed) for label in labels for seed in range(2)}
    write(tmp_path, a_suite((), 2, optimizers=optimizers, families=families), events)
    page = render(read([tmp_path]), "html")
    assert "<summary>41 optimizers</summary>" in page
    assert page.count("data-family=") == 2
    assert page.count('data-toggle="') == 41
    assert 'id="find"' in page
    assert "sign &lt;steps&gt;" in page
    few = a_suite(labels[:40], 1)
    write(tmp_path / "few", few, {(label, 0): reaching(3) for label in labels[:40]})
    assert 'id="find"' not in render(read([tmp_path / "few"]), "html")


def test_the_baseline_of_many_entries_is_drawn_above_lines_of_families(tmp_path: Path) -> None:
    labels = tuple(f"entry {n}" for n in range(41))
    optimizers = {label: {"use": "torch.optim.SGD", "family": "adaptive"} for label in labels}
    events = {(label, 0): reaching(3) for label in labels}
    write(
        tmp_path, a_suite((), 1, optimizers=optimizers, families={"adaptive": {}}, baseline="entry 3"), events
    )
    text = render(read([tmp_path]), "html")
    entries = data(text)["entries"]
    assert [each["name"] for each in entries if not each.get("shared")] == ["entry 3"]
    assert "the baseline has its own" in text


def test_records_are_stored_by_column_and_equal_columns_once() -> None:
    packer = Packer()
    records_ = [{"m": "line", "o": 0, "y": 5}, {"m": "rule", "y": 2}, {"m": "line", "o": 0, "y": 6}]
    lines, rule = packer.tables(records_)
    assert lines == {"count": 2, "all": {"m": "line", "o": 0}, "each": {"y": 0}}
    assert rule == {"count": 1, "all": {"m": "rule", "y": 2}, "each": {}}
    assert packer.tables([{"x": 5}, {"x": 6}]) == [{"count": 2, "all": {}, "each": {"x": 0}}]
    assert packer.columns == [[5, 6]]
    assert packer.tables([{"x": 1}, {"x": True}])[0]["all"] == {}, "1 and true are different in JSON"
