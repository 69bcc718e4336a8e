"""HTML as text that cannot be mistaken for foreign text: what is not `Html` is escaped."""

from __future__ import annotations

import html
import json
from typing import Any

from optbench.report.text import clean

_VOID = ("input", "meta", "br")


class Html(str):
    """Text that is markup already."""


def text(content: str) -> Html:
    """Foreign text: escaped, without characters that steer what stands around it."""
    return content if isinstance(content, Html) else Html(html.escape(clean(content)))


def el(tag: str, *children: str, **attributes: Any) -> Html:
    """An element. `class_` and `for_` lose the underscore, others become dashes; False and None leave the attribute out."""
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{''.join(map(text, children))}</{tag}>")


def join(*parts: str) -> Html:
    return Html("".join(map(text, parts)))


def name(content: str) -> Html:
    """What people have named: its direction is its own, so that it turns nothing around it."""
    return el("bdi", content)


def data(content: Any, identifier: str) -> Html:
    """JSON in the page. No `<` is left in it, so that nothing in it can end the element."""
    written = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{identifier}">{written}</script>')


def preformatted(content: str, **attributes: Any) -> Html:
    """Foreign text whose lines count."""
    lines = (clean(line) for line in content.splitlines())
    return el("pre", Html(html.escape("\n".join(lines))), **attributes)


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(clean(str(value)))}"'
