"""Building of HTML: text that is not `Html` is escaped."""

from __future__ import annotations

import html
import json
from typing import Any

from optbench.report.text import clean

_VOID = ("input", "meta", "br")


class Html(str):
    """Text that is already markup."""


def text(content: str) -> Html:
    """Return the text escaped and without control characters."""
    return content if isinstance(content, Html) else Html(html.escape(clean(content)))


def el(tag: str, *children: str, **attributes: Any) -> Html:
    """Return an element. `class_` and `for_` lose the underscore, other underscores become dashes; False and None omit an attribute."""
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{''.join(map(text, children))}</{tag}>")


def join(*parts: str) -> Html:
    return Html("".join(map(text, parts)))


def name(content: str) -> Html:
    """Return a user-defined name in `<bdi>`, so that its direction does not affect the text around it."""
    return el("bdi", content)


def data(content: Any, identifier: str) -> Html:
    """Return JSON in a script element, without control characters; `<` is escaped, so that the content cannot end the element."""
    written = clean(json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False))
    for character in "<>&\u2028\u2029":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{identifier}">{written}</script>')


def preformatted(content: str, **attributes: Any) -> Html:
    """Return text in `<pre>`, with its line breaks."""
    lines = (clean(line) for line in content.splitlines())
    return el("pre", Html(html.escape("\n".join(lines))), **attributes)


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(clean(str(value)))}"'
