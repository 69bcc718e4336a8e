"""Read JSON lines: an object per evaluation or log call.

Nested objects give names such as `val.accuracy`. A JSON array of objects is read too, as is the `log_history` of a
`trainer_state.json` of Hugging Face.

Examples:
  optbench import jsonl log.jsonl --target 'accuracy>=0.97'
  optbench import jsonl runs/*/metrics.jsonl --runs '{optimizer}/{seed}/metrics.jsonl'
  optbench import jsonl runs/*/trainer_state.json --runs '{optimizer}_{seed}/trainer_state.json'
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError
from optbench.importing.findings import Findings
from optbench.importing.tables import Table
from optbench.importing.texts import read_text


def read(paths: Sequence[Path], findings: Findings) -> list[Table]:
    """Return one table per file. Raises `OptbenchError` with the line that is not a JSON object."""
    return [read_file(path, findings) for path in paths]


def read_file(path: Path, findings: Findings) -> Table:
    text = read_text(path, findings)
    objects = _whole(text, path)
    if objects is not None:
        return table_of(objects, str(path))
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    for number, line in numbered:
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == numbered[-1][0] and rows:
                findings.note("incomplete lines at the end of the file: skipped", f"{path}:{number}")
                break
            raise OptbenchError(f"not JSON: {error}", file=str(path), line=number) from error
        if not isinstance(content, dict):
            raise OptbenchError("expected a JSON object on each line", file=str(path), line=number)
        rows.append(content)
        lines.append(number)
    if not rows:
        raise OptbenchError("empty: expected a JSON object on each line", file=str(path))
    return table_of(rows, str(path), lines)


def table_of(rows: Iterable[dict[str, Any]], file: str, lines: Sequence[int] = ()) -> Table:
    """Return the table of flattened objects, with None where an object does not have a key."""
    flat = [_flat(row) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    return Table(file, {name: [row.get(name) for row in flat] for name in names}, lines)


def _whole(text: str, path: Path) -> list[dict[str, Any]] | None:
    """Return the objects of a file that is one JSON value, None for JSON lines."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("["):
            raise OptbenchError(f"not JSON: {error}", file=str(path)) from error
        return None
    if isinstance(content, dict):
        content = content.get("log_history", [content])
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise OptbenchError("expected a JSON array of objects", file=str(path))
    return content


def _flat(content: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Join the keys of nested objects by dots. Lists are left out: they are no numbers."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict):
            flat |= _flat(value, name)
        elif not isinstance(value, list):
            flat[name] = value
    return flat
