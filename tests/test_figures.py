"""Figures: which are drawn, what they say, that labels do no harm, and that the same results give the same bytes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

import algoperf_builder as algoperf
from optbench.analysis.published import verdicts_frame
from optbench.analysis.table import comparison
from optbench.cli.commands.report import Options
from optbench.cli.commands.report import report as report_command
from optbench.importing.algoperf import import_algoperf
from optbench.report import figures, plots, save, save_everything
from optbench.report.colours import style
from optbench.report.figures import (
    FORMATS,
    Drawing,
    file_drawings,
    known_figures,
    rendered,
    written,
)
from optbench.report.paper.draw import DRAW, draw
from optbench.report.paper.sheet import settings
from optbench.report.paper.text import fitted, label_lines, shown, width, wrapped
from optbench.report.plots import Axis, Cells, Entry, Panel, Plot
from optbench.store import Results, read
from optbench.suite.metric_facts import MetricFacts
from optbench.suite.published import Published
from results_builder import (
    HOSTILE,
    a_suite,
    curve,
    diverged,
    reaching,
    swept_twice,
    trials_of,
    write,
    write_trials,
)

USUAL = {"curves-accuracy", "dynamics", "finals", "memory", "survival", "time"}


def results(root: Path, events, seeds: int = 5, **changes) -> Results:
    labels = tuple(dict.fromkeys(label for label, _ in events))
    write(root, a_suite(labels=labels, seeds=seeds, **changes), events)
    return read([root])


def usual(root: Path, labels=("SGD", "Adam"), seeds: int = 3) -> Results:
    return results(
        root,
        {
            (label, s): reaching(3 + n % 5, 0.91 + s / 100)
            for n, label in enumerate(labels)
            for s in range(seeds)
        },
        seeds,
    )


def of(found: Results) -> dict[str, Drawing]:
    return {each.name: each for each in file_drawings(found, comparison(found), verdicts_frame(found))}


def texts(drawing: Drawing) -> list[str]:
    """Everything that is written on a figure."""
    from matplotlib.text import Text

    with settings():
        figure = draw(drawing.plot)
        return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def said(drawing: Drawing) -> str:
    return " ".join(" ".join(texts(drawing)).split())


def test_a_usual_suite_has_its_figures_and_no_empty_ones(tmp_path):
    assert set(of(usual(tmp_path))) == USUAL
    assert {"curves", "sensitivity", "profile", "published"} <= set(known_figures())


def test_each_kind_of_mark_is_drawn_in_files_and_on_the_page():
    script = (Path(plots.__file__).parent / "page" / "plots.js").read_text(encoding="utf-8")
    for mark in get_args(plots.Mark):
        assert mark in DRAW
        assert f"\n  {mark.__name__.lower()}(mark, " in script


def test_nothing_is_drawn_of_nothing(tmp_path):
    write(tmp_path, a_suite(), {})
    assert not of(read([tmp_path]))


def test_a_target_that_no_one_met_has_no_survival_curve(tmp_path):
    assert "survival" not in of(results(tmp_path, {("SGD", 0): curve([0.5] * 4)}, 1))


def test_a_performance_profile_rises_where_an_entry_met_its_targets(tmp_path):
    suite = a_suite(labels=("SGD", "Adam", "Never"), seeds=1)
    main = suite.workloads["main"]
    suite = suite.model_copy(update={"workloads": {"first": main, "second": main}})
    epochs = {("SGD", "first"): 2, ("SGD", "second"): 6, ("Adam", "first"): 4, ("Adam", "second"): 2}
    events = {
        trial.id: reaching(epochs[trial.label, trial.workload_name])
        if trial.label != "Never"
        else curve([0.5] * 10)
        for trial in trials_of(suite)
    }
    write_trials(tmp_path, suite, trials_of(suite), events)
    drawing = of(read([tmp_path]))["profile"]
    assert "2 workloads, 6 trials in total" in said(drawing)
    with settings():
        epochs_panel = draw(drawing.plot).axes[0]
    assert epochs_panel.get_xlabel() == "multiple of the fewest epochs to target"
    lines = [list(zip(*line.get_data(), strict=True)) for line in epochs_panel.lines]
    assert lines == [
        [(1.0, 0.5), (3.0, 1.0), (4.0, 1.0)],
        [(1.0, 0.5), (2.0, 1.0), (4.0, 1.0)],
        [(1.0, 0.0), (4.0, 0.0)],
    ]


def test_measured_beside_published_shows_all_that_was_measured_also_what_was_never_reached(tmp_path):
    claims = {
        "epochs_to_target": {"kind": "numeric", "value": 4, "unit": "epochs", "margin": 1},
        "final_metric": {"kind": "numeric", "value": 0.95, "unit": "fraction", "margin": 0.02},
        "memory_overhead": {"kind": "deterministic", "value": 2.0, "unit": "x"},
        "sensitivity": {"kind": "ladder", "level": "low"},
    }
    rows = tuple(
        Published.model_validate({"source": {"text": "A survey"}, "optimizer": label, "values": claims})
        for label in ("SGD", "Never")
    )
    events = {("SGD", s): reaching(3, 0.95 + s / 1000) for s in range(6)}
    events |= {("Never", s): curve([0.5] * 10) for s in range(6)}
    drawing = of(results(tmp_path, events, 6, published=rows))["published"]
    written = texts(drawing)
    assert {"epochs to target", "final metric (%)", "memory overhead (x)", "SGD", "Never"} <= set(written)
    assert "✗ contradicted" in written  # below the arrow
    assert "published by A survey" in said(drawing)
    assert "measured (6 seeds)" in said(drawing)
    assert "Arrow: at most half of the seeds reached the target" in said(drawing)
    with settings():
        epochs, final, memory = draw(drawing.plot).axes
    assert [line.get_xdata()[0] for line in epochs.lines if line.get_marker() == ">"] == [10]
    assert (
        len(epochs.patches) == len(final.patches) == len(memory.patches) == 2
    )  # margins, the default one too
    assert {line.get_marker() for line in final.lines} >= {"D", "o", "s"}


def test_a_sweep_with_failed_trials_is_drawn_and_a_map_marks_them(tmp_path):
    swept_twice(tmp_path)
    found = of(read([tmp_path / "results"]))
    assert "4 trials diverged or failed and count as the worst outcome" in said(found["sensitivity"])
    drawn = said(found["map-SGD"])
    assert "last validation accuracy (%)" in drawn
    assert "80.5" in drawn
    assert drawn.count("†") == 3  # two points, and the note
    with settings():
        axes = draw(found["map-SGD"].plot).axes[0]
    [frame] = axes.patches
    assert (frame.get_x(), frame.get_y()) == (0.5, 0.5)  # the entry as written: rate 0.1, momentum 0.9


def test_figures_of_sweeps_have_the_unit_of_the_metric(tmp_path):
    swept_twice(tmp_path, metrics={"accuracy": MetricFacts(True, unit="nats")})
    found = of(read([tmp_path / "results"]))
    assert found["sensitivity"].plot.panels[0].y.label == "validation accuracy (nats)"
    assert "last validation accuracy (nats)" in said(found["map-SGD"])


def test_rates_below_a_map_stand_clear_of_each_other_and_of_the_note(tmp_path):
    rates = tuple(f"1e{power}" for power in range(-9, 1))
    row = (("0.5",) * len(rates),)
    cells = Cells(0, rates, ("0.9",), ((0.5,) * len(rates),), row, row, row, 0.5, 0.5)
    panel = Panel(Axis("lr"), Axis("momentum"), (cells,))
    plot = Plot("main", "SGD", ("A note.",), (panel,), (Entry("SGD", "SGD", style(0)),))
    with settings():
        figure = draw(plot)
        figure.canvas.draw()
        axes = figure.axes[0]
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        note = figure.texts[-1].get_window_extent()
        assert len(boxes) > 3
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
        assert axes.xaxis.label.get_window_extent().y0 > note.y1


def test_an_imported_leaderboard_has_figures_of_what_its_logs_tell(tmp_path):
    targets = algoperf.targets_file(tmp_path)
    for submission, seconds in (("alpha", 100.0), ("beta", 150.0)):
        for study in (1, 2, 3):
            for workload in ("mnist", "wmt"):
                told = algoperf.reaching(seconds + study)
                algoperf.trial(tmp_path / "logs", submission, study, workload, 1, told)
    import_algoperf(tmp_path / "logs", targets, tmp_path / "results", "board")
    found = of(read([tmp_path / "results"]))
    assert {"curves-accuracy-mnist", "profile", "survival-mnist"} <= set(found)
    assert not any(name.startswith(("memory", "published")) for name in found)
    assert "2 workloads, 12 trials" in said(found["profile"])
    assert "3 seeds" in said(found["survival-mnist"])


def test_figures_state_seeds_bands_and_who_did_not_arrive(tmp_path):
    events = {("SGD", s): reaching(3) for s in range(4)} | {("SGD", 4): curve([0.5] * 10)}
    found = of(results(tmp_path, events))
    curves = said(found["curves-accuracy"])
    assert "median of 5 seeds; band: minimum to maximum" in curves
    assert "SGD 1 of 5" in curves
    assert "Kaplan-Meier, 5 seeds" in said(found["survival"])
    assert "1 of 5 trials" in said(found["survival"])
    assert "(5 seeds)" in said(found["finals"])


def test_seeds_that_diverged_are_reported_without_a_dot(tmp_path):
    events = {("Half", s): reaching(3) for s in range(3)} | {("Half", s): diverged() for s in (3, 4)}
    found = of(results(tmp_path, events | {("SGD", s): reaching(2) for s in range(5)}))
    assert "Half 2 of 5" in said(found["curves-accuracy"])
    assert "2 of 5 diverged" in said(found["finals"])


def test_only_what_can_be_distinguished_is_marked(tmp_path):
    tied = {(label, s): reaching(3, 0.9 + s / 100) for label in ("SGD", "Adam") for s in range(5)}
    assert "No entry is significantly worse" in said(of(results(tmp_path / "tied", tied))["finals"])
    apart = {("SGD", s): reaching(3, 0.9 + (s * 7 % 5) / 1000) for s in range(5)}
    apart |= {("Adam", s): reaching(3, 0.95 + (s * 8 % 5) / 1000) for s in range(5)}
    names = texts(of(results(tmp_path / "apart", apart))["finals"])
    assert "Adam *" in names
    assert "SGD *" not in names


@pytest.mark.slow
def test_no_figure_ranks(tmp_path):
    found = of(usual(tmp_path, seeds=5))
    assert not any(
        word in said(each).lower() for each in found.values() for word in ("winner", "fastest", "best")
    )


def test_the_same_results_give_the_same_bytes(tmp_path):
    drawing = of(usual(tmp_path))["memory"]
    assert rendered(drawing) == rendered(drawing)


def test_files_are_svg_png_and_pdf_with_fonts_that_a_journal_takes(tmp_path):
    files = rendered(of(usual(tmp_path))["memory"], "optbench:0123")
    assert b"<dc:identifier>optbench:0123</dc:identifier>" in files["svg"]
    assert files["png"].startswith(b"\x89PNG")
    assert files["pdf"].startswith(b"%PDF")
    assert b"/Type3" not in files["pdf"]
    assert b"/FontFile2" in files["pdf"]
    assert b"<svg" in files["svg"]
    assert b"<text" not in files["svg"]  # looks the same without the font


def test_what_is_drawn_already_is_left_alone_and_what_has_changed_is_not(tmp_path, sketched):
    [one] = [each for name, each in of(usual(tmp_path / "a")).items() if name == "time"]
    paths = written([one], tmp_path / "figures")
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert {path.suffix for path in paths} == {".svg", ".png", ".pdf"}
    assert {path: path.stat().st_mtime_ns for path in written([one], tmp_path / "figures")} == before
    paths[1].unlink()
    other = of(usual(tmp_path / "b", ("SGD", "Lion")))["time"]
    written([one], tmp_path / "figures")
    assert paths[1].is_file()
    first = paths[0].read_bytes()
    written([other], tmp_path / "figures")
    assert paths[0].read_bytes() != first


@pytest.mark.slow
def test_hostile_labels_and_forty_entries_draw_without_a_word_on_standard_error(tmp_path, capfd):
    rendered(of(usual(tmp_path / "hostile", tuple(HOSTILE)))["curves-accuracy"])
    texts(of(usual(tmp_path / "forty", tuple(f"optimizer {n}" for n in range(40)), 1))["finals"])
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_matplotlib_settings_are_as_before(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    texts(of(usual(tmp_path))["finals"])
    assert dict(matplotlib.rcParams) == before


def test_labels_of_a_legend_stay_on_the_sheet_and_do_not_overlap(tmp_path):
    drawing = of(usual(tmp_path, tuple(HOSTILE)))["curves-accuracy"]
    with settings():
        figure = draw(drawing.plot)
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.legends[0].get_texts()]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
        assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a $x$ b", "a $x$ b"),
        ("🚀", "entry 3"),
        ("漢字のオ", "entry 3"),
        ("Adam 🚀🏽 fast", "Adam fast"),
        ("Adam 漢", "Adam □"),
    ],
)
def test_names_that_the_font_lacks_are_called_by_their_place(name, expected):
    assert shown(name, 2) == expected


def test_long_names_are_shortened_in_their_middle_and_stay_different():
    long = "AdamW with decoupled weight decay, betas 0.9 and 0.95, warmed"
    short = fitted(long, 7, 1.2)
    assert short.startswith("AdamW")
    assert short.endswith("warmed")
    assert width(short, 7) <= 1.2
    assert all(width(line, 6) <= 2 for line in wrapped([long, long], 6, 2.0))


# --- saving


@pytest.fixture
def sketched(monkeypatch):
    """Files of figures that say what they are drawn from, and show nothing: quick."""

    def sketch(drawing: Drawing, digest: str = "") -> dict[str, bytes]:
        return dict.fromkeys(FORMATS, f"<dc:identifier>{digest}</dc:identifier>".encode())

    monkeypatch.setattr(figures, "rendered", sketch)


def test_saving_everything_links_the_figures_from_markdown(tmp_path, sketched):
    paths = save_everything(usual(tmp_path / "results", ("SGD",), 1), tmp_path / "out")
    names = {path.relative_to(tmp_path / "out").as_posix() for path in paths}
    assert {"report.md", "report.csv", "report.tex", "report.json", "report.html"} <= names
    text = (tmp_path / "out/report.md").read_text(encoding="utf-8")
    assert "](figures/curves-accuracy.svg)" in text
    assert {f"figures/{name}.svg" for name in USUAL} <= names
    assert all(path.is_file() for path in paths)
    assert "report.txt" not in names  # what a terminal shows is no file unless it is asked for


@pytest.mark.slow
def test_saving_everything_draws_every_figure(tmp_path):
    paths = save_everything(usual(tmp_path / "results", ("SGD",), 1), tmp_path / "out")
    drawn = [path for path in paths if path.parent.name == "figures"]
    assert len(drawn) == 3 * len(USUAL)
    assert all(path.stat().st_size > 3000 for path in drawn)


def test_without_figures_markdown_shows_none(tmp_path):
    save(usual(tmp_path / "results", ("SGD",), 1), tmp_path / "out")
    assert "figures/" not in (tmp_path / "out/report.md").read_text(encoding="utf-8")


def test_an_output_that_is_a_folder_or_has_no_ending_takes_everything(tmp_path, monkeypatch, capsys):
    from optbench import report

    asked = []
    monkeypatch.setattr(report, "save_everything", lambda results, folder: asked.append(folder) or ())
    usual(tmp_path / "results", ("SGD",), 1)
    (tmp_path / "there.d").mkdir()
    for output in ("there.d", "new"):
        report_command(Options([tmp_path / "results"], output=tmp_path / output))
    report_command(Options([tmp_path / "results"], output=tmp_path / "table.tex"))
    assert [path.name for path in asked] == ["there.d", "new"]
    assert "toprule" in (tmp_path / "table.tex").read_text(encoding="utf-8")


def test_without_captions_a_figure_has_no_title_and_no_note(tmp_path):
    drawing = of(usual(tmp_path))["finals"]
    titled, bare = (
        rendered(replace(drawing, is_captioned=captions), formats=("svg",))["svg"]
        for captions in (True, False)
    )
    assert len(bare) < len(titled)
    with settings(captions=False):
        figure = draw(drawing.plot)
    assert [text.get_text() for text in figure.texts if text.get_text()] == []


def test_switching_captions_off_draws_again(tmp_path, sketched):
    drawing = of(usual(tmp_path))["finals"]
    written([drawing], tmp_path / "figures")
    before = (tmp_path / "figures" / "finals.svg").read_bytes()
    written([replace(drawing, is_captioned=False)], tmp_path / "figures")
    assert (tmp_path / "figures" / "finals.svg").read_bytes() != before


LONG = tuple(
    f"AdamW with decoupled weight decay, betas 0.9 and 0.95, lr {n / 1000:.3f}, warmed up for {n} epochs"
    for n in range(1, 21)
)


@pytest.mark.parametrize("name", ["finals", "memory", "time", "curves-accuracy", "survival"])
def test_long_labels_are_wrapped_and_not_cut(tmp_path, name):
    labels = LONG[:3]
    drawn = [" ".join(text.split()) for text in texts(of(usual(tmp_path, labels))[name])]
    assert all(any(text.startswith(label) for text in drawn) for label in labels)


def test_labels_without_spaces_break_after_punctuation_and_stay_different():
    names = [f"my_optimizer.variant-with-a-long-name-and-rate={n}" for n in range(3)]
    drawn = label_lines(names, 7, 1.2)
    assert [label.replace("\n", "") for label in drawn] == names
    assert all(width(line, 7) <= 1.2 for label in drawn for line in label.split("\n"))
    cut = label_lines([f"{'many words ' * 30}{n}" for n in range(3)], 7, 1.2, 2)
    assert len(set(cut)) == 3
    assert all("…" in label for label in cut)


@pytest.mark.parametrize("count", [3, 9, 20])
def test_labels_of_many_entries_stay_on_the_sheet_and_apart(tmp_path, count):
    found = of(usual(tmp_path, LONG[:count], 2))
    for name in ("finals", "curves-accuracy"):
        drawing = found[name]
        with settings():
            figure = draw(drawing.plot)
            figure.canvas.draw()
            texts_ = figure.legends[0].get_texts() if figure.legends else figure.axes[0].get_yticklabels()
            boxes = [text.get_window_extent() for text in texts_]
            assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
            assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)
            assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])


def test_many_entries_share_items_of_the_legend_and_have_thin_lines(tmp_path):
    labels = tuple(f"optimizer {n}" for n in range(60))
    drawing = of(results(tmp_path, {(label, 0): reaching(3) for label in labels}, 1))["survival"]
    with settings():
        figure = draw(drawing.plot)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [labels[0], "59 other entries"]
    widths = [line.get_linewidth() for line in figure.axes[0].lines if len(line.get_xdata()) > 1]
    assert widths[0] > 2 * max(widths[1:])


def test_a_long_label_of_an_axis_is_wrapped_beside_the_axis():
    panel = Panel(Axis("epochs"), Axis("expected best validation rmse (unit of the target)"), ())
    plot = Plot("main", "expected best", (), (panel,), (Entry("SGD", "SGD", style(0)),))
    with settings():
        figure = draw(plot)
        figure.canvas.draw()
        label, axes = figure.axes[0].yaxis.label.get_window_extent(), figure.axes[0].bbox
    assert axes.y0 <= label.y0 <= label.y1 <= axes.y1
    assert label.x0 >= 0


def test_a_label_that_the_font_lacks_is_explained(tmp_path):
    found = of(usual(tmp_path, ("SGD", "优化器 🚀")))
    for name in ("survival", "finals"):
        assert "entry 2: label with characters that the font lacks." in said(found[name])


def test_times_to_target_are_marked_above_the_frame(tmp_path):
    drawing = of(usual(tmp_path, ("SGD", "Adam", "Lion", "AdamW", "RMSprop", "SOAP")))["curves-accuracy"]
    with settings():
        figure = draw(drawing.plot)
        figure.canvas.draw()
        axes = figure.axes[0]
        marks = [line for line in axes.lines if not line.get_clip_on()]
        heights = [line.get_transform().transform((line.get_xdata()[0], 1.0))[1] for line in marks]
    assert len(marks) == 6
    assert all(height > axes.bbox.y1 for height in heights)
    assert len(set(heights)) == 2  # the first and the sixth arrive at the same epoch


def test_a_note_explains_only_what_is_drawn(tmp_path):
    claims = {"memory_overhead": {"kind": "deterministic", "value": 2.0, "unit": "x"}}
    row = Published.model_validate({"source": {"text": "A survey"}, "optimizer": "SGD", "values": claims})
    events = {("SGD", seed): reaching(3, 0.91 + seed / 100) for seed in range(5)}
    note = said(of(results(tmp_path, events, published=(row,)))["published"])
    assert "✓ reproduced" in note
    assert "Mark below: measured; then the verdict." in note
    assert not any(word in note for word in (" line", "contradicted", "Arrow"))
