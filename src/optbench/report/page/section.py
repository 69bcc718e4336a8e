"""Section of one suite on the page: title, warnings, blocks with their figures, and provenance."""

from __future__ import annotations

from collections.abc import Sequence

from optbench.report.document import Block, Report, Section
from optbench.report.page.drawings import Drawings
from optbench.report.page.markup import Html, el, join, name
from optbench.report.page.provenance import environments, exclusions, failures, suite_file
from optbench.report.page.tables import note_items, table
from optbench.report.published import CAPTION
from optbench.store import SuiteResults

#: blocks that summarize several workloads; the profile follows them
_SUMMARIES = ("All workloads", "Leaderboard")


def section(
    content: Section, place: int, report: Report, drawings: Drawings, entries: dict[str, int]
) -> Html:
    suites = report.results.suites if report.results is not None else ()
    suite = suites[place] if place < len(suites) else None
    figures = _placed(content.blocks, suite, drawings)
    blocks = [
        _block(block, f"s{place}b{number}", figures.get(number, Html("")), entries)
        for number, block in enumerate(content.blocks)
    ]
    if not blocks:
        blocks.append(el("p", "No trial has run yet."))
    head = [el("h1", name(content.title))]
    if content.description:
        head.append(el("p", name(content.description), class_="lead"))
    return el(
        "section",
        *head,
        _warnings(content.warnings),
        *(_command(heading, command) for heading, command in content.commands),
        *blocks,
        *([_source(suite, f"s{place}source")] if suite is not None else []),
        class_="suite",
        id=f"s{place}",
    )


def _placed(blocks: Sequence[Block], suite: SuiteResults | None, drawings: Drawings) -> dict[int, Html]:
    """Return the figures by index of their block: that with their heading, else the first."""
    found: dict[int, Html] = {}
    if suite is None or not blocks:
        return found
    headings = [block.heading for block in blocks]
    for heading in drawings.headings(suite.name):
        drawn = drawings.of_heading(suite.name, heading)
        at = headings.index(heading) if heading in headings else 0
        if heading and heading not in headings:
            drawn = join(el("h3", name(heading)), drawn)
        found[at] = join(found.get(at, Html("")), drawn)
    beside = [
        number for number, block in enumerate(blocks) if any(each.caption == CAPTION for each in block.tables)
    ]
    found |= dict(zip(beside, drawings.of_published(suite.name), strict=True))
    whole = drawings.of_suite(suite)
    if whole:
        at = next((number for number, heading in enumerate(headings) if heading in _SUMMARIES), 0)
        found[at] = join(found.get(at, Html("")), whole)
    return found


def _block(block: Block, identifier: str, figures: Html, entries: dict[str, int]) -> Html:
    head = [el("h2", name(block.heading))] if block.heading else []
    shown = [table(each, entries) for each in block.tables if not each.detail]
    details = [table(each, entries) for each in block.tables if each.detail]
    notes = note_items(block)
    return el(
        "section",
        *head,
        el("p", name(block.facts), class_="facts-line"),
        _warnings(block.warnings),
        *shown,
        *([el("ul", *notes, class_="notes")] if notes else []),
        figures,
        *details,
        *([el("p", f"Measured on {block.measured_on}.", class_="measured")] if block.measured_on else []),
        class_="block",
        id=identifier,
    )


def _warnings(messages: Sequence[str]) -> Html:
    if not messages:
        return Html("")
    title = "Note" if len(messages) == 1 else "Notes"
    items = el("ul", *(el("li", name(message)) for message in messages))
    return el("aside", el("strong", title), items, class_="warning", aria_label="Warnings")


def _command(heading: str, command: str) -> Html:
    button = el("button", "Copy", type="button", class_="copy js", aria_label="Copy the command")
    return el(
        "div",
        el("span", heading, class_="label"),
        el("code", command, dir="ltr"),
        button,
        class_="repeat",
    )


def _source(suite: SuiteResults, identifier: str) -> Html:
    failed, left_out = failures(suite), exclusions(suite)
    revision = suite.plan.provenance.get("git_revision") if suite.plan is not None else None
    parts = [
        _details("Resolved suite file", suite_file(suite)),
        _details("Environment", environments(suite)),
        _details(
            "Failed trials and exclusions",
            failed or el("p", "All trials completed."),
            *([el("ul", *left_out)] if left_out else []),
            opened=failed is not None,
        ),
    ]
    if revision:
        parts.insert(0, el("p", "Revision of the suite: ", el("code", str(revision))))
    return el("section", el("h2", "Provenance"), *parts, class_="source", id=identifier)


def _details(title: str, *content: str, opened: bool = False) -> Html:
    return el("details", el("summary", title), *content, open=opened)
