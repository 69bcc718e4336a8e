"""Parse cells as numbers: words for missing values, percent signs, decimal commas, thousands separators."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

#: lower-case text of a cell that has no value
MISSING = frozenset(
    [*("", "-", "--", "---", "–", "—", "?", ".", "n/a", "na", "n.a.", "n.a", "#n/a", "#na", "#n/a n/a", "none", "null", "nil"),
     *("<na>", "pd.na", "nat", "missing", "undefined", "not available", "\\n")]
)  # fmt: skip
#: what float() does not read: C's and Excel's words
_NOT_FINITE = {
    **dict.fromkeys(["1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "nan(ind)", "-nan(ind)", "#num!", "#div/0!"], math.nan),
    **dict.fromkeys(["1.#inf", "∞", "+∞"], math.inf),
    **dict.fromkeys(["-1.#inf", "-∞"], -math.inf),
}  # fmt: skip
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?(e[+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(\d*|[1-9]\d{0,2}(\.\d{3})+),\d+(e[+-]?\d+)?")
_GROUPED_BY_DOTS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")
_SPACES = re.compile(r"(?<=\d)[ \u00a0\u202f\u2009'’](?=\d{3}(?!\d))")

Cell = Any  # str, int, float, bool or None, as the file has it


def uses_decimal_comma(cells: Iterable[Cell], delimiter: str) -> bool:
    """Return whether a comma separates decimals in these cells, which are those of all number columns of a table.

    Cells such as `0,71` or `1,000.5` decide. If there are only cells such as `1,234`, which may be either, another
    number with a decimal point decides, and last the delimiter: tables with decimal commas are not delimited by commas.
    """
    texts = [cell for cell in cells if isinstance(cell, str)]
    either = False
    for text in texts:
        if "," in text:
            plain = _plain(text).removesuffix("%").rstrip()
            thousands, decimal = _THOUSANDS.fullmatch(plain), _DECIMAL_COMMA.fullmatch(plain)
            if bool(thousands) != bool(decimal):
                return bool(decimal)
            either = either or bool(thousands)
    return either and delimiter != "," and not any("." in text for text in texts)


def to_numbers(cells: Sequence[Cell], *, percent: bool, decimal_comma: bool) -> list[float | None]:
    """Return a number for each cell, None for a missing one. Raises `Unreadable` with the indexes of the others."""
    try:
        numbers: list[float | None] = list(map(float, cells))
        if not decimal_comma and not any(type(cell) is bool for cell in cells):
            return [number / 100 for number in numbers] if percent else numbers  # type: ignore[operator]
    except (ValueError, TypeError, OverflowError):
        pass
    numbers, wrong = [], []
    for index, cell in enumerate(cells):
        try:
            numbers.append(_number(cell, percent, decimal_comma))
        except (ValueError, OverflowError):
            numbers.append(None)
            wrong.append(index)
    if wrong:
        raise Unreadable(numbers, wrong)
    return numbers


def is_grouped(cell: Cell) -> bool:
    """Return whether the cell is a number such as `1,000`, which is 1 if the comma separates decimals."""
    return isinstance(cell, str) and bool(_THOUSANDS.fullmatch(_plain(cell)))


def is_text(cell: Cell) -> bool:
    """Return whether the cell has a value that is not a number."""
    try:
        _number(cell, percent=False, decimal_comma=False)
    except (ValueError, OverflowError):
        return True
    return False


class Unreadable(ValueError):
    """Cells that are not numbers: their indexes, and the column's numbers with None in their place."""

    def __init__(self, numbers: list[float | None], indexes: list[int]) -> None:
        super().__init__(f"{len(indexes)} cells are not numbers")
        self.numbers, self.indexes = numbers, indexes


def _number(cell: Cell, percent: bool, decimal_comma: bool) -> float | None:
    if cell is None or cell == "":
        return None
    if not isinstance(cell, str):
        if isinstance(cell, bool) or not isinstance(cell, (int, float)):
            raise ValueError
        return cell / 100 if percent else float(cell)
    text = _plain(cell)
    if text in MISSING:
        return None
    if text.endswith("%"):
        percent, text = True, text[:-1].rstrip()
    number = _NOT_FINITE.get(text)
    if number is None:
        number = _read(text, decimal_comma)
    return number / 100 if percent else number


def _read(text: str, decimal_comma: bool) -> float:
    if decimal_comma:
        if _GROUPED_BY_DOTS.fullmatch(text):
            raise ValueError  # 1.234 may be either number
        if _DECIMAL_COMMA.fullmatch(text):
            text = text.replace(".", "").replace(",", ".")
    elif _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    return float(text)


def _plain(text: str) -> str:
    """Return the text without the marks of spreadsheets and typesetting."""
    text = text.strip().lower().removeprefix("'").replace("\u2212", "-")
    return _SPACES.sub("", text)
