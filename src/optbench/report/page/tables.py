"""Tables as HTML: sortable with the page's script, readable without it."""

from __future__ import annotations

from collections.abc import Mapping

from optbench.report.document import Block, Cell, Column, Table
from optbench.report.page.markup import Html, el, join, name, text

#: before the number of an entry that is not significantly worse than any other
_MARK = "◆"
#: minimum rows of a table with a filter box
_MANY = 8


def note_items(block: Block) -> list[Html]:
    """Return the notes of a block as items of a list."""
    return [el("li", name(note.replace("{mark}", f"{_MARK} bold"))) for note in block.all_notes]


def table(content: Table, entries: Mapping[str, int]) -> Html:
    """Return a table. `entries`: position of an optimizer by its name in the first column, so that the legend can hide its row."""
    head = el("tr", *(_head(column) for column in content.columns))
    rows = [_row(row, content.columns, entries) for row in content.rows]
    grid = el(
        "table",
        el("caption", el("span", content.caption)),
        el("thead", head),
        el("tbody", *rows),
        data_sort=True,
    )
    frame = el("div", grid, class_="scroll", role="region", aria_label=content.caption, tabindex="0")
    if len(rows) < _MANY:
        return el("div", frame, class_="table")
    box = el(
        "input",
        type="search",
        class_="filter",
        placeholder="Filter rows",
        aria_label=f"Filter rows of: {content.caption}",
    )
    count = el("span", f"{len(rows)} rows", class_="count", role="status")
    return el("div", el("div", box, count, class_="tools js"), frame, class_="table")


def place(shown: str, entries: Mapping[str, int]) -> int | None:
    """Return the position of the optimizer in a cell; names may be followed by "(50 epochs)" or the like."""
    if shown in entries:
        return entries[shown]
    known = [entry for entry in entries if shown.startswith(f"{entry} (")]
    return entries[max(known, key=len)] if known else None


def _entry(cells: tuple[Cell, ...], columns: tuple[Column, ...], entries: Mapping[str, int]) -> int | None:
    """Return the entry's position by the name in the first cell, or by the values of axes in the first cells."""
    values: list[str] = []
    for cell, column in zip(cells, columns, strict=True):
        values.append(f"{column.title}={cell.text}")
        if (found := entries.get(", ".join(values))) is not None:
            return found
    return place(cells[0].text, entries)


def _head(column: Column) -> Html:
    title = column.title.replace("-\n", "").replace("\n", " ").strip()
    return el("th", title, scope="col", class_="text" if column.text else None)


def _row(cells: tuple[Cell, ...], columns: tuple[Column, ...], entries: Mapping[str, int]) -> Html:
    first, *rest = zip(cells, columns, strict=True)
    entry = _entry(cells, columns, entries)
    kind = "text" if first[1].text else None
    written = [el("th", name(first[0].text), scope="row", class_=kind)]
    written += [_cell(cell, "text" if column.text else None) for cell, column in rest]
    return el("tr", *written, data_o=entry)


def _cell(cell: Cell, kind: str | None) -> Html:
    if not cell.marked:
        return el("td", name(cell.text) if kind else text(cell.text), class_=kind)
    mark = el("span", f"{_MARK} ", class_="mark", title="not significantly worse than any other")
    return el("td", el("strong", join(mark, cell.text)), class_=kind)
