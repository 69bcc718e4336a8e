"""Output of commands: width of the terminal, and wrapping between words."""

from __future__ import annotations

import os
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: columns of tables where there is neither a terminal nor COLUMNS
PIPED_WIDTH = 80
_MIN_WIDTH = 20


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
