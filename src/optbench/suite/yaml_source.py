"""Parse YAML text into plain data, with the place of every key and value.

Scalars follow the YAML 1.2 core schema, not PyYAML's 1.1: `1e-3` is a number, `no` and `12:30` are text.
The result contains only dicts, lists, text, numbers, booleans and null, and its expanded size is bounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import yaml

from optbench.errors import OptbenchError, Problem
from optbench.suite.value_formatting import describe
from optbench.suite.yaml_syntax_errors import syntax_problem

MAX_BYTES = 1_000_000
MAX_NODES = 100_000  # after aliases are expanded
MAX_DEPTH = 50

#: path from the root: keys, and list positions as decimal text
Keys = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Place of a key or value: a file with line and column (from 1), or a command-line option."""

    file: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Source:
    """Parsed content. `keys` contains the places of mapping keys and list items, `values` those of values."""

    data: Any
    file: str
    keys: dict[Keys, Place] = field(default_factory=dict)
    values: dict[Keys, Place] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    """Duplicate keys and invalid values; `data` does not contain them."""

    def place(self, path: Keys, *, value: bool = False) -> Place:
        """Return the place of a path, or of its nearest ancestor in the file."""
        marks = self.values if value else self.keys
        for end in range(len(path), 0, -1):
            if path[:end] in marks:
                return marks[path[:end]]
        return Place(self.file, 1, 1)

    def problem(self, path: Keys, message: str, *, value: bool = False) -> Problem:
        """Return a problem at the key or value of a path, or at its nearest ancestor in the file."""
        place = self.place(path, value=value)
        return Problem(message, ".".join(path), place.file, place.line, place.column)


def read(path: Path) -> Source:
    """Read a suite file. Raises `OptbenchError` if it cannot be read, is not UTF-8, or is not valid YAML."""
    file = str(path)

    def refuse(message: str, line: int | None = None) -> OptbenchError:
        return OptbenchError(message, file=file, line=line)

    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise refuse("no such file") from None
    except IsADirectoryError:
        raise refuse("expected a suite file; found a folder") from None
    except (OSError, ValueError) as error:
        raise refuse(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > MAX_BYTES:
        raise refuse(f"expected a suite file of at most {MAX_BYTES / 1e6:g} MB; found a larger one")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise refuse(f"expected UTF-8 text; found the byte 0x{raw[error.start]:02x}", line) from None
    return _parsed(text, file, with_lines=True)


def parse(text: str, file: str, *, with_lines: bool = True) -> Source:
    """Parse one YAML document. Raises `OptbenchError` with all duplicate keys, tags and infinite numbers.

    `with_lines=False` is for command-line values: their place is `file` without a line.
    """
    source = _parsed(text, file, with_lines)
    if source.problems:
        raise OptbenchError(*source.problems)
    return source


def from_data(data: Mapping[str, Any], name: str) -> Source:
    """Return a source with Python values instead of parsed text; `name` is the place in problems.

    Raises `OptbenchError` for values that YAML cannot represent, with their keys.
    """
    problems: list[Problem] = []
    plain = _plain(data, (), problems)
    if problems:
        raise OptbenchError(*(replace(problem, file=name) for problem in problems))
    try:
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as error:
        raise OptbenchError(f"expected text, numbers, lists and dicts only: {error}", file=name) from None
    return parse(text, name, with_lines=False)


def _plain(value: Any, path: Keys, problems: list[Problem]) -> Any:
    """Return lists, dicts and paths as YAML has them; append a problem for each value of another type."""
    if isinstance(value, Mapping):
        return {key: _plain(item, (*path, str(key)), problems) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, (*path, str(position)), problems) for position, item in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    if not isinstance(value, (str, bool, int, float, type(None))):
        written = "write a class or function as 'module.Name' or 'my_file.py:Name', an object as a dict with its arguments"
        message = f"expected text, numbers, lists and dicts only; found {describe(value)}: {written}"
        problems.append(Problem(message, where=".".join(path)))
    return value


def _parsed(text: str, file: str, with_lines: bool) -> Source:
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise OptbenchError(syntax_problem(error, text, file, with_lines)) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1 if with_lines else None
        message = f"expected text; found the control character U+{ord(text[error.position]):04X}"
        raise OptbenchError(message, file=file, line=line) from None
    except (RecursionError, yaml.YAMLError, ValueError):
        raise OptbenchError(f"nested more than {MAX_DEPTH} levels deep", file=file) from None
    builder = _Builder(file, with_lines)
    data = builder.build(node, (), ()) if node is not None else None
    if data is None and builder.problems:
        raise OptbenchError(*builder.problems)
    return Source(data, file, builder.keys, builder.values, tuple(builder.problems))


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's own attribute)


_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
for _tag, _pattern in {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": _INT.pattern,
    "float": _FLOAT.pattern,
    "merge": r"<<",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), None)


