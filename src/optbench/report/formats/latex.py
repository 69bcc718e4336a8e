r"""LaTeX tables for papers (booktabs), as in `report.tex`, for `\input` or to compile alone."""

from __future__ import annotations

import re
import textwrap
import unicodedata

from optbench.report.document import Block, Cell, Report, Section, Table
from optbench.report.text import clean

SUFFIX = ".tex"

#: a complete document unless a document class is loaded already
_HEAD = r"""% Tables of optbench. In a paper: \usepackage{booktabs} and \usepackage{graphicx}, then \input{report}.
% This file also compiles on its own.
\makeatletter
\ifx\documentclass\@twoclasseserror
  \let\optbenchend\relax
\else
  \documentclass{article}
  \usepackage{booktabs}
  \usepackage{graphicx}
  \usepackage[margin=2cm]{geometry}
  \def\optbenchend{\end{document}}
  \begin{document}
\fi
\begingroup
% In two columns, tables span both.
\if@twocolumn
  \def\table{\@dblfloat{table}}
  \def\endtable{\end@dblfloat}
\fi
\makeatother
% A table in the largest size in which it is no wider than the line; scaled if the smallest is too wide.
\def\optbenchfit#1{%
  \setbox0\hbox{\small#1}%
  \ifdim\wd0>\linewidth\setbox0\hbox{\footnotesize\setlength{\tabcolsep}{3pt}#1}\fi
  \ifdim\wd0>\linewidth\setbox0\hbox{\scriptsize\setlength{\tabcolsep}{2pt}#1}\fi
  \ifdim\wd0>\linewidth
    \ifx\resizebox\undefined\setbox0\hbox{\tiny\setlength{\tabcolsep}{1pt}#1}%
    \else\setbox2\hbox{\resizebox{\linewidth}{!}{\box0}}\setbox0\box2\fi
  \fi
  \box0}
"""
_TAIL = "\\endgroup\n\\optbenchend\n"
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
                parts.append(_table(block, table, number, first=place == 0, captions=report.captions))
        if not section.blocks:
            parts.append(f"\\noindent {escaped(section.title)}: no trial has run yet.\n")
    return "\n".join([*parts, _TAIL])


def escaped(text: str) -> str:
    """Return the text escaped for LaTeX, in ASCII; characters that usual fonts lack become their code, as in [U+1F680]."""
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
    """Return the headings as comments; the paper has its own."""
    lines = [section.title, section.description, *(": ".join(each) for each in section.commands)]
    return "".join(f"% {clean(line)}\n" for line in lines if line)


def _table(block: Block, table: Table, number: int, *, first: bool, captions: bool) -> str:
    """Return a floating table with caption and notes; without captions the tabular only, for use in another float."""
    caption = ": ".join(part for part in (block.heading, table.caption) if part)
    if not captions:
        sentences = [f"{clean(text)}." for text in (caption, block.facts) if text]
        return "\n".join([f"% {' '.join(sentences)}", *_tabular(table), ""])
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        f"\\caption{{{' '.join(f'{escaped(text)}.' for text in (caption, block.facts) if text)}}}",
        f"\\label{{tab:optbench-{number}}}",
        *_tabular(table),
        *(_notes(block) if first else []),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _tabular(table: Table) -> list[str]:
    """Return the tabular. Numbers are aligned right; text wider than the page is broken into lines."""
    widths = _text_widths(table)
    titles = [_title(column.title, text=column.text) for column in table.columns]
    return [
        r"\optbenchfit{%",
        f"\\begin{{tabular}}{{{''.join('l' if column.text else 'r' for column in table.columns)}}}",
        r"\toprule",
        " & ".join(titles) + r" \\",
        r"\midrule",
        *(" & ".join(map(_cell, row, widths)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}%",
        "}",
    ]


def _text_widths(table: Table) -> list[int | None]:
    """Return the characters per line of each column; None for one that is not broken."""
    widest = _widths(table)
    wraps = [column.text and width > _SHORT for column, width in zip(table.columns, widest, strict=True)]
    if sum(widest) <= _PAGE or not any(wraps):
        return [None] * len(widest)
    room = _PAGE - sum(width for width, wrap in zip(widest, wraps, strict=True) if not wrap)
    return [max(_SHORT, room // sum(wraps)) if wrap else None for wrap in wraps]


def _widths(table: Table) -> list[int]:
    """Return the characters of each column's longest line."""
    return [
        max(
            len(line)
            for text in [column.title, *(row[place].text for row in table.rows)]
            for line in text.split("\n")
        )
        for place, column in enumerate(table.columns)
    ]


def _title(title: str, *, text: bool) -> str:
    """Return the title, stacked if it has two lines, to save width."""
    lines = [escaped(line) for line in title.strip().split("\n")]
    if len(lines) == 1:
        return lines[0]
    broken = r"\\".join(lines)
    return f"\\shortstack[{'l' if text else 'r'}]{{{broken}}}"


def _cell(cell: Cell, width: int | None) -> str:
    lines = textwrap.wrap(cell.text, width, break_long_words=False) if width else [cell.text]
    shown = [f"\\textbf{{{escaped(line)}}}" if cell.marked else escaped(line) for line in lines]
    if len(shown) < 2:
        return "".join(shown)
    return "\\begin{tabular}[t]{@{}l@{}}" + r"\\ ".join(shown) + "\\end{tabular}"


def _notes(block: Block) -> list[str]:
    """Return the block's notes and warnings as one paragraph below its first table."""
    sentences = [*block.all_notes, *(f"Note: {warning}" for warning in block.warnings)]
    sentences += [f"Measured on {block.measured_on}."] if block.measured_on else []
    texts = [escaped(note.replace("{mark}", "Bold")) for note in sentences]
    texts = [note if re.search(r"[.!?]$", note) else f"{note}." for note in texts]
    return ["", r"\par\smallskip\footnotesize\raggedright", *texts] if texts else []
