"""Self-contained interactive HTML page, as in `report.html`."""

from __future__ import annotations

from optbench.report.document import Report
from optbench.report.page.document import page

SUFFIX = ".html"


def render(report: Report) -> str:
    return page(report)
