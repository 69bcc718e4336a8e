"""Delimited text as people's tools leave it: a byte order mark, repeated headers, torn lines, any encoding."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optbench.errors import OptbenchError, Problem


@dataclass
class Lines:
    """Iterating gives (line number, cells by column). What is no row is counted, once iterated, in `unreadable`."""

    path: Path
    columns: tuple[str, ...]  # of the first header
    content: list[str]
    delimiter: str
    required: frozenset[str] = frozenset()
    unreadable: list[int] = field(default_factory=list)  # line numbers

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        reader = csv.reader(self.content, delimiter=self.delimiter)
        header: list[str] = []
        try:
            for cells in reader:
                if not any(cells):
                    continue
                stripped = [cell.strip() for cell in cells]
                if not header or stripped == header or (self.required and self.required <= set(stripped)):
                    header = stripped  # once more after a restart, perhaps with other columns
                elif len(cells) != len(header):
                    self.unreadable.append(reader.line_num)
                else:
                    yield reader.line_num, dict(zip(header, cells, strict=True))
        except csv.Error:
            self.unreadable.append(reader.line_num)


def read_lines(path: Path, required: Sequence[str] = ()) -> Lines:
    """Raises `OptbenchError` if there is no such file, no header, a column twice, or if a required column is missing."""
    try:
        content = path.read_bytes().decode("utf-8-sig", errors="replace").replace("\0", "").splitlines()
    except OSError as error:
        raise OptbenchError(Problem(f"cannot read: {error.strerror}", file=str(path))) from error
    first = next((line for line in content if line.strip()), None)
    if first is None:
        raise OptbenchError(Problem("empty: expected a line that names the columns", file=str(path)))
    delimiter = max(",;\t", key=first.count)
    try:
        columns = tuple(cell.strip() for cell in next(csv.reader([first], delimiter=delimiter)))
    except csv.Error as error:
        raise OptbenchError(Problem(f"no table: {error}", file=str(path), line=1)) from error
    missing = [name for name in required if name not in columns]
    if missing:
        message = f"expected the column '{missing[0]}'; found {', '.join(columns[:8])}"
        raise OptbenchError(Problem(message, file=str(path), line=1))
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise OptbenchError(Problem(f"two columns are called '{twice[0]}'", file=str(path), line=1))
    return Lines(path, columns, content, delimiter, frozenset(required))


def number(cell: str | None) -> float:
    """NaN for what is no number."""
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        return math.nan
