"""The whole page: head, legend, every suite with its tables and figures, and where the numbers come from."""

from __future__ import annotations

from importlib.resources import files

from optbench.report.cells import shows_gradients
from optbench.report.colours import Style, styles
from optbench.report.document import Report
from optbench.report.page.definitions import definitions
from optbench.report.page.drawings import Drawings
from optbench.report.page.entries import legend
from optbench.report.page.markup import Html, data, el, name
from optbench.report.page.section import section
from optbench.version import __version__


def page(report: Report) -> str:
    places = legend(report.results) if report.results is not None else {}
    looks = styles(places)
    drawings = Drawings(report, places)
    sections = [
        section(content, place, report, drawings, places) for place, content in enumerate(report.sections)
    ]
    title = " · ".join(dict.fromkeys(content.title for content in report.sections)) or "optbench"
    main = el(
        "main",
        *(sections or [el("p", "No results.")]),
        *_about(report),
        el(
            "footer",
            el(
                "p",
                f"Made by optbench {__version__}. This page is one file and asks no network for anything.",
            ),
        ),
        id="main",
    )
    body = el(
        "body",
        el("a", "Skip to the results", href="#main", class_="skip"),
        _bar(looks, gradients=shows_gradients(report.table)),
        el("div", _contents(report), main, class_="layout"),
        data({"entries": _entries(looks), "figures": drawings.contents}, "data"),
        _script(),
    )
    return f"<!doctype html>\n{el('html', _head(title, looks), body, lang='en')}\n"


def _about(report: Report) -> list[Html]:
    """Of suites' results. Other reports (a leaderboard, a comparison) say below their tables how to read them."""
    if report.results is None:
        return []
    title = el("h2", "How each number was computed", id="definitions")
    return [el("section", title, definitions(report), class_="about")]


def _head(title: str, looks: dict[str, Style]) -> Html:
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    return el(
        "head",
        Html('<meta charset="utf-8">'),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="generator", content=f"optbench {__version__}"),
        el("title", f"{title} – optbench"),
        Html(f"<style>{_asset('page.css')}\n{_colours(looks)}</style>"),
        Html(f"<script>{_asset('early.js')}</script>"),
    )


def _colours(looks: dict[str, Style]) -> str:
    """Variables that both themes fill, so that nothing is drawn again when the theme changes."""
    light = "".join(f"--o{place}:{style.light};" for place, style in enumerate(looks.values()))
    dark = "".join(f"--o{place}:{style.dark};" for place, style in enumerate(looks.values()))
    system = f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}"
    return f":root{{{light}}}{system}@media screen{{:root[data-theme=dark]{{{dark}}}}}"


def _entries(looks: dict[str, Style]) -> list[dict[str, object]]:
    return [
        {"name": entry, "marker": style.marker, "dash": list(style.dash)} for entry, style in looks.items()
    ]


def _bar(looks: dict[str, Style], *, gradients: bool) -> Html:
    """Stays at the top: which entries are shown, along what, and in which light.

    `gradients`: whether some figure can be drawn over gradient evaluations.
    """
    further = (("gradients", "Gradient evaluations"),) if gradients else ()
    chips = [
        el(
            "button",
            el("span", class_="key", data_key=place, aria_hidden="true"),
            name(entry),
            type="button",
            class_="chip",
            aria_pressed="true",
            data_toggle=place,
        )
        for place, entry in enumerate(looks)
    ]
    units = [
        el("button", word, type="button", data_unit=unit, aria_pressed="true" if unit == "epoch" else "false")
        for unit, word in (("epoch", "Epochs"), ("step", "Steps"), ("seconds", "Seconds"), *further)
    ]
    theme = el("button", "Theme", type="button", class_="theme", id="theme")
    shown = el("button", "Show all", type="button", id="all", class_="quiet-button", hidden=True)
    legend_ = el("div", *chips, class_="chips", role="group", aria_label="Optimizers shown")
    along = el("div", *units, class_="segments", role="group", aria_label="Time axis of all figures")
    label = el("span", "Time in", class_="label", aria_hidden="true")
    tools = el("div", shown, label, along, theme, class_="switches")
    return el("header", legend_ if chips else el("span"), tools, class_="bar js")


def _contents(report: Report) -> Html:
    links = []
    for place, content in enumerate(report.sections):
        blocks = [
            el("li", el("a", name(block.heading), href=f"#s{place}b{number}"))
            for number, block in enumerate(content.blocks)
            if block.heading
        ]
        if report.results is not None:
            blocks.append(el("li", el("a", "Where this comes from", href=f"#s{place}source")))
        links.append(el("li", el("a", name(content.title), href=f"#s{place}"), el("ul", *blocks)))
    if report.results is not None:
        links.append(el("li", el("a", "How each number was computed", href="#definitions")))
    listed = el("details", el("summary", "Contents"), el("ul", *links), open=True)
    return el("nav", listed, aria_label="Contents", class_="contents")


def _script() -> Html:
    """In one block, so that nothing of it is a global name."""
    parts = "".join(_asset(f"{part}.js") for part in ("core", "charts", "rows", "maps", "figure", "page"))
    return Html(f'<script>"use strict";{{\n{parts}}}</script>')


def _asset(file: str) -> str:
    return (files("optbench.report.page") / file).read_text(encoding="utf-8")