class _TooLarge(Exception):
    """Raised if the expanded document is too large or too deep."""


class _Builder:
    """Converts nodes to data. Collects problems and continues, so that all are reported at once."""

    def __init__(self, file: str, with_lines: bool) -> None:
        self.file, self.with_lines = file, with_lines
        self.keys: dict[Keys, Place] = {}
        self.values: dict[Keys, Place] = {}
        self.problems: list[Problem] = []
        self.nodes = 0

    def build(self, node: yaml.Node, path: Keys, open_nodes: tuple[int, ...]) -> Any:
        """Return the data of a node. `open_nodes` are the ids of its ancestors: an alias to one of them is infinite."""
        try:
            return self._value(node, path, open_nodes)
        except _TooLarge as error:
            if open_nodes:
                raise
            self.problems.append(Problem(str(error), file=self.file))

    def _value(self, node: yaml.Node, path: Keys, open_nodes: tuple[int, ...]) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _TooLarge(f"expected at most {MAX_NODES:,} values with all aliases expanded; found more")
        if len(open_nodes) > MAX_DEPTH:
            raise _TooLarge(f"nested more than {MAX_DEPTH} levels deep")
        if id(node) in open_nodes:
            self._problem(node, path, "an alias refers to a value that contains the alias")
            return None
        self.values[path] = self._place(node)
        inside = (*open_nodes, id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path, inside)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            items = []
            for position, item in enumerate(node.value):
                self.keys[*path, str(position)] = self._place(item)
                items.append(self._value(item, (*path, str(position)), inside))
            return items
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Keys, inside: tuple[int, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, path, "expected a name before ':'; found a list or mapping")
                continue
            key = self._text(key_node, path)
            here = (*path, key)
            if key in mapping:
                first = self.keys[here].line
                also = f" (first given in line {first})" if first else ""
                self._problem(key_node, here, f"'{key}' is given twice{also}")
                continue
            self.keys[here] = self._place(key_node)
            mapping[key] = self._value(value_node, here, inside)
        for source in merged:
            self._merge(source, mapping, path, inside)
        return mapping

    def _merge(self, source: yaml.Node, mapping: dict[str, Any], path: Keys, inside: tuple[int, ...]) -> None:
        """Merge `<<: *base`: keys of the mapping itself take precedence, then the earlier of several bases."""
        if not isinstance(source, yaml.MappingNode):
            self._problem(source, (*path, "<<"), "expected a mapping to merge, as in '<<: *base'")
            return
        keys, values = self.keys, self.values
        self.keys, self.values = {}, {}
        base = self._value(source, path, inside) or {}
        new_keys, new_values = self.keys, self.values
        self.keys, self.values = keys, values
        at = len(path)
        merged_keys = {key for key in base if key not in mapping}
        mapping.update({key: base[key] for key in base if key in merged_keys})
        keys.update({p: mark for p, mark in new_keys.items() if p[at] in merged_keys})
        values.update({p: mark for p, mark in new_values.items() if len(p) > at and p[at] in merged_keys})

    def _text(self, node: yaml.ScalarNode, path: Keys) -> str:
        """Return the text of a scalar, with surrogate pairs (JSON escapes) decoded."""
        encoded: bytes = node.value.encode("utf-16", "surrogatepass")
        try:
            return encoded.decode("utf-16")
        except UnicodeDecodeError:
            self._problem(
                node, path, "expected valid text; found half of a surrogate pair (\\ud800 to \\udfff)"
            )
            return encoded.decode("utf-16", "replace")

    def _scalar(self, node: yaml.Node, path: Keys) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if not isinstance(node, yaml.ScalarNode) or kind not in (
            "str",
            "null",
            "bool",
            "int",
            "float",
            "merge",
        ):
            self._problem(node, path, f"the tag '{node.tag}' is not supported")
            return None
        text = self._text(node, path)
        if kind in ("str", "merge"):
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "int" and _INT.fullmatch(text) and len(text) <= 100:
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if kind == "float" and _FLOAT.fullmatch(text):
            number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
            if math.isfinite(number):
                return number
        self._problem(node, path, f"expected a finite number; found {text[:40]}")
        return None

    def _place(self, node: yaml.Node) -> Place:
        if not self.with_lines:
            return Place(self.file)
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _problem(self, node: yaml.Node, path: Keys, message: str) -> None:
        place = self._place(node)
        self.problems.append(Problem(message, ".".join(path), place.file, place.line, place.column))


def resolves_to_text(text: str) -> bool:
    """Return whether unquoted `text` is read as text, not as a number, a boolean, null or `<<`."""
    patterns = next(iter(_Loader.yaml_implicit_resolvers.values()))
    return not any(pattern.match(text) for _, pattern in patterns)
