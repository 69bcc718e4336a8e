"""The exception for errors of the user. The command line prints it and exits with code 2."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One error, with its place.

    `where` is the dotted path as the user wrote it (`workload.model.width`); `line` and `column` count from 1.
    """

    message: str
    where: str = ""
    file: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = self.file
        if self.line is not None:
            place += f":{self.line}" + (f":{self.column}" if self.column is not None else "")
        return ": ".join(part for part in (place, self.where, self.message) if part)


class OptbenchError(Exception):
    """An error that the user can fix. Contains all problems, not only the first. `place` has the other fields of problems given as text."""

    def __init__(self, *problems: Problem | str, **place: Any) -> None:
        self.problems = tuple(Problem(p, **place) if isinstance(p, str) else p for p in problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ReaderGone(Exception):
    """Raised when the program that reads the output has ended. No `OSError`: typer exits with code 1 on those."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, which a class may refuse to give."""
    try:
        return str(error).strip().partition("\n")[0]
    except Exception:
        return ""


def describe_error(error: BaseException) -> str:
    """Return the exception's class and the first line of its message: `ValueError: expected a number`."""
    return f"{type(error).__name__}: {first_line(error)}"


def is_user_interrupt(error: BaseException) -> bool:
    """Return whether this is Ctrl-C. In a process that ignores SIGINT, such as a trial's, code raised the `KeyboardInterrupt`."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the nearest known word, or the known words if none is similar."""
    names = sorted(known)
    by_case = [name for name in names if name.lower() == word.lower()]
    close = by_case or difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    if len(names) > 12:
        return "known: " + ", ".join(names[:12]) + ", ..."
    return "known: " + (", ".join(names) or "none")
