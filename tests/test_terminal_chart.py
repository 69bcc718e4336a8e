"""Charts in a terminal: they fit, distinguish entries without colour, and state what they leave out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.cells import cell_len
from rich.console import Console

from optbench.events import Event
from optbench.report.build import build
from optbench.report.chart import Line, chart
from optbench.report.chart import charts as charts_of
from optbench.report.colours import style
from optbench.report.document import Report, Section
from optbench.report.figures import terminal_drawings
from optbench.report.formats import terminal
from optbench.report.plots import Axis, Entry, Panel, Plot, Rule
from optbench.report.plots import Line as Curve
from optbench.store import read
from results_builder import a_suite, curve, diverged, evaluated, finished, started, write

RISE = [0.3, 0.6, 0.8, 0.88, 0.92, 0.94, 0.95, 0.95, 0.96, 0.96]
TIME = Axis("seconds of training")
ACCURACY = Axis("validation accuracy", "percent", higher_is_better=True)


def texts(lines: Sequence[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def plot_of(
    curves: Sequence[tuple[str, Sequence[float], Sequence[float]]], y: Axis = ACCURACY, x: Axis = TIME
) -> Plot:
    entries = tuple(Entry(name, name, style(place)) for place, (name, _, _) in enumerate(curves))
    lines = [Curve(place, tuple(xs), tuple(ys)) for place, (_, xs, ys) in enumerate(curves)]
    return Plot("digits", y.label, (), (Panel(x, y, (Rule(0.9, "target 90 %"), *lines)),), entries)


def several(count: int, points: int = 10) -> list[tuple[str, list[float], list[float]]]:
    x = [0.5 * k for k in range(1, points + 1)]
    return [
        (f"Entry {i}", x, [(k + 1) * (1 + i) / (points * count) for k in range(points)]) for i in range(count)
    ]


def charts(
    tmp_path: Path,
    events: dict[tuple[str, int], list[Event]],
    width: int = 80,
    height: int = 10,
    **changes: Any,
) -> list[str]:
    """The lines below the table of one suite."""
    labels = list(dict.fromkeys(label for label, _ in events))
    suite = a_suite(labels, seeds=1 + max(seed for _, seed in events), **changes)
    write(tmp_path, suite, events)
    results = read([tmp_path])
    return texts(charts_of(terminal_drawings(results, build(results).table), width, height))


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [30, 31, 40, 79, 80, 200])
def test_the_chart_fits_and_has_the_height_requested(width: int, unicode: bool) -> None:
    named = ("🚀 a name of very many characters, longer than any line of a terminal", [1, 2], [0.1, 0.9])
    for height in (4, 10, 30):
        plot = plot_of([*several(7), named])
        lines = texts(chart(plot, width, height, unicode=unicode))[:-1]  # the caption is wrapped when printed
        assert all(cell_len(line) <= width for line in lines), (width, height)
        assert sum(("│" if unicode else "|") in line for line in lines) == height


@pytest.mark.parametrize("size", [(29, 10), (80, 3), (0, 0)])
def test_without_room_there_is_no_chart(size: tuple[int, int]) -> None:
    assert chart(plot_of(several(2)), *size) == []


def test_one_evaluation_is_no_curve() -> None:
    assert chart(plot_of([("SGD", [1.0], [0.5])]), 80, 10) == []
    assert chart(plot_of([]), 80, 10) == []


def test_a_level_curve_is_no_error() -> None:
    for value in (0.0, 0.5, -3.0, 1e300):
        assert chart(plot_of([("SGD", [1.0, 2.0, 3.0], [value] * 3)], Axis("loss")), 80, 10)
    assert chart(plot_of([("SGD", [0.0, 0.0], [0.1, 0.2])], Axis("loss")), 80, 10)


@pytest.mark.parametrize("log", [False, True])
def test_a_power_law_is_straight_on_logarithmic_axes_only(log: bool) -> None:
    x = [10 ** (k / 8) for k in range(25)]
    y = [1 / value for value in x]
    axes = (Axis("loss", low=0.001, high=1.0, log=log), Axis("steps", low=1.0, high=1000.0, log=log))
    plot = plot_of([("SGD", x, y)], *axes)
    lines = texts(chart(plot, 47, 10, unicode=False))
    rows = [line.split("|", 1)[1] for line in lines if "|" in line]
    starts = [len(row) - len(row.lstrip()) for row in rows]
    assert all(2 <= after - before <= 7 for before, after in pairwise(starts)) is log


def test_ascii_has_a_mark_of_its_own_for_each_entry() -> None:
    lines = texts(chart(plot_of(several(8)), 80, 12, unicode=False))
    assert all(line.isascii() for line in lines)
    legend = "   ".join(line for line in lines if "Entry" in line)
    marks = [part.split(" ")[0] for part in legend.split("   ")]
    assert len(set(marks)) == 8
    body = "".join(line.split("|", 1)[1] for line in lines if "|" in line)
    assert all(mark in body for mark in marks)


def test_a_rising_curve_goes_from_the_lower_left_to_the_upper_right() -> None:
    [rise] = several(1)
    rows = [
        line.split("|", 1)[1] for line in texts(chart(plot_of([rise]), 60, 10, unicode=False)) if "|" in line
    ]
    assert rows[0].rstrip()[-1:] in (".", "o")
    assert rows[-1].strip() != ""
    assert rows[0].index(rows[0].strip()[0]) > rows[-1].index(rows[-1].strip()[0])


def test_the_caption_states_the_seeds_and_claims_no_band(tmp_path: Path) -> None:
    lines = charts(tmp_path, {("SGD", seed): curve(RISE) for seed in range(3)})
    assert "Lines: median of 3 seeds, without bands" in lines[-1]
    assert "interval" not in "\n".join(lines)


def test_one_seed_is_no_median(tmp_path: Path) -> None:
    assert charts(tmp_path, {("SGD", 0): curve(RISE)})[-1].startswith("One seed per entry")


def test_entries_with_different_numbers_of_seeds_are_reported(tmp_path: Path) -> None:
    events = {("SGD", seed): curve(RISE) for seed in range(3)} | {("Adam", 0): curve(RISE)}
    assert "median of 1 to 3 seeds" in charts(tmp_path, events)[-1]


def test_seeds_that_diverged_are_reported(tmp_path: Path) -> None:
    events = {("SGD", seed): curve(RISE) for seed in range(3)} | {("SGD", 3): diverged()}
    assert (
        "seeds that diverged or failed are missing from the curve: SGD 1 of 4" in charts(tmp_path, events)[-1]
    )


def test_of_many_entries_the_best_are_drawn_and_reported(tmp_path: Path) -> None:
    events = {(f"Entry {i:02}", 0): curve([value * (0.5 + i / 24) for value in RISE]) for i in range(12)}
    lines = charts(tmp_path, events)
    assert "the 8 of 12 entries with the highest final values" in lines[-1]
    text = "\n".join(lines)
    assert "Entry 11" in text
    assert "Entry 03" not in text


def test_of_losses_the_lowest_are_the_best_and_an_early_peak_flattens_nothing(tmp_path: Path) -> None:
    def of_loss(scale: float) -> list[Event]:
        points = [1e4, *(scale * 2.0 / k for k in range(1, 40))]
        told = [evaluated(k, 0.5, metrics={"validation": {"loss": v}}) for k, v in enumerate(points, start=1)]
        return [started(steps=400), *told, finished(epochs=40)]

    events = {(f"Entry {i:02}", 0): of_loss(1 + i) for i in range(10)}
    lines = charts(tmp_path, events, metrics=("loss",), target={"metric": "loss", "at_most": 0.2})
    assert "the 8 of 10 entries with the lowest final values" in lines[-1]
    text = "\n".join(lines)
    assert "Entry 00" in text
    assert "Entry 09" not in text
    assert "validation loss" in text
    middle = [line for line in lines if "│" in line][4].split("│")[0]  # the axis is logarithmic
    assert float(middle) < 100


def test_markup_in_labels_is_shown_as_it_is(tmp_path: Path) -> None:
    lines = charts(tmp_path, {("[red]x[/red]", 0): curve(RISE), ("🚀 אופטימיזר", 0): curve(RISE)})
    out = io.StringIO()
    console = Console(file=out, width=80)
    report = Report((Section("digits", "", (), (), ""),), pd.DataFrame(), pd.DataFrame())
    terminal.show(report, console, [[[(line, "")] for line in lines]])
    assert "[red]x[/red]" in out.getvalue()
    assert all(cell_len(line) <= 80 for line in out.getvalue().splitlines())


def test_nothing_measured_gives_no_chart(tmp_path: Path) -> None:
    write(tmp_path, a_suite(), {})
    results = read([tmp_path])
    assert terminal_drawings(results, build(results).table) == ()
