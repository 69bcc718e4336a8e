"""Markdown that renders well on GitHub, as in `report.md`."""

from __future__ import annotations

import re
from urllib.parse import quote

from optbench.report.document import Block, Picture, Report, Section, Table

SUFFIX = ".md"
_MOST_SHOWN = 6


def render(report: Report) -> str:
    return "\n".join(line for section in report.sections for line in _section(section))


def escaped(text: str) -> str:
    """Return the text with Markdown, HTML and table delimiters escaped."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"([\\`*{}\[\]|~$])", r"\\\1", text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # inside a word it is no markup
    return re.sub(r"^(#|>|[-+](?=\s)|\d+(?=[.)]\s))", _literal, text)


def _literal(found: re.Match[str]) -> str:
    return found[0] + "\u200b" if found[0].isdigit() else "\\" + found[0]


def _section(section: Section) -> list[str]:
    lines = [f"# {escaped(section.title)}", ""]
    if section.description:
        lines += [escaped(section.description), ""]
    for block in section.blocks:
        lines += _block(block)
    if not section.blocks:
        lines += ["No trial has run yet.", ""]
    lines += _list([f"**Note:** {escaped(warning)}" for warning in section.warnings])
    lines += _pictures(section.pictures)
    for heading, command in section.commands:
        fence = "`" * (1 + max((len(run) for run in re.findall("`+", command)), default=2))
        lines += [heading, "", f"{fence}sh", command, fence, ""]
    return lines


def _pictures(pictures: tuple[Picture, ...]) -> list[str]:
    """Return the main figures (at most `_MOST_SHOWN`) as images, and links to all."""
    if not pictures:
        return []
    lines = ["## Figures", ""]
    for picture in [picture for picture in pictures if picture.main][:_MOST_SHOWN]:
        lines += [f"![{escaped(picture.caption)}]({quote(picture.path)})", ""]
    links = [f"[{escaped(picture.caption)}]({quote(picture.path)})" for picture in pictures]
    return [*lines, "All figures as SVG (PNG and PDF are in the same folder):", "", *_list(links)]


def _block(block: Block) -> list[str]:
    lines = [f"## {escaped(block.heading)}", ""] if block.heading else []
    lines += [escaped(block.facts) + ".", ""] if block.facts else []
    for table in block.tables:
        lines += [f"**{escaped(table.caption)}**", "", *_table(table), ""]
    notes = [escaped(note).replace(r"\{mark\}", "**Bold**") for note in block.all_notes]
    lines += _list([f"**Note:** {escaped(warning)}" for warning in block.warnings] + notes)
    if block.measured_on:
        lines += [f"Measured on {escaped(block.measured_on)}.", ""]
    return lines


def _table(table: Table) -> list[str]:
    titles = [escaped(column.title.replace("-\n", "").replace("\n", " ").strip()) for column in table.columns]
    rules = [":--" if column.text else "--:" for column in table.columns]
    rows = [
        [(f"**{escaped(cell.text)}**" if cell.marked else escaped(cell.text)) for cell in row]
        for row in table.rows
    ]
    return [f"| {' | '.join(cells)} |" for cells in (titles, rules, *rows)]


def _list(items: list[str]) -> list[str]:
    return [*(f"- {item}" for item in items), ""] if items else []
