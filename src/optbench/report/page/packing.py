"""Records of figures as columns, to limit the size of a page: most values of many entries are equal, or occur in several figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
#: keys of a panel whose values are lists of records
_RECORDS = ("marks", "rows")


class Packer:
    """Turns records into tables. `columns`: all columns of the tables, each once; tables have their index."""

    def __init__(self) -> None:
        self.columns: list[list[Any]] = []
        self._known: dict[str, int] = {}

    def figure(self, figure: Record) -> dict[str, Any]:
        """Return a figure with tables in place of the records of its panels."""
        return {**figure, "panels": [self._panel(panel) for panel in figure["panels"]]}

    def _panel(self, panel: Record) -> dict[str, Any]:
        return {key: self.tables(value) if key in _RECORDS else value for key, value in panel.items()}

    def tables(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """Return one table per kind of record (`m`) and set of keys, in the order of their first records.

        `all`: the values that all records share. `each`: the column of each other key.
        """
        by_kind: dict[tuple[str, ...], list[Record]] = {}
        for record in records:
            by_kind.setdefault((record.get("m", ""), *sorted(record)), []).append(record)
        return [self._table(alike) for alike in by_kind.values()]

    def _table(self, records: Sequence[Record]) -> dict[str, Any]:
        columns = {key: [record[key] for record in records] for key in records[0]}
        shared = {key: values[0] for key, values in columns.items() if len(set(map(json.dumps, values))) == 1}
        each = {key: self._column(values) for key, values in columns.items() if key not in shared}
        return {"count": len(records), "all": shared, "each": each}

    def _column(self, values: list[Any]) -> int:
        key = json.dumps(values)
        if key not in self._known:
            self._known[key] = len(self.columns)
            self.columns.append(values)
        return self._known[key]
