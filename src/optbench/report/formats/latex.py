r"""LaTeX tables for papers (booktabs), as in `report.tex`: a document by itself, and `\input` as it is."""

from __future__ import annotations

import re
import unicodedata

from optbench.report.document import Block, Cell, Report, Section, Table
from optbench.report.text import clean

SUFFIX = ".tex"

#: a document of its own unless a class is loaded already
_HEAD = r"""% Tables of optbench. In a paper: \usepackage{booktabs}, then \input{report}. It compiles by itself, too.
\makeatletter
\ifx\documentclass\@twoclasseserror
  \let\optbenchend\relax
\else
  \documentclass{article}
  \usepackage{booktabs}
  \usepackage[margin=2cm]{geometry}
  \def\optbenchend{\end{document}}
  \begin{document}
\fi
\makeatother
"""
#: characters of a page's width, and of text that never wraps
_PAGE, _SHORT = 90, 16

_ASCII = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"{''}",
    "[": "{[}",  # after the end of a row it would be a length
    "]": "{]}",
    "*": "{*}",
}
_SIGNS = {
    "\u00a0": "~",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "√": r"$\surd$",
    "°": r"$^\circ$",
    "²": r"$^2$",
    "³": r"$^3$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "•": r"\textbullet{}",
    "§": r"\S{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "µ": r"$\mu$",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"


def render(report: Report) -> str:
    parts = [_HEAD]
    number = 0
    for section in report.sections:
        parts.append(_section(section))
        for block in section.blocks:
            for place, table in enumerate(block.tables):
                number += 1
                parts.append(_table(block, table, number, first=place == 0))
        if not section.blocks:
            parts.append(f"\\noindent {escaped(section.title)}: nothing has run yet.\n")
    return "\n".join([*parts, "\\optbenchend\n"])


def escaped(text: str) -> str:
    """Text that shows as it is, in ASCII; what no usual font of TeX has is named by its code, as in [U+1F680]."""
    plain = unicodedata.normalize("NFC", clean(text))
    plain = re.sub(r"(?<![\w-])-(?=\d)", "\u2212", plain)  # a minus
    return "-{}".join(
        "".join(map(_character, part)) for part in re.split("-(?=-)", plain)
    )  # two would be a dash


def _character(character: str) -> str:
    if character in _ASCII or character in _SIGNS:
        return _ASCII.get(character) or _SIGNS[character]
    if character.isascii():
        return character
    parts = unicodedata.normalize("NFD", character)
    base, accents = parts[0], parts[1:]
    if len(accents) == 1 and base.isascii() and accents[0] in _ACCENTS:
        return f"\\{_ACCENTS[accents[0]]}{{{base}}}"
    name = (
        unicodedata.name(character, "").removeprefix("GREEK SMALL LETTER ").lower().replace("lamda", "lambda")
    )
    if name in _GREEK.split():
        return f"$\\{name}$"
    return "{[}" + f"U+{ord(character):04X}" + "{]}"


def _section(section: Section) -> str:
    """In comments: a paper has headings of its own."""
    lines = [section.title, section.description, section.command and f"Repeat with: {section.command}"]
    return "".join(f"% {clean(line)}\n" for line in lines if line)


def _table(block: Block, table: Table, number: int, *, first: bool) -> str:
    titles = [_title(column.title, text=column.text) for column in table.columns]
    caption = ": ".join(part for part in (block.heading, table.caption) if part)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        f"\\caption{{{escaped(caption)}. {escaped(block.facts)}.}}",
        f"\\label{{tab:optbench-{number}}}",
        r"\small" if sum(_widths(table)) <= _PAGE else r"\footnotesize\setlength{\tabcolsep}{2.5pt}",
        f"\\begin{{tabular}}{{{_columns(table)}}}",
        r"\toprule",
        " & ".join(titles) + r" \\",
        r"\midrule",
        *(" & ".join(map(_cell, row)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join([*lines, *(_notes(block) if first else []), r"\end{table}", ""])


def _columns(table: Table) -> str:
    """Numbers to the right; text that would run over the page gets a width of its own, in which it wraps."""
    widest = _widths(table)
    wraps = [column.text and width > _SHORT for column, width in zip(table.columns, widest, strict=True)]
    room = _PAGE - sum(width for width, wrap in zip(widest, wraps, strict=True) if not wrap)
    if sum(widest) <= _PAGE or not any(wraps):
        return "".join("l" if column.text else "r" for column in table.columns)
    each = max(_SHORT, room / sum(wraps)) / _PAGE
    return "".join(
        f"p{{{0.85 * each:.2f}\\linewidth}}" if wrap else "l" if column.text else "r"
        for column, wrap in zip(table.columns, wraps, strict=True)
    )


def _widths(table: Table) -> list[int]:
    """Characters of each column's longest line, as they are written here."""
    return [
        max(
            len(line)
            for text in [column.title, *(row[place].text for row in table.rows)]
            for line in text.split("\n")
        )
        for place, column in enumerate(table.columns)
    ]


def _title(title: str, *, text: bool) -> str:
    """Of two lines, where it has two: tables of many columns stay within the page."""
    lines = [escaped(line) for line in title.strip().split("\n")]
    if len(lines) == 1:
        return lines[0]
    broken = r"\\".join(lines)
    return f"\\shortstack[{'l' if text else 'r'}]{{{broken}}}"


def _cell(cell: Cell) -> str:
    return f"\\textbf{{{escaped(cell.text)}}}" if cell.marked else escaped(cell.text)


def _notes(block: Block) -> list[str]:
    """Below the block's first table, in one paragraph."""
    sentences = [*block.notes, *(f"Note: {warning}" for warning in block.warnings)]
    sentences += [f"Measured on {block.measured_on}."] if block.measured_on else []
    said = [escaped(note.replace("{mark}", "Bold")) for note in sentences]
    said = [note if re.search(r"[.!?]$", note) else f"{note}." for note in said]
    return ["", r"\par\smallskip\footnotesize\raggedright", *said] if said else []
