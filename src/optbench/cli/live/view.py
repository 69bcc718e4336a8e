"""Lay out the live table for a terminal of a given size. Running rows are shown first if not all rows fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from optbench.cli.live.board import Board, Row
from optbench.cli.live.columns import Column, columns, left_out
from optbench.cli.live.glyphs import Glyphs
from optbench.cli.live.times import duration
from optbench.plurals import counted

#: text and its style, one after another
Line = list[tuple[str, str]]

_STYLES = {"running": "bold", "done": "green", "trouble": "red", "waiting": "dim"}
_MOST_TROUBLES = 4


@dataclass(frozen=True)
class Surroundings:
    """What is shown beside the board."""

    heading: str  # suite, trials, machine
    facts: str = ""  # of the device, now
    footer: str = ""


def frame(board: Board, around: Surroundings, width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """At most `height` lines of at most `width` cells."""
    tall = height >= 14
    top = [[(glyphs.fit(around.heading, width), "bold")]] if height >= 6 else []
    top.append(_progress(board, width, glyphs))
    if around.facts and height >= 10:
        top.append([(glyphs.fit(around.facts, width), "dim")])
    bottom = [[(glyphs.fit(around.footer, width), "dim")]] if around.footer and height >= 8 else []
    troubles = (
        _troubles(board, width, max(1, min(_MOST_TROUBLES, height // 6)), glyphs) if height >= 5 else []
    )
    gaps = (1 if tall else 0) * (1 + bool(troubles) + bool(bottom))
    room = height - len(top) - len(bottom) - len(troubles) - gaps
    blank: list[Line] = [[]] if tall else []
    lines = top + blank + _table(board, width, room, glyphs)
    lines += blank + troubles if troubles else []
    lines += blank + bottom if bottom else []
    return lines[:height]


def _progress(board: Board, width: int, glyphs: Glyphs) -> Line:
    left = board.seconds_left()
    words = f" {board.done}/{counted(board.planned, 'trial')}"
    if board.again:
        words += f", {board.again} to rerun"
    if left is not None and board.pending:
        words += f", about {duration(left)} left"
    if width >= 70 and board.began is not None:
        words += f" ({duration(time.monotonic() - board.began)} elapsed)"
    came = board.done + sum(course.fraction for course in board.running)
    done, rest = glyphs.bar(came / max(1, board.planned), max(0, min(40, width - len(words))))
    return [(done, "green"), (rest, "dim"), (glyphs.fit(words, min(len(words), width)), "")]


def _table(board: Board, width: int, room: int, glyphs: Glyphs) -> list[Line]:
    """Column titles, rows, and a line for those that have no room."""
    rows = list(board.rows.values())
    if room < 1 or not rows:
        return []
    of_rows = columns(board, rows, width - 2, glyphs)
    missing = left_out(board, rows, of_rows, glyphs) if room > 3 else []
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
    order = sorted(rows, key=lambda row: (row.state != "running", row.state != "trouble", -row.touched))
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
    words = {"running": "running", "trouble": "with problems", "waiting": "waiting", "done": "done"}
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


def _troubles(board: Board, width: int, most: int, glyphs: Glyphs) -> list[Line]:
    found = list(board.troubles.values())
    shown = found if len(found) <= most else found[len(found) - max(1, most - 1) :]
    lines: list[Line] = []
    if len(found) > len(shown) and most > 1:
        lines.append([(glyphs.fit(f"! {len(found) - len(shown)} earlier warnings", width), "yellow")])
    for clock, text in ((clock, _shorter(text, board, width - 11, glyphs)) for clock, text in shown):
        lines.append([(glyphs.fit(f"! {clock} {text}" if clock else f"! {text}", width), "yellow")])
    return lines
