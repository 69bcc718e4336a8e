"""Escape text in CSV cells that a spreadsheet would run as a formula: an apostrophe is added in front, and removed when it is read.

https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

import unicodedata


def escape(text: str) -> str:
    """Return the text with a leading apostrophe if a spreadsheet could run it, or if `unescape` would change it."""
    return f"'{text}" if _is_formula(text) else text


def unescape(text: str) -> str:
    """Return the text without the apostrophe that `escape` added."""
    return text[1:] if text.startswith("'") and _is_formula(text[1:]) else text


def _is_formula(text: str) -> bool:
    """Return whether a spreadsheet could run the text as a formula.

    Spreadsheets of East Asian systems also accept full-width and small forms of = + - @.
    """
    if text.startswith(("\t", "\r", "\n")):
        return True
    start = text.lstrip("'").lstrip()[:1]
    return unicodedata.normalize("NFKC", start) in ("=", "+", "-", "@")
