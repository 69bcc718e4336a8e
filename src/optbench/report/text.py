"""Numbers and foreign text, made fit for people to read."""

from __future__ import annotations

import math
import unicodedata

_BIDI_CONTROLS = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F}


def clean(text: str) -> str:
    """Without characters that steer a terminal or turn the text around; line breaks become spaces."""
    if text.isprintable():  # most text; then none of them is in it
        return text
    spaced = "".join(
        " " if character in "\t\n\r\x0b\x0c\x85\u2028\u2029" else character for character in text
    )
    return "".join(
        character
        for character in spaced
        if unicodedata.category(character) not in ("Cc", "Cs") and ord(character) not in _BIDI_CONTROLS
    )


def number(value: float, digits: int = 3) -> str:
    """`digits` significant digits without an exponent where that is readable; a dash for what is not known."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text and decimals > digits - 1 else text


def seconds(value: float, of: float | None = None) -> str:
    """One decimal from 1 to 100, none above, two below (more for hundredths); with the decimals of `of` if given."""
    if math.isnan(value):
        return "–"
    size = abs(value if of is None else of)
    decimals = 0 if size >= 100 else 1 if size >= 1 else 2 if size >= 0.01 else 4
    return f"{value:.{decimals}f}"


def count(value: float) -> str:
    """Epochs and the like: whole numbers as such, others with up to two decimals."""
    return "–" if math.isnan(value) else f"{value:.2f}".rstrip("0").rstrip(".")


def p_value(p: float) -> str:
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def is_share(metric: str) -> bool:
    """Whether people read the metric in percent."""
    return "accuracy" in metric.lower()
