"""Characters for bars, state marks and one-line curves, in Unicode or in ASCII."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len, set_cell_size

#: characters that terminals display with different widths: joiners, presentation selectors, skin tones
_AMBIGUOUS_WIDTH = dict.fromkeys(
    [0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, *range(0xFE00, 0xFE10), *range(0x1F3FB, 0x1F400)]
)


@dataclass(frozen=True)
class Glyphs:
    """Characters that differ from each other without colour."""

    running: str
    done: str
    waiting: str
    problem: str
    full: str
    empty: str
    levels: str  # of a curve, from low to high
    dots: str
    dash: str
    encoding: str

    def states(self) -> dict[str, str]:
        return {"running": self.running, "done": self.done, "waiting": self.waiting, "problem": self.problem}

    def fit(self, text: str, width: int) -> str:
        """Pad the text to `width` cells, or cut it with dots at the end."""
        return _fitted(self.printable(text), width, self.dots)

    def printable(self, text: str) -> str:
        """Replace characters that terminals display with different widths or that the encoding lacks."""
        return _printable(text, self.encoding)

    def bar(self, fraction: float, width: int) -> tuple[str, str]:
        """Return the filled and the empty part of a progress bar."""
        done = min(width, max(0, int(width * fraction)))
        return self.full * done, self.empty * (width - done)

    def curve(
        self, points: Sequence[tuple[float, float]], width: int, low: float, high: float, until: float
    ) -> str:
        """Draw (fraction of the budget, value) points in `width` cells, blank after the fraction `until`."""
        cells = [" "] * width
        value, at = math.nan, 0
        points = [point for point in points if math.isfinite(point[1])]
        for cell in range(min(width, math.ceil(until * width - 1e-9))):
            while at < len(points) and points[at][0] <= (cell + 1) / width + 1e-9:
                value, at = points[at][1], at + 1
            if not math.isnan(value):
                share = (value - low) / (high - low) if high > low else 0.5
                cells[cell] = self.levels[min(len(self.levels) - 1, max(0, int(share * len(self.levels))))]
        return "".join(cells)


@lru_cache(4096)  # the screen is drawn four times per second
def _printable(text: str, encoding: str) -> str:
    return text.translate(_AMBIGUOUS_WIDTH).encode(encoding, "replace").decode(encoding)


@lru_cache(4096)
def _fitted(text: str, width: int, dots: str) -> str:
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    room = width - cell_len(dots)
    return set_cell_size(set_cell_size(text, room).rstrip() + dots, width) if room > 0 else text[:width]


UNICODE = Glyphs("▸", "✓", "·", "✗", "━", "╌", "▁▂▃▄▅▆▇█", "…", "–", "utf-8")
ASCII = Glyphs(">", "+", ".", "x", "#", "-", "_.-:=*#@", "..", "-", "ascii")


def glyphs_for(encoding: str | None) -> Glyphs:
    return UNICODE if (encoding or "").lower().replace("-", "").replace("_", "") == "utf8" else ASCII
