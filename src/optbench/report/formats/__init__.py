"""Formats of reports, one per module: `render(report) -> str`. The first line of the module's docstring is its description."""
