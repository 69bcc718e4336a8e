"""The live table of a run: it fits every terminal, shows what runs first, tells what went wrong, and never claims what it can't know."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.cells import cell_len

from optbench.cli.live.board import Board, key_of
from optbench.cli.live.display import machine
from optbench.cli.live.glyphs import ASCII, UNICODE, Glyphs, glyphs_for
from optbench.cli.live.lines import Lines, json_line
from optbench.cli.live.trial_warnings import end_warnings
from optbench.cli.live.view import FrameText, Line, frame
from optbench.events import Event, Finished, Progressed, Resumed
from optbench.store.read import read_log
from optbench.suite.types import Trial
from results_builder import a_suite, curve, diverged, evaluated, failed, finished, started, trials_of, write

LONG = "A label of sixty characters, which is rather long for a table"
LABELS = [
    *(f"Optimizer number {i}" for i in range(35)),
    LONG,
    "🚀 rocket 👨‍👩‍👧 family",
    "אופטימיזר מימין לשמאל",
    "[red]markup[/red] <b>",
    "日本語の最適化手法",
]
AROUND = FrameText("digits: 120 trials on a machine", "CPU 90 % busy", "Ctrl-C stops")
LEVELS = set(UNICODE.levels)


def board_of(labels: Iterable[str] = ("SGD", "Adam"), seeds: int = 3, **changes: object) -> Board:
    trials = trials_of(a_suite(list(labels), seeds=seeds, **changes))
    return Board.of(trials, trials)


def apply(board: Board, trial: Trial, events: Iterable[Event]) -> None:
    for event in events:
        board.apply(trial, event)


def of(board: Board, label: str, seed: int = 0) -> Trial:
    return next(trial for trial in board.pending.values() if (trial.label, trial.seed) == (label, seed))


def texts(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def shown(board: Board, width: int = 80, height: int = 24, glyphs: Glyphs = UNICODE) -> list[str]:
    return texts(frame(board, AROUND, width, height, glyphs))


@pytest.fixture(scope="module")
def busy() -> Board:
    """40 entries, 46 trials begun: some diverged, the last one runs."""
    board = board_of(LABELS)
    begun = list(board.pending.values())[:46]
    for place, trial in enumerate(begun):
        values = [0.1 + 0.08 * k * (1 + place % 3) / 3 for k in range(1, 11)]
        events = curve(values) if place % 7 else diverged()
        apply(board, trial, events[:5] if trial is begun[-1] else events)
    return board


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("width", [30, 31, 37, 40, 59, 80, 81, 120, 200])
def test_forty_entries_fit_every_size(busy: Board, width: int, glyphs: Glyphs) -> None:
    for height in (*range(3, 26), 36, 50):
        lines = shown(busy, width, height, glyphs)
        assert len(lines) <= height, (width, height)
        for line in lines:
            assert cell_len(line) <= width, (width, height, line)
            assert "\n" not in line
            line.encode(glyphs.encoding)


@pytest.mark.parametrize("size", [(1, 1), (5, 2), (12, 3), (2, 40)])
def test_a_tiny_window_is_no_error(busy: Board, size: tuple[int, int]) -> None:
    lines = shown(busy, *size)
    assert len(lines) <= size[1]


@pytest.mark.parametrize("height", [4, 5, 8, 12, 24])
def test_what_runs_is_shown_where_there_is_no_room_for_all(busy: Board, height: int) -> None:
    running = [row.name for row in busy.rows.values() if row.state == "running"]
    assert len(running) == 1
    lines = shown(busy, 80, height)
    assert any(line.startswith(f"{UNICODE.running} {running[0]}") for line in lines), lines


def test_rows_without_room_are_counted(busy: Board) -> None:
    lines = shown(busy, 80, 20)
    [rest] = [line for line in lines if "more:" in line]
    rows = sum(line[:1] in UNICODE.states().values() for line in lines)
    assert f"and {40 - rows} more:" in rest


def test_markup_in_labels_is_shown_as_it_is() -> None:
    board = board_of(["[red]markup[/red] <b>"], seeds=1)
    assert any("[red]markup[/red] <b>" in line for line in shown(board))


def test_the_curve_rises_with_the_metric_and_ends_where_the_trial_is() -> None:
    board = board_of(["SGD"], seeds=1)
    apply(board, of(board, "SGD"), [started(), *(evaluated(k, 0.1 * k) for k in range(1, 6))])
    [row] = [line for line in shown(board, 120) if line.startswith(UNICODE.running)]
    drawn = [sign for sign in row if sign in LEVELS]
    assert drawn == sorted(drawn)
    assert (drawn[0], drawn[-1]) == (UNICODE.levels[0], UNICODE.levels[-1])
    board.apply(next(iter(board.pending.values())), evaluated(10, 0.5))
    [row] = [line for line in shown(board, 120) if line.startswith(UNICODE.running)]
    assert sum(sign in LEVELS for sign in row) >= 2 * len(drawn) - 2  # half of the way was blank


def test_plain_ascii_where_the_terminal_has_nothing_else(busy: Board) -> None:
    assert glyphs_for("latin-1") is ASCII
    assert glyphs_for("ANSI_X3.4-1968") is ASCII
    assert glyphs_for(None) is ASCII
    assert glyphs_for("UTF-8") is UNICODE
    for line in shown(busy, 100, 50, ASCII):
        assert line.isascii()


def test_states_differ_without_colour() -> None:
    for glyphs in (UNICODE, ASCII):
        assert len(set(glyphs.states().values())) == 4


def test_warnings_are_shown_with_their_reason() -> None:
    board = board_of()
    apply(board, of(board, "SGD"), diverged())
    apply(board, of(board, "Adam"), failed())
    apply(board, of(board, "Adam", 1), [started(), evaluated(1, 0.2, exploded_steps=3)])
    lines = "\n".join(shown(board))
    assert "SGD seed 0: diverged at epoch 2: loss is not finite" in lines
    assert "Adam seed 0: failed: Traceback: boom" in lines
    assert "Adam seed 1: gradients exploded at 3 steps by epoch 1" in lines


def test_a_long_name_leaves_room_for_the_reason_of_its_warning() -> None:
    board = board_of([LONG], seeds=1)
    apply(board, of(board, LONG), diverged())
    [line] = [line for line in shown(board, 80) if line.startswith("!")]
    assert "seed 0: diverged at epoch 2: loss is not finite" in line


def test_a_done_trial_that_is_measured_once_more_is_reported_to_be_with_the_time_it_takes(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, a_suite(seeds=1), {(label, 0): curve([0.5, 0.95]) for label in ("SGD", "Adam")})
    trials = trials_of(a_suite(seeds=1))
    board = Board.of(trials, trials[:1])
    for trial in trials:
        board.replay(trial, read_log(folder.trial_path(trial)))
    assert "2/2 trials, 1 to rerun, about 1 s left" in shown(board)[1]
    apply(board, trials[0], curve([0.5, 0.95]))
    assert "2/2 trials (" in shown(board)[1]


def test_many_warnings_keep_to_their_part_of_the_screen(busy: Board) -> None:
    lines = shown(busy)
    told = [line for line in lines if line.startswith("!")]
    assert len(told) <= 4
    assert "earlier warnings" in told[0]


def test_a_lost_trial_is_not_done() -> None:
    board = board_of()
    trial = of(board, "SGD")
    apply(board, trial, failed(at_fault="infrastructure"))
    assert board.done == 0
    apply(board, trial, curve([0.5, 0.95]))
    assert board.done == 1


def test_the_warning_about_a_lost_trial_states_when_it_continues() -> None:
    lost = Finished(
        "interrupted", detail="node a was lost; it starts again from step 0", at_fault="infrastructure"
    )
    assert list(end_warnings("SGD seed 0", lost, 1)) == [
        (
            "lost",
            "SGD seed 0: interrupted by the infrastructure: node a was lost; it starts again from step 0",
        )
    ]
    killed = Finished("failed", detail="killed by signal 9", at_fault="infrastructure")
    assert list(end_warnings("SGD seed 0", killed, 1)) == [
        ("lost", "SGD seed 0: lost: killed by signal 9; the next run or worker continues the trial")
    ]


def test_a_trial_attempted_again_counts_once() -> None:
    board = board_of()
    trial = of(board, "SGD")
    apply(board, trial, curve([0.5, 0.95]))
    apply(board, trial, curve([0.5, 0.95]))
    row = board.rows[key_of(trial)]
    assert (row.done, row.reached, row.ended["completed"]) == (1, 1, 1)


def test_time_left_is_unknown_at_first_and_then_learned() -> None:
    board = board_of()
    assert board.seconds_left() is None
    assert not any("left" in line for line in shown(board)[:3])
    first = of(board, "SGD")
    apply(board, first, curve([0.1] * 10))  # 5 s of training, 1 s of evaluation, 0.2 s of setting up
    assert board.seconds_left() == pytest.approx(5 * 6.2)
    apply(board, of(board, "Adam"), [started(), *(evaluated(k, 0.1) for k in range(1, 6))])
    # its row has no trial that ended: the two others of it take as long as this one will have, 6 s
    assert board.seconds_left() == pytest.approx(2 * 6.2 + 2 * 6.0 + 3.0, abs=0.3)


def test_time_left_counts_untimed_trials_at_the_same_time() -> None:
    trials = [trial.model_copy(update={"timed": False}) for trial in trials_of(a_suite())]
    board = Board.of(trials, trials, at_once=5)
    apply(board, trials[0], curve([0.1] * 10))
    assert board.seconds_left() == pytest.approx(6.2)


def test_time_left_after_a_resume_counts_only_what_is_to_do(tmp_path: Path) -> None:
    suite = a_suite()
    half = [started(), *(evaluated(k, 0.1) for k in range(1, 6)), finished(status="interrupted", epochs=5)]
    folder = write(tmp_path, suite, {("SGD", 0): curve([0.1] * 10), ("SGD", 1): half})
    trials = trials_of(suite)
    logs = {
        trial.id: read_log(folder.trial_path(trial)) for trial in trials if folder.trial_path(trial).exists()
    }
    pending = [trial for trial in trials if trial.id not in logs or not logs[trial.id].is_complete]
    board = Board.of(trials, pending)
    for trial in trials:
        if trial.id in logs:
            board.replay(trial, logs[trial.id])
    assert (board.done, len(board.running)) == (1, 0)
    trial = of(board, "SGD", 1)
    apply(board, trial, [Resumed(step=50), Progressed(step=60, train_seconds=3.0)])
    [progress] = board.running
    assert progress.fraction == pytest.approx(0.6)
    whole = (3.0 + 0.5 / 50 * 60) / 0.6
    assert board.seconds_left() == pytest.approx(4 * 6.2 + 0.4 * whole, abs=0.3)


def test_time_left_of_trials_that_are_paused_for_pruning_ends_at_the_pause() -> None:
    trials = [
        trial.model_copy(update={"rung": 0.25, "point": {"lr": 0.1 * number}, "study": 0})
        for number, trial in enumerate(trials_of(a_suite(["SGD"], seeds=4)), start=1)
    ]
    board = Board.of(trials, trials)
    first, second, *_ = trials
    apply(board, first, [started(), *(evaluated(k, 0.1) for k in range(1, 3))])
    # of 10 epochs of 0.6 s, trials train 3: the first evaluation after a quarter of the budget
    assert board.seconds_left() == pytest.approx(0.6 + 3 * 1.8, abs=0.3)
    apply(board, first, [evaluated(3, 0.1), finished(status="paused", epochs=3, setup_seconds=0.0)])
    assert board.seconds_left() == pytest.approx(3 * 1.8)
    apply(
        board, second, [started(), Progressed(step=1, train_seconds=0.06)]
    )  # too early for its own estimate
    assert board.seconds_left() == pytest.approx(2 * 1.8 + 1.8 - 0.06, abs=0.3)


def test_a_resumed_trial_does_not_show_evaluations_that_come_again() -> None:
    board = board_of(["SGD"], seeds=1)
    trial = of(board, "SGD")
    apply(board, trial, [started(), *(evaluated(k, 0.1 * k) for k in range(1, 6)), Resumed(step=30)])
    [progress] = board.running
    assert [step for step, _ in progress.curve] == [10, 20, 30]


def test_without_a_target_nothing_is_reported_to_reach_it() -> None:
    board = board_of(target=())
    apply(board, of(board, "SGD"), curve([0.5, 0.95]))
    assert "reached" not in "\n".join(shown(board, 200))


def test_one_thread_is_no_plural() -> None:
    here = {"device": "cpu", "device_name": "Test CPU"}
    assert machine(here | {"threads": 1}) == " on Test CPU, 1 thread"
    assert machine(here | {"threads": 2}) == " on Test CPU, 2 threads"
    assert machine({"device": "cuda", "device_name": "H100", "threads": 8}) == " on H100"


def test_piped_output_is_one_plain_line_an_end_or_warning() -> None:
    board, out = board_of(), io.StringIO()
    lines = Lines(board, out)
    first, second = of(board, "SGD"), of(board, "Adam")
    for event in curve([0.5, 0.95]):
        lines.apply(first, event)
    for event in [started(), finished(status="failed", epochs=0, detail="Traceback: bo\x1b[31mom")]:
        lines.apply(second, event)
    said = out.getvalue().splitlines()
    assert "[1/6] SGD seed 0: completed, test accuracy 0.9500" in said[0]
    assert "[2/6] Adam seed 0: failed" in said[1]
    assert "! Adam seed 0: failed: Traceback: bo" in said[2]
    assert "Traceback" not in said[1]  # one line has the reason
    assert len(said) == 3
    assert "\x1b" not in out.getvalue()


def test_a_swept_trial_is_reported_by_its_validation_metric(capsys: pytest.CaptureFixture[str]) -> None:
    board = board_of(["SGD"], seeds=1)
    trial = next(iter(board.pending.values())).model_copy(update={"point": {"lr": 1.0}})
    board, out = Board.of([trial], [trial]), io.StringIO()
    lines = Lines(board, out)
    for event in curve([0.5, 0.95], final=0.77):
        lines.apply(trial, event)
        json_line(trial, event)
    assert "SGD (sweep) lr=1 seed 0: completed, validation accuracy 0.9500" in out.getvalue()
    assert "0.77" not in out.getvalue() + capsys.readouterr().out


def test_json_lines_name_the_trial(capsys: pytest.CaptureFixture[str]) -> None:
    trial = next(iter(board_of().pending.values()))
    json_line(trial, evaluated(1, 0.5))
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["optimizer"], line["seed"], line["trial"]) == (
        "evaluated",
        "SGD",
        0,
        trial.id,
    )


def test_a_curve_of_many_points_has_no_holes_and_ends_at_the_last() -> None:
    for points in (41, 79, 80, 81, 160, 999):
        board = board_of(["SGD"], seeds=1)
        values = [(k + 1) / points for k in range(points)]
        apply(
            board,
            of(board, "SGD"),
            [started(steps=points * 10), *(evaluated(k + 1, v) for k, v in enumerate(values))],
        )
        [row] = [line for line in shown(board, 200) if line.startswith(UNICODE.running)]
        drawn = [sign for sign in row if sign in LEVELS]
        assert len(drawn) == 40
        assert drawn == sorted(drawn)
        assert drawn[-1] == UNICODE.levels[-1]
