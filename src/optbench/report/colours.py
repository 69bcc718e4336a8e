"""Colour, marker and dash pattern per optimizer, the same in all figures, pages and charts: assigned in the order of a suite's rows.

The first eight colours are distinguishable under protanopia, deuteranopia and tritanopia (Machado et al. 2009), the first twenty
with normal colour vision; each has a contrast of at least 3:1 with its background (WCAG 2, graphics). In grey, marker and dashes
distinguish entries: no two of the first 40 share both. With more entries, those of a family share colour and marker, and entries
without a family are grey; if no entry has a family, the baseline has its own style. Entries that share a style share an item of the
legend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count

#: on white; hues in this order: blue, rust, green, purple, black, olive, pink, brown
LIGHT = ("#4488ee", "#994400", "#00aa66", "#990099", "#000022", "#999900", "#bb77aa", "#553311")
#: the same hues on a dark background
DARK = ("#44bbff", "#cc6600", "#33ddaa", "#bb55aa", "#ffffff", "#ddee11", "#bb8888", "#ddcc77")
#: position of black, and of white on a dark background: of the baseline of many entries
_BLACK = 4
#: colours of the entries after the first eight, on white and on a dark background
MORE_LIGHT = (
    *("#2200ff", "#226666", "#ff4455", "#000099", "#ff00ee", "#550022"),
    *("#440055", "#bb0066", "#9900dd", "#dd66cc", "#224488", "#888888"),
)
MORE_DARK = (
    *("#8822ff", "#88bbbb", "#cc0044", "#4466dd", "#ffbbee", "#aa4466"),
    *("#ee00ff", "#bb00aa", "#886688", "#ff66dd", "#8899dd", "#ee8866"),
)
LIGHT_GROUND = "#ffffff"
DARK_GROUND = "#14171a"

#: lengths of dashes and gaps in line widths, as for SVG's stroke-dasharray; () is a solid line
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (9, 2, 3, 2, 3, 2))
#: maximum number of entries that each have a look of their own
DISTINCT = 40
#: circle, square, triangles, diamond, plus, cross, pentagon, star: matplotlib's names
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "*")
#: the same as characters, for terminals and legends of text
SYMBOLS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "⬟", "★")


@dataclass(frozen=True)
class Style:
    """Look of one entry. `light` and `dark`: `#rrggbb` for white and dark backgrounds."""

    light: str
    dark: str
    marker: str
    symbol: str
    dash: tuple[float, ...]
    group: str = ""  # label of the entries that share it; "" for the style of one entry


GREY = Style("#6b737c", "#9aa3ad", MARKERS[0], SYMBOLS[0], (), "other entries")


def style(position: int) -> Style:
    """Return the style of the entry at this position (from 0) among the suite's rows, or of its family."""
    return Style(
        (LIGHT + MORE_LIGHT)[position % len(LIGHT + MORE_LIGHT)],
        (DARK + MORE_DARK)[position % len(DARK + MORE_DARK)],
        MARKERS[position % len(MARKERS)],
        SYMBOLS[position % len(SYMBOLS)],
        DASHES[position // len(LIGHT) % len(DASHES)],
    )


def styles(
    names: Iterable[str], families: Mapping[str, str] | None = None, baselines: Collection[str] = ()
) -> dict[str, Style]:
    """Return the style of each name, by order of first occurrence. More than `DISTINCT` names have the styles of their families.

    `families`: the family of each name, empty for none. `baselines`: names that keep a style of their own.
    Pass all names of a suite in the order of its rows (`analysis.entries.entry_names`), also where only some are drawn, so that
    colours are the same in all figures.
    """
    distinct = dict.fromkeys(names)
    if len(distinct) <= DISTINCT:
        return {name: style(place) for place, name in enumerate(distinct)}
    of_name = {name: (families or {}).get(name, "") for name in distinct}
    positions = chain((_BLACK,), (place for place in count() if place != _BLACK))
    emphasised = {name: style(next(positions)) for name in distinct if name in baselines}
    looks = {
        family: replace(style(next(positions)), dash=(), group=family)
        for family in dict.fromkeys(filter(None, of_name.values()))
    }
    return {name: emphasised.get(name) or looks.get(family, GREY) for name, family in of_name.items()}


def legend_items(entries: Iterable[tuple[str, Style]]) -> list[tuple[str, Style]]:
    """Return label and style of the items of a legend: one per entry, then one per group of entries that share a style, grey last.

    `entries`: name and style of each entry of a figure.
    """
    items: list[tuple[str, Style]] = []
    groups: dict[str, Style] = {}
    grey: list[str] = []
    for name, look in entries:
        if look == GREY:
            grey.append(name)
        elif not look.group:
            items.append((name, look))
        else:
            groups[look.group] = look
    items += groups.items()
    if len(grey) == 1:
        return [*items, (grey[0], GREY)]
    return [*items, (f"{len(grey)} {GREY.group if items else 'entries'}", GREY)] if grey else items
