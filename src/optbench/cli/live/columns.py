"""Columns of the live table: cell text, width, and the order in which they are hidden in a narrow window."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rich.cells import cell_len

from optbench.cli.live.board import Board, Row
from optbench.cli.live.glyphs import Glyphs
from optbench.cli.live.times import duration
from optbench.report.text import number

_MIN_NAME = 12  # minimum width of the optimizer's name while other columns can be hidden
_PREFERRED_NAME = 20  # the same while more than three columns are shown
_MAX_NAME = 60
_MAX_CURVE = 40


@dataclass(frozen=True)
class Column:
    """A column. Those with a higher `rank` are hidden first."""

    title: str
    width: int
    cell: Callable[[Row], str]
    rank: int
    left: bool = False

    def fitted(self, text: str, glyphs: Glyphs) -> str:
        if self.left:
            return glyphs.fit(text, self.width)
        room = self.width - cell_len(text)
        return " " * room + text if room >= 0 else glyphs.fit(text, self.width)


def columns(board: Board, rows: list[Row], width: int, glyphs: Glyphs) -> list[Column]:
    """Return the columns that fit into `width`, with a space between them; the name is the first."""
    wanted = _all(board, rows, glyphs)
    longest = max((cell_len(glyphs.printable(row.name)) for row in rows), default=0)
    least = max(_MIN_NAME, min(longest, _PREFERRED_NAME))
    while (
        len(wanted) > 1
        and (least if len(wanted) > 3 else _MIN_NAME) + sum(column.width + 1 for column in wanted) > width
    ):
        wanted.remove(max(wanted, key=lambda column: column.rank))
    spare = width - sum(column.width + 1 for column in wanted)
    name_width = max(1, min(spare, max(_MIN_NAME, min(longest, _MAX_NAME))))
    spare = min(spare - name_width, _MAX_CURVE - 10)
    wanted = [
        _curve(board, rows, glyphs, column.width + max(0, spare)) if column.title == "curve" else column
        for column in wanted
    ]
    return [Column("optimizer", name_width, lambda row: row.name, 0, left=True), *wanted]


def hidden_columns(board: Board, rows: list[Row], shown: list[Column], glyphs: Glyphs) -> list[str]:
    """Return the titles of the columns for which there was no room."""
    titles = {column.title for column in shown}
    return [column.title for column in _all(board, rows, glyphs) if column.title not in titles]


def metric_heading(rows: list[Row], glyphs: Glyphs) -> str:
    """Return the heading of the metric, as in "accuracy %"; "latest" for several metrics."""
    metrics = {row.metric for row in rows}
    if len(metrics) != 1:
        return "latest"
    metric, in_percent = metrics.pop(), rows[0].in_percent
    room = 12 if in_percent else 14
    name = metric if len(metric) <= room else glyphs.fit(metric, room)
    return f"{name} %" if in_percent else name


def _all(board: Board, rows: list[Row], glyphs: Glyphs) -> list[Column]:
    heading = metric_heading(rows, glyphs)
    found = [
        _measured(
            "trials",
            [f"{row.done}/{row.planned}" for row in rows],
            lambda row: f"{row.done}/{row.planned}",
            1,
        ),
        _measured("epoch", [_epoch(row) for row in rows], _epoch, 3),
        _measured(
            heading, [_latest(row, glyphs) for row in rows] + ["100.0"], lambda row: _latest(row, glyphs), 2
        ),
        _curve(board, rows, glyphs, 10),
    ]
    if any(row.has_target for row in rows):
        found.append(_measured("reached", ["0/0"], lambda row: _reached(board, row), 4))
    found.append(_measured("samples/s", ["0"], _samples_per_second, 6))
    if any(row.running and board.durations.expected(row.last.trial) for row in rows if row.last):
        found.append(_measured("per trial", ["10 min"], lambda row: _trial_duration(board, row), 8))
    found.append(Column("state", max(12, *(len(_state(row)) for row in rows)), _state, 7, left=True))
    return found


def _measured(title: str, texts: list[str], cell: Callable[[Row], str], rank: int) -> Column:
    return Column(title, max(map(cell_len, [title, *texts])), cell, rank)


def _curve(board: Board, rows: list[Row], glyphs: Glyphs, width: int) -> Column:
    """Return the column of curves, with one scale for all rows of a workload."""
    ranges: dict[str, tuple[float, float]] = {}
    for workload in {row.workload for row in rows}:
        values = sorted(
            value
            for row in board.rows.values()
            if row.workload == workload and row.last
            for _, value in _thinned(row.last.curve)
            if math.isfinite(value)
        )
        if values:  # without outliers, which would flatten all other curves
            ranges[workload] = values[len(values) // 50], values[-1 - len(values) // 50]

    def cell(row: Row) -> str:
        progress = row.last
        if progress is None or not progress.curve or row.workload not in ranges:
            return ""
        whole = (
            progress.steps or (progress.step / progress.fraction if progress.fraction else progress.step) or 1
        )
        points = [(step / whole, value) for step, value in _thinned(progress.curve)]
        return glyphs.curve(points, width, *ranges[row.workload], until=points[-1][0])

    return Column("curve", width, cell, 5, left=True)


def _thinned(curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return as many points as fit into a line, including the last one."""
    return curve[:: -(1 + len(curve) // (2 * _MAX_CURVE))][::-1]


def _epoch(row: Row) -> str:
    progress = row.last
    if progress is None or not progress.step:
        return ""
    epoch = progress.step / progress.steps_per_epoch
    if not progress.steps:
        return f"{epoch:.1f}"
    epochs = progress.steps / progress.steps_per_epoch
    return f"{epoch:.{0 if epochs >= 100 else 1}f}/{epochs:.4g}"


def _latest(row: Row, glyphs: Glyphs) -> str:
    value = row.latest
    if value is None or math.isnan(value):
        return "" if value is None else "nan"
    if row.in_percent:
        return f"{100 * value:.1f}"
    return number(value, 4).replace("–", glyphs.dash).replace("∞", "inf")


def _reached(board: Board, row: Row) -> str:
    """Return how many of the finished trials, and of the running ones that reached it, reached the target."""
    if not row.has_target:
        return ""
    total = row.done + sum(
        board.progress_of[name].has_reached_target
        for name in row.running
        if not board.progress_of[name].is_counted
    )
    return f"{row.reached}/{total}" if total else ""


def _samples_per_second(row: Row) -> str:
    rate = row.last.samples_per_second if row.last else None
    if rate is None:
        return ""
    return f"{rate:,.0f}" if rate < 100_000 else f"{rate / 1000:,.0f}k" if rate < 1e8 else f"{rate:.1e}"


def _trial_duration(board: Board, row: Row) -> str:
    seconds = board.durations.expected(row.last.trial) if row.last else None
    return duration(seconds) if seconds else ""


def _state(row: Row) -> str:
    if row.state == "running" and row.last is not None:
        return (
            f"running seed {row.last.trial.seed}" if len(row.running) == 1 else f"{len(row.running)} running"
        )
    if row.state == "problem":
        return ", ".join(
            f"{n} {status.replace('_', ' ')}" for status, n in row.ended.items() if status != "completed"
        )
    return row.state
