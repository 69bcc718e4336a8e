"""Text and tables for a terminal of any width: columns if they fit, else one block of `name: value` lines per row.

Words are not broken, cells are not cut and columns are not dropped. A word longer than a line exceeds the width.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

_MIN_TEXT_WIDTH = 10  # columns of text are not wrapped to less, unless they are narrower
_MAX_LINES = 6  # of a row; with more, blocks are easier to read


@dataclass(frozen=True)
class Paragraph:
    """Text that wraps between words; the lines after the first are indented by `hanging` further spaces."""

    text: Text
    indent: int = 0
    hanging: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        indent = self.indent
        first, *rest = _wrapped(self.text, options.max_width - indent, hanging=self.hanging)
        for line in (first, *rest):
            yield Text(" " * indent, no_wrap=True, overflow="ignore").append_text(line)
            indent = self.indent + self.hanging


@dataclass(frozen=True)
class FittedTable:
    """`is_text` has one value per column: text is aligned left and wraps between words; numbers are aligned right and break
    only before an interval in brackets. A title may have several lines."""

    titles: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    is_text: tuple[bool, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self._widths(options.max_width)
        if widths is None or self._lines_of_longest_row(widths) > _MAX_LINES:
            yield from self._blocks()
        else:
            yield self._grid(widths, options.max_width)

    def _widths(self, width: int) -> list[int] | None:
        """Return the width of each column, or None where the table does not fit."""
        columns = [[title, *(row[i].plain for row in self.rows)] for i, title in enumerate(self.titles)]
        widths = [_longest(line for text in column for line in text.split("\n")) for column in columns]
        smallest = [
            self._smallest(column, natural, is_text)
            for column, natural, is_text in zip(columns, widths, self.is_text, strict=True)
        ]
        room = width - len(widths) + 1  # one space between columns
        if sum(smallest) > room:
            return None
        while sum(widths) > room:
            shrinkable = [i for i in range(len(widths)) if widths[i] > smallest[i]]
            widest = max(shrinkable, key=lambda i: widths[i])
            widths[widest] = widths[widest] - 1 if self.is_text[widest] else smallest[widest]
        return widths

    @staticmethod
    def _smallest(column: list[str], natural: int, is_text: bool) -> int:
        title, *cells = column
        if is_text:
            return max(
                _longest(word for text in column for word in text.split()), min(natural, _MIN_TEXT_WIDTH)
            )
        parts = (part for text in cells for part in _broken(text).split("\n"))
        return max(_longest(title.split()), _longest(parts))

    def _lines_of_longest_row(self, widths: list[int]) -> int:
        return max(
            (
                len(_lines(cell, width, is_text))
                for row in self.rows
                for cell, width, is_text in zip(row, widths, self.is_text, strict=True)
            ),
            default=1,
        )

    def _grid(self, widths: list[int], width: int) -> RenderableType:
        roomy = sum(widths) + 2 * len(widths) - 1 <= width
        grid = Table(box=box.SIMPLE_HEAD, padding=(0, int(roomy), 0, 0), pad_edge=False, show_edge=False)
        titles = [
            _wrapped(Text(title.strip("\n")), size) for title, size in zip(self.titles, widths, strict=True)
        ]
        height = max(map(len, titles), default=1)
        for title, size, is_text in zip(titles, widths, self.is_text, strict=True):
            lines = [Text()] * (height - len(title)) + title
            grid.add_column(Text("\n").join(lines), justify="left" if is_text else "right", width=size)
        for row in self.rows:
            cells = zip(row, widths, self.is_text, strict=True)
            grid.add_row(*(Text("\n").join(_lines(*cell)) for cell in cells))
        return grid

    def _blocks(self) -> Iterable[RenderableType]:
        """Yield a paragraph per cell."""
        names = _names(self.titles)
        for row in self.rows:
            for place, (name, cell) in enumerate(zip(names, row, strict=True)):
                line = Text.assemble((f"{name}: ", "bold" if place == 0 else ""), cell)
                line.rstrip()
                yield Paragraph(line, indent=2 if place else 0, hanging=2)


def _names(titles: Iterable[str]) -> list[str]:
    """Return titles in one line; one that occurs twice gets the title to its left in front."""
    plain = [" ".join(title.split()) for title in titles]
    return [f"{plain[i - 1]} {name}" if i and plain.count(name) > 1 else name for i, name in enumerate(plain)]


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _broken(text: str) -> str:
    return text.replace(" (", "\n(")


def _lines(cell: Text, width: int, is_text: bool) -> list[Text]:
    """Return the lines of a cell."""
    if not is_text and _longest(cell.plain.split("\n")) > width:
        return [Text(line, style=cell.style) for line in _broken(cell.plain).split("\n")]
    return _wrapped(cell, width)


def _wrapped(text: Text, width: int, hanging: int = 0) -> list[Text]:
    """Return lines of at most `width` cells that end between words; all but the first are `hanging` cells shorter."""
    lines: list[Text] = []
    for paragraph in text.split("\n", allow_blank=True):
        starts: list[int] = []
        begin = 0
        for word in re.finditer(r"\S+", paragraph.plain):
            room = width - (hanging if lines or starts else 0)
            if word.start() > begin and cell_len(paragraph.plain[begin : word.end()]) > room:
                begin = word.start()
                starts.append(begin)
        lines += paragraph.divide(starts)
    for line in lines:
        line.rstrip()
    return lines
