"""Delimited text as tools leave it: any delimiter, a `sep=` line, repeated headers, empty columns, torn lines.

`csv.reader` and not `pandas.read_csv`: messages need the line of each row, and rows of another length must be counted.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optbench.csv_escaping import unescape
from optbench.errors import OptbenchError
from optbench.importing.findings import Findings
from optbench.importing.tables import Table
from optbench.importing.texts import read_bytes, read_text

_DELIMITERS = ",;\t|"


@dataclass
class Lines:
    """Iterating gives (line number, cells by column). Rows that do not fit the header are counted in `unreadable`."""

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


def read_lines(path: Path, required: Sequence[str]) -> Lines:
    """Read a file leniently: undecodable bytes are replaced, and what is no row is only counted.

    Raises `OptbenchError` if there is no such file, no header, a column twice, or if a required column is missing.
    """
    content = read_bytes(path).decode("utf-8-sig", errors="replace").replace("\0", "").splitlines()
    columns, _, delimiter = _header(content, path)
    missing = [name for name in required if name not in columns]
    if missing:
        message = f"expected the column '{missing[0]}'; found {', '.join(columns[:8])}"
        raise OptbenchError(message, file=str(path), line=1)
    _check_names(columns, path, 1)
    return Lines(path, tuple(columns), content, delimiter, frozenset(required))


def read_delimited(path: Path, findings: Findings) -> Table:
    """Read a whole file. Rows of another length than the header are left out and counted in `findings`.

    Raises `OptbenchError` if the file does not exist or is not text, if a column is repeated, if a quote is not
    closed, or if no row fits the header.
    """
    content = list(io.StringIO(read_text(path, findings), newline=""))
    header, start, delimiter = _header(content, path)
    _check_names(header, path, start + 1)
    rows, lines, torn = _rows(content, start, delimiter, header, path)
    if torn and not rows:
        line, length = torn[0]
        message = f"expected {len(header)} cells, as in the header; found {length}"
        raise OptbenchError(message, file=str(path), line=line)
    for line, _ in torn:
        findings.note("rows with more or fewer cells than the header: skipped", f"{path}:{line}")
    columns = zip(*rows, strict=True) if rows else ((),) * len(header)
    named = {unescape(name): cells for name, cells in zip(header, columns, strict=True) if name}
    return Table(str(path), named, lines, delimiter=delimiter)


def _rows(
    content: Sequence[str], start: int, delimiter: str, header: Sequence[str], path: Path
) -> tuple[list[list[str]], list[int], list[tuple[int, int]]]:
    """Return the rows in the header's order, their lines, and the line and length of each row that does not fit."""
    rows: list[list[str]] = []
    lines: list[int] = []
    torn: list[tuple[int, int]] = []
    width, names = len(header), set(header)
    order: list[int] = []  # of the columns, where a repeated header has another
    reader = csv.reader(content[start:], delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if len(cells) > width and not any(map(str.strip, cells[width:])):
                del cells[width:]
            if not any(cell and not cell.isspace() for cell in cells):
                continue
            line = start + reader.line_num
            if len(cells) != width:
                torn.append((line, len(cells)))
            elif cells[0].strip() in names and {cell.strip() for cell in cells} == names:
                found = [cell.strip() for cell in cells]
                order = [] if found == header else [found.index(name) for name in header]
            else:
                rows.append([cells[index] for index in order] if order else cells)
                lines.append(line)
    except csv.Error as error:
        line = start + reader.line_num
        raise OptbenchError(f"invalid CSV: {error}", file=str(path), line=line) from error
    return rows, lines, torn


def _header(content: list[str], path: Path) -> tuple[list[str], int, str]:
    """Return the columns' names, the number of lines before them, and the delimiter that gives most columns."""
    start = next((index for index, line in enumerate(content) if line.strip()), None)
    delimiters = _DELIMITERS
    if start is not None and content[start].lstrip('" ').lower().startswith("sep="):
        hint = content[start].lstrip('" ')[4:5].strip('\r\n"')
        delimiters = hint or delimiters
        start = next((i for i in range(start + 1, len(content)) if content[i].strip()), None)
    if start is None:
        raise OptbenchError("empty: expected a header with the names of the columns", file=str(path))
    try:
        options = [(next(csv.reader(content[start:], delimiter=each)), each) for each in delimiters]
    except csv.Error as error:
        raise OptbenchError(f"no table: {error}", file=str(path), line=start + 1) from error
    cells, delimiter = max(options, key=lambda option: len(option[0]))
    header = [cell.strip() for cell in cells]
    while len(header) > 1 and not header[-1]:  # empty columns of a spreadsheet
        header.pop()
    return header, start, delimiter


def _check_names(header: Sequence[str], path: Path, line: int) -> None:
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise OptbenchError(f"two columns are named '{twice[0]}'", file=str(path), line=line)


def number(cell: str | None) -> float:
    """Return NaN for what is no number."""
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        return math.nan
