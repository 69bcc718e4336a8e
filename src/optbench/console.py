"""Output of commands: width of the terminal, wrapping between words, and cleaning of text from files and users."""

from __future__ import annotations

import os
import sys
import textwrap
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: columns of tables where there is neither a terminal nor COLUMNS
PIPED_WIDTH = 80
_MIN_WIDTH = 20
_BIDI_CONTROLS = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F}


def columns() -> int | None:
    """Return the value of COLUMNS, or None where it is unset or no number."""
    text = os.environ.get("COLUMNS", "").strip()
    return max(_MIN_WIDTH, int(text)) if text.isdecimal() and int(text) > 0 else None


def piped_width(default: int = PIPED_WIDTH) -> int:
    """Return the width of tables that do not go to a terminal: COLUMNS, else `default`."""
    return columns() or default


def standard_output(piped: int = PIPED_WIDTH) -> Console:
    """Return a console on standard output, as wide as the terminal; in a pipe as COLUMNS, else `piped` columns."""
    from rich.console import Console

    console = Console(highlight=False)
    console.width = max(_MIN_WIDTH, console.width) if console.is_terminal else piped_width(piped)
    return console


def wrapped(text: str, indent: int = 0) -> str:
    """Wrap a line between words at the width of the terminal or COLUMNS; in a pipe without COLUMNS it stays one line.

    Continuation lines are indented by `indent` spaces.
    """
    width = columns()
    if width is None and sys.stdout.isatty():
        width = max(_MIN_WIDTH, os.get_terminal_size(sys.stdout.fileno()).columns)
    if width is None or len(text) <= width:
        return text
    lead = len(text) - len(text.lstrip(" "))
    return textwrap.fill(
        text[lead:],
        width,
        initial_indent=" " * lead,
        subsequent_indent=" " * min(indent, width // 3),
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )


def clean(text: str) -> str:
    """Return the text without control and bidirectional characters; line breaks become spaces."""
    if text.isprintable():  # most text; then it has none of them
        return text
    spaced = "".join(
        " " if character in "\t\n\r\x0b\x0c\x85\u2028\u2029" else character for character in text
    )
    return "".join(
        character
        for character in spaced
        if unicodedata.category(character) not in ("Cc", "Cs") and ord(character) not in _BIDI_CONTROLS
    )
