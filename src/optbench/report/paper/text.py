"""Text in figures: measuring, shortening and wrapping, without characters that the font lacks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from optbench.report.text import clean

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

#: comes with matplotlib: the same widths on every machine
FONT = "DejaVu Sans"
MISSING = "□"


def shown(text: str, place: int = 0) -> str:
    """Return the text as the font can draw it, without emoji; "entry N" (its place in the table) if less than half can be drawn."""
    kept = [character for character in clean(text) if not _joins(character)]
    lost = [character for character in kept if not _has(ord(character))]
    if 2 * len(lost) > len(kept):
        return place_label(place)
    drawn = "".join(
        "" if each in lost and _is_picture(each) else MISSING if each in lost else each for each in kept
    )
    return " ".join(drawn.split()) or place_label(place)


def place_label(place: int) -> str:
    """Return the label of the entry at this place in the table (from 0) whose own label cannot be drawn."""
    return f"entry {place + 1}"


def fitted(text: str, size: float, inches: float) -> str:
    """Return the text shortened in the middle, where names differ least, to at most `inches`; `size` in points."""
    if width(text, size) <= inches:
        return text
    for kept in range(len(text) - 1, 1, -1):
        head = (kept + 1) // 2
        short = f"{text[:head].rstrip()}…{text[len(text) - (kept - head) :].lstrip()}"
        if width(short, size) <= inches:
            return short
    return "…"


def label_lines(names: Sequence[str], size: float, inches: float, most: int = 4) -> list[str]:
    """Return drawable names, wrapped into at most `most` lines no wider than `inches`.

    Longer names are shortened in their last line; duplicates get their place in the table.
    """
    labels = []
    for place, name in enumerate(names):
        lines = wrapped(_pieces(shown(name, place), size, inches), size, inches)
        if len(lines) > most:
            lines = [*lines[: most - 1], fitted(" ".join(lines[most - 1 :]), size, inches)]
        labels.append("\n".join(lines))
    return [
        f"{label} #{place + 1}" if labels.count(label) > 1 else label for place, label in enumerate(labels)
    ]


def _pieces(text: str, size: float, inches: float) -> list[str]:
    """Return words; those wider than a line are divided after punctuation, or else shortened."""
    pieces: list[str] = []
    for word in text.split():
        wide = width(word, size) > inches
        for piece in re.findall(r"[^_/,:=.-]*[_/,:=.-]+|[^_/,:=.-]+", word) if wide else [word]:
            if wide and pieces and pieces[-1] and width(pieces[-1] + piece, size) <= inches:
                pieces[-1] += piece
            else:
                pieces.append(fitted(piece, size, inches))
    return pieces


def wrapped(sentences: Sequence[str], size: float, inches: float) -> list[str]:
    """Return lines of at most `inches`; a wider word gets its own line."""
    lines: list[str] = []
    for word in " ".join(sentences).split(" "):
        if lines and width(f"{lines[-1]} {word}", size) <= inches:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def width(text: str, size: float) -> float:
    """Return the width of a text in inches; `size` in points."""
    return sum(map(_advance, text)) * size / 72


def _joins(character: str) -> bool:
    """Return whether a character is a joiner or variation selector, which is not drawn itself."""
    return unicodedata.category(character) == "Cf" or 0xFE00 <= ord(character) <= 0xFE0F


def _is_picture(character: str) -> bool:
    """Return whether a character is a symbol; missing symbols are dropped, missing letters replaced by a mark."""
    return unicodedata.category(character) in ("So", "Sk")


@cache
def _font() -> FT2Font:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties(family=[FONT])))


@cache
def _has(code: int) -> bool:
    return _font().get_char_index(code) != 0


@cache
def _advance(character: str) -> float:
    """Return the advance width in em. Kerning and shaping are ignored: they only make text narrower."""
    from matplotlib.ft2font import LoadFlags

    glyph = _font()
    glyph.set_size(72, 72)
    return float(glyph.load_char(ord(character), flags=LoadFlags.NO_HINTING).linearHoriAdvance) / 65536 / 72
