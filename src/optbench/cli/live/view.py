"""Lay out the live table for a terminal of a given size. Running rows are shown first if not all rows fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from optbench.cli.live.board import Board, Row
from optbench.cli.live.columns import Column, columns, hidden_columns
from optbench.cli.live.glyphs import Glyphs
from optbench.cli.live.times import duration
from optbench.plurals import counted

#: text segments with their styles
Line = list[tuple[str, str]]

_STYLES = {"running": "bold", "done": "green", "problem": "red", "waiting": "dim"}
_MAX_WARNINGS = 4


@dataclass(frozen=True)
class FrameText:
    """Text above and below the table."""

    heading: str  # suite, trials, machine
    facts: str = ""  # of the device, now
    footer: str = ""


def frame(board: Board, text: FrameText, width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """Return at most `height` lines of at most `width` cells."""
    tall = height >= 14
    top = [[(glyphs.fit(text.heading, width), "bold")]] if height >= 6 else []
    top.append(_progress(board, width, glyphs))
    if text.facts and height >= 10:
        top.append([(glyphs.fit(text.facts, width), "dim")])
    bottom = [[(glyphs.fit(text.footer, width), "dim")]] if text.footer and height >= 8 else []
    warnings = (
        _warning_lines(board, width, max(1, min(_MAX_WARNINGS, height // 6)), glyphs) if height >= 5 else []
    )
    gaps = (1 if tall else 0) * (1 + bool(warnings) + bool(bottom))
    room = height - len(top) - len(bottom) - len(warnings) - gaps
    blank: list[Line] = [[]] if tall else []
    lines = top + blank + _table(board, width, room, glyphs)
    lines += blank + warnings if warnings else []
    lines += blank + bottom if bottom else []
    return lines[:height]


def _progress(board: Board, width: int, glyphs: Glyphs) -> Line:
    left = board.seconds_left()
    words = f" {board.done}/{counted(board.planned, 'trial')}"
    if board.reruns:
        words += f", {board.reruns} to rerun"
    if left is not None and board.pending:
        words += f", about {duration(left)} left"
    if width >= 70 and board.began is not None:
        words += f" ({duration(time.monotonic() - board.began)} elapsed)"
    completed = board.done + sum(progress.fraction for progress in board.running)
    done, rest = glyphs.bar(completed / max(1, board.planned), max(0, min(40, width - len(words))))
    return [(done, "green"), (rest, "dim"), (glyphs.fit(words, min(len(words), width)), "")]


def _table(board: Board, width: int, room: int, glyphs: Glyphs) -> list[Line]:
    """Return the lines of the titles and rows, and one that summarises the rows that do not fit."""
    rows = list(board.rows.values())
    if room < 1 or not rows:
        return []
    of_rows = columns(board, rows, width - 2, glyphs)
    missing = hidden_columns(board, rows, of_rows, glyphs) if room > 3 else []
    shown = _chosen(rows, max(1, room - 1 - bool(missing)))
    titles = " ".join(column.fitted(column.title, glyphs) for column in of_rows)
    lines: list[Line] = [[("  " + titles.rstrip(), "dim")]] if room > 1 else []
    lines += [_row(row, of_rows, glyphs) for row in shown]
    rest = [row for row in rows if row not in shown]
    if rest:
        lines.append([("  " + glyphs.fit(_summary(rest, glyphs), width - 2), "dim")])
    if missing:
        text = f"hidden columns (window too narrow): {', '.join(missing)}"
        lines.append([("  " + glyphs.fit(text, width - 2).rstrip(), "dim")])
    return lines[:room]


def _chosen(rows: Sequence[Row], room: int) -> list[Row]:
    """Return the rows that fit, in their order: running ones first, then failed, then the most recently updated."""
    if len(rows) <= room:
        return list(rows)
    order = sorted(rows, key=lambda row: (row.state != "running", row.state != "problem", -row.last_event))
    chosen = {id(row) for row in order[: max(1, room - 1)]}
    return [row for row in rows if id(row) in chosen]


def _row(row: Row, of_rows: list[Column], glyphs: Glyphs) -> Line:
    state = row.state
    text = " ".join(column.fitted(column.cell(row), glyphs) for column in of_rows)
    return [
        (glyphs.states()[state] + " ", _STYLES[state]),
        (text.rstrip(), "bold" if state == "running" else ""),
    ]


def _summary(rest: Sequence[Row], glyphs: Glyphs) -> str:
    words = {"running": "running", "problem": "with problems", "waiting": "waiting", "done": "done"}
    counts = {word: sum(row.state == state for row in rest) for state, word in words.items()}
    states = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    return f"{glyphs.dots} and {len(rest)} more: {states}"


def _shorter(text: str, board: Board, width: int, glyphs: Glyphs) -> str:
    """Shorten the row's name in a warning, so that its reason stays visible."""
    longest = max((row.name for row in board.rows.values() if row.name in text), key=len, default="")
    if len(text) <= width or not longest:
        return text
    room = max(16, len(longest) - (len(text) - width))
    return text.replace(longest, glyphs.fit(longest, room).rstrip(), 1) if room < len(longest) else text


def _warning_lines(board: Board, width: int, most: int, glyphs: Glyphs) -> list[Line]:
    found = list(board.warnings.values())
    shown = found if len(found) <= most else found[len(found) - max(1, most - 1) :]
    lines: list[Line] = []
    if len(found) > len(shown) and most > 1:
        lines.append([(glyphs.fit(f"! {len(found) - len(shown)} earlier warnings", width), "yellow")])
    for clock, text in ((clock, _shorter(text, board, width - 11, glyphs)) for clock, text in shown):
        lines.append([(glyphs.fit(f"! {clock} {text}" if clock else f"! {text}", width), "yellow")])
    return lines
