"""One file a format: `render(report) -> str`; the first line of its docstring says what it is for."""
