"""Change single values of a suite file and keep the rest of its text: comments, order and layout."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from optbench.errors import OptbenchError


def with_value(text: str, path: Sequence[str], value: str, comment: str = "") -> str:
    """Return YAML text with the key at `path` set to `value`, which is YAML text of one line.

    A missing key becomes the first of its mapping. `comment` is a line above it, and replaces lines there that start with the same
    word. Raises `OptbenchError` if the mapping that contains the key is missing.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    *parents, name = path
    for key in parents:
        entry = _entry(node, key)
        if entry is None:
            raise OptbenchError(f"no key '{key}' in the file", where=".".join(path))
        node = entry[1]
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise OptbenchError("expected a mapping", where=".".join(parents))
    known = _entry(node, name)
    if known is not None:
        key_node, value_node = known
        start, end = key_node.end_mark.index, _end(value_node)
        at = key_node.start_mark.index
        text = f"{text[:start]}: {value}{text[end:]}"
    else:
        at = node.value[0][0].start_mark.index
        column = node.value[0][0].start_mark.column
        separator = ", " if node.flow_style else "\n" + " " * column
        text = f"{text[:at]}{name}: {value}{separator}{text[at:]}"
    return _with_comment(text, at, comment) if comment else text


def _entry(node: yaml.Node | None, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next(((k, v) for k, v in node.value if k.value == key), None)


def _end(node: yaml.Node) -> int:
    """Return the offset after the last character of a value: a block ends at the next token, after comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    index: int = node.end_mark.index
    return index


def _with_comment(text: str, at: int, comment: str) -> str:
    """Return the text with a comment above the line of the offset `at`."""
    start = text.rfind("\n", 0, at) + 1
    line = text[start:]
    indent = line[: len(line) - len(line.lstrip(" "))]
    before = text[:start].splitlines(keepends=True)
    first = comment.split(" ", 1)[0]
    while before and before[-1].strip().startswith(f"# {first} "):
        before.pop()
    return "".join([*before, f"{indent}# {comment}\n", line])
