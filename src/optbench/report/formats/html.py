"""Self-contained interactive HTML page, as in `report.html`."""

from __future__ import annotations

from optbench.report.document import Report

SUFFIX = ".html"


def render(report: Report) -> str:
    from optbench.report.page.document import page

    return page(report)
